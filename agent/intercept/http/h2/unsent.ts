/**
 * Requests that are the application's if nobody says otherwise any more, and that it has not, or not all of: filters think
 * about them, or they wait for room. As the frames that the client would have sent later.
 *
 * The client may have been told that he may send more of one than the application takes. Whoever goes on has to keep its window then,
 * and what the application takes besides, the client hears of when that is made up for (`debt`).
 */

import {frameHeader, wordFrame} from './frames.ts';
import type {Link} from './link.ts';
import {DATA, DEFAULT_FRAME_BYTES, END_STREAM, WINDOW_UPDATE} from './protocol.ts';
import type {Stream} from './streams.ts';

/** As layer/native/passages.h has it. */
export const NO_WINDOW = 0xffff_ffff;
/** Where streams have less, a frame may wait for room that there will not be. */
const LEAST_WINDOW_BYTES = 2 * DEFAULT_FRAME_BYTES;

export interface Unsent {
  readonly frames: readonly Buffer[];
  /** Of DATA. */
  readonly bytes: number;
  /** What the application takes of its DATA, if that is not the client's to know; else NO_WINDOW. */
  readonly window: number;
  readonly debt: number;
}

/** Undefined: it can't go on without us, since a program was asked, or for reasons that are rare. */
export function unsentOf(stream: Stream, application: Link): Unsent | undefined {
  const {exchange, backlog, id} = stream;
  const {heads, output, windowBytes} = application;
  const frames: Buffer[] = [];
  if (exchange !== undefined) {
    const head = exchange.isAsked
      ? undefined
      : heads.frameOf(id, exchange.block.fields, exchange.isWhole);
    if (head === undefined) return undefined;
    frames.push(head);
    if (exchange.windowUpdates > 0)
      frames.push(wordFrame(WINDOW_UPDATE, id, exchange.windowUpdates));
    if (exchange.isWhole) return {frames, bytes: 0, window: NO_WINDOW, debt: 0};
  }
  const rest = exchange?.rest ?? backlog?.rest;
  if (rest === undefined) return undefined;
  const window = backlog?.window ?? windowBytes;
  const {pieces, hasEnded, trailers, receiveWindow} = rest;
  const bytes = pieces.reduce((sum, {length}) => sum + length, 0);
  const debt = hasEnded ? 0 : receiveWindow + bytes - window;
  const isLevel = debt === 0 && bytes <= window;
  if (!isLevel && (debt < 0 || window < 0 || windowBytes < LEAST_WINDOW_BYTES)) return undefined;
  const isCutOff = hasEnded && trailers === undefined;
  const parts = bytes === 0 && isCutOff ? [Buffer.alloc(0)] : fitted(pieces, window);
  for (const [at, part] of parts.entries()) {
    const {length} = part;
    if (length > output.maxFrameBytes) return undefined;
    const flags = isCutOff && at === parts.length - 1 ? END_STREAM : 0;
    frames.push(frameHeader({length, type: DATA, flags, streamId: id}), part);
  }
  if (trailers !== undefined) {
    const last = heads.frameOf(id, trailers, true);
    if (last === undefined) return undefined;
    frames.push(last);
  }
  return {frames, bytes, window: isLevel ? NO_WINDOW : window, debt};
}

/** The same pieces, of which those that there is room for end with it. */
function fitted(pieces: readonly Buffer[], room: number): Buffer[] {
  let left = room;
  return pieces.flatMap((piece) => {
    const at = left;
    left -= piece.length;
    return at <= 0 || left >= 0 ? [piece] : [piece.subarray(0, at), piece.subarray(at)];
  });
}
