/** Answers to calls: one value, or a sequence for as long as the caller listens. */

import {ItemWriter} from '../tunnel/calls.ts';
import type {MuxStream} from '../tunnel/types.ts';
import {errnoOf} from './errno.ts';

/** A sequence of items to a caller. */
export interface Answer {
  item(value: unknown): void;
  /** That was the last one. */
  end(): void;
}

/** Accepts a call and answers it by one value, or refuses it by an errno. `onClosed`: once, when the stream is gone. */
export async function answerOnce(
  stream: MuxStream,
  answer: Promise<unknown>,
  onClosed: () => void,
): Promise<void> {
  let isGone = false;
  const items = new ItemWriter(stream);
  const close = (): void => {
    isGone = true;
    onClosed();
  };
  stream.handler = {onWritable: () => items.flush(), onReset: close, onClose: close};
  try {
    const value = await answer;
    if (isGone) return;
    stream.accept(new Uint8Array(0));
    items.send(value);
    items.end();
  } catch (error) {
    if (isGone) return;
    // Ends the stream whether it is accepted by now or not.
    stream.reset(errnoOf(error));
    close();
  }
}

/**
 * Accepts a call and answers it by a sequence. `start` begins it and returns what stops it; `onClosed`: once, when the
 * stream is gone.
 */
export function answerItems(
  stream: MuxStream,
  start: (answer: Answer) => () => void,
  onClosed: () => void,
): void {
  const items = new ItemWriter(stream);
  let isGone = false;
  let stop: (() => void) | undefined;
  const close = (): void => {
    if (isGone) return;
    isGone = true;
    stop?.();
    onClosed();
  };
  stream.handler = {
    onWritable: () => items.flush(),
    onEnd: () => items.end(),
    onReset: close,
    onClose: close,
  };
  stream.accept(new Uint8Array(0));
  const begun = start({
    item(value) {
      if (!isGone && !items.send(value)) close();
    },
    end() {
      if (!isGone) items.end();
    },
  });
  if (isGone) begun();
  else stop = begun;
}
