/**
 * What another process has to know to go on with a connection that is divided, should this one be killed: without the streams that
 * programs have, which nobody answers then, and else as it is (layer/native/forwarding-frames.c).
 *
 * Theory of operation. What is said leaves at the end of a turn. Before it does, it is noted as a whole, with what was read by then, and
 * what has to be known besides: which streams do not pass, what is left of a frame, and what flow control owes. DATA that waits for a
 * window counts as not read. Whoever goes on says what the kernel does not have of it, and reads on from there. Frames that were read
 * since, nobody has done anything with; they are read anew.
 *
 * A process that knows as little can't encode heads, or give streams other numbers. So the client is asked to do without a table of
 * compression once that is not the application's any more (`ClientEnd.forbidTable`). Until it does, with streams that have other numbers,
 * and while we end it, the connection would be lost.
 */

import type {Passage} from '../../../../sockets/passage.ts';
import type {ClientEnd} from './client-end.ts';
import {frameHeader} from './frames.ts';
import type {Link} from './link.ts';
import type {Parts} from './parts.ts';
import {CANCEL, DATA, END_STREAM, INTERNAL_ERROR, MAX_31, REFUSED_STREAM} from './protocol.ts';
import type {Stream} from './streams.ts';
import type {Way} from './way.ts';

/** As layer/native/passages.h has them. */
const MOST_STREAMS = 64;
const NO_RESET = 0xffff;
const [BETWEEN_FRAMES, REST_PASSES, REST_IS_A_FRAME, REST_IS_DROPPED] = [0, 1, 2, 3];
const WAY_WORDS = 8;
const STREAM_WORDS = 3;
const STREAMS_AT = 2 * WAY_WORDS + 1;
/** What may wait for a receiver's window: more than that is not copied again and again. */
const HELD_BYTES = 131_072;

/** A division, for as long as it takes to note it. */
const words = new Uint32Array(STREAMS_AT + MOST_STREAMS * STREAM_WORDS);

function writeStream(number: number, id: number, forClient: number, forApplication: number): void {
  const at = STREAMS_AT + number * STREAM_WORDS;
  words[at] = id;
  words[at + 1] = forClient;
  words[at + 2] = forApplication;
}

/** One direction. */
interface Direction {
  readonly link: Link;
  readonly to: Link;
  readonly way: Way;
  readonly isUp: boolean;
}

export class Succession {
  readonly #parts: Parts;
  readonly #client: ClientEnd;
  readonly #passage: Passage;
  /** What was said and heard when it was noted last. */
  #notedBytes = -1;

  constructor(parts: Parts, client: ClientEnd) {
    this.#parts = parts;
    this.#client = client;
    this.#passage = parts.context.connection.passage;
  }

  /** The turn of a divided connection is over, and what was said is the sockets'. `isEnding`: we end it. */
  note(isEnding: boolean): void {
    const {bytes} = this.#passage;
    if (bytes === this.#notedBytes) return;
    this.#notedBytes = bytes;
    if (isEnding || !this.#divide()) this.#passage.hold();
  }

  /** Returns whether another process could go on. */
  #divide(): boolean {
    const {application, client, up: upWay, down: downWay} = this.#parts;
    if (application === undefined || !this.#canGoOn(application, client)) return false;
    if (!this.#writeStreams()) return false;
    const up = this.#writeWay(0, {link: client, to: application, way: upWay, isUp: true});
    const ofDown = {link: application, to: client, way: downWay, isUp: false};
    const down = this.#writeWay(WAY_WORDS, ofDown);
    return up !== undefined && down !== undefined && this.#passage.divide(words, up, down);
  }

  #canGoOn(application: Link, client: Link): boolean {
    const {streams, toApplication} = this.#parts;
    return (
      toApplication !== undefined &&
      application.isQuiet &&
      client.isQuiet &&
      streams.haveOneNumber &&
      streams.lastOfClient === MAX_31 &&
      streams.lastOfApplication === MAX_31 &&
      this.#client.isQuiet
    );
  }

  /** Returns whether there are not too many. */
  #writeStreams(): boolean {
    const {ofClient, ofApplication, exchanged, lateIds} = this.#parts.streams;
    let count = 0;
    for (const stream of exchanged) {
      const {id, applicationId} = stream;
      if (stream.isSent && !stream.isUpOpen && applicationId > 0) continue;
      if (count === MOST_STREAMS) return false;
      const isKnown = applicationId > 0 && ofApplication.has(applicationId);
      writeStream(count++, id, codeOf(stream, ofClient.has(id)), isKnown ? CANCEL : NO_RESET);
    }
    for (const id of lateIds) {
      if (count < MOST_STREAMS && id > 0) writeStream(count++, id, NO_RESET, NO_RESET);
    }
    words[STREAMS_AT - 1] = count;
    return true;
  }

  /** Returns what was read and not passed on, as frames and a part of one; undefined where that is not all. */
  #writeWay(at: number, direction: Direction): readonly Uint8Array[] | undefined {
    const {link, way, isUp} = direction;
    const {left, dataLeft, streamId, isEndOfStream} = link.reader;
    const held = way.heldBytes > HELD_BYTES ? undefined : way.heldFrames();
    if (held === undefined) return undefined;
    let rest = this.#restOf(direction);
    if (held.length > 0 && left > 0) {
      // The rest of a frame comes behind what waits, as a frame of its own.
      if (rest !== REST_IS_A_FRAME || left > dataLeft) return undefined;
      const flags = isEndOfStream ? END_STREAM : 0;
      held.push(frameHeader({length: dataLeft, type: DATA, flags, streamId}));
      rest = BETWEEN_FRAMES;
    }
    words[at] = Math.max(way.window, 0);
    words[at + 1] = way.debt;
    words[at + 2] = way.untold + (isUp ? this.#parts.exchanges.owedBytes : 0);
    words[at + 3] = rest;
    words[at + 4] = left;
    words[at + 5] = dataLeft;
    words[at + 6] = streamId;
    words[at + 7] = isEndOfStream ? 1 : 0;
    return held.length === 0 ? link.unread : [...held, ...link.unread];
  }

  /** What becomes of the rest of a frame of which a part was read. */
  #restOf({link, to, isUp}: Direction): number {
    const {left, streamId} = link.reader;
    if (left === 0) return BETWEEN_FRAMES;
    if (to.output.isOpen) return REST_PASSES;
    const {ofClient, ofApplication} = this.#parts.streams;
    const stream = (isUp ? ofClient : ofApplication).get(streamId);
    const isPassed = isUp ? stream?.exchange === undefined : stream?.isDownOpen === true;
    return stream !== undefined && isPassed ? REST_IS_A_FRAME : REST_IS_DROPPED;
  }
}

/** What the client is to be told of a stream that nobody answers any more. */
function codeOf({exchange}: Stream, isOpen: boolean): number {
  if (!isOpen) return NO_RESET;
  return exchange?.isAsked === true ? INTERNAL_ERROR : REFUSED_STREAM;
}
