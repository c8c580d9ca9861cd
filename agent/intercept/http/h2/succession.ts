/**
 * What another process has to know to go on with a connection that is divided, should this one be killed: without the streams that
 * programs have, which nobody answers then, and else as it is (layer/native/forwarding-frames.c).
 *
 * Theory of operation. What is said leaves at the end of a turn. Before it does, it is noted as a whole, with what was read by then, and
 * what has to be known besides: which streams do not pass, or not by one number; what is left of a frame; and what flow control owes.
 * DATA that waits for a window counts as not read, and so do requests that the application does not have yet (`unsent.ts`): whoever goes
 * on asks no filter. He says what the kernel does not have of all this, and reads on from there. Frames that were read since, nobody has
 * done anything with; they are read anew.
 *
 * A process that knows as little can't encode heads. So the client is asked to do without a table of compression once that is not the
 * application's any more (`ClientEnd.forbidTable`), and so is the application. What the client asks before it has acknowledged that is
 * refused. Until the application has, and the client has answered a PING of ours, the connection would be lost.
 */

import type {Passage} from '../../../../sockets/passage.ts';
import type {ClientEnd} from './client-end.ts';
import {frameHeader} from './frames.ts';
import type {Link} from './link.ts';
import type {Parts} from './parts.ts';
import {CANCEL, DATA, END_STREAM, INTERNAL_ERROR, REFUSED_STREAM} from './protocol.ts';
import type {Stream} from './streams.ts';
import {NO_WINDOW, type Unsent, unsentOf} from './unsent.ts';
import type {Way} from './way.ts';

/** As layer/native/passages.h has them. */
const MOST_STREAMS = 256;
const NO_RESET = 0xffff;
const [IS_SILENT, PASSES, PASSES_LATER] = [0, 1, 2];
const [BETWEEN_FRAMES, REST_PASSES, REST_IS_A_FRAME, REST_IS_DROPPED] = [0, 1, 2, 3];
const WAY_WORDS = 8;
const STREAM_WORDS = 7;
const STREAMS_AT = 2 * WAY_WORDS + 5;
/** What may wait for a receiver's window, or for a filter: more than that is not copied again and again. */
const WAITING_BYTES = 524_288;

const NOTHING: Buffer[] = [];

/** A division, for as long as it takes to note it. */
const words = new Uint32Array(STREAMS_AT + MOST_STREAMS * STREAM_WORDS);

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
  /** What was said and heard when it was noted last, and how many requests programs had got. */
  #notedBytes = -1;
  #notedCount = 0;
  /** Of what is being noted: streams; SETTINGS of ours; and requests that the application does not have. */
  #count = 0;
  #ownSettings = 0;
  readonly #unsent = new Map<Stream, Unsent>();
  #unsentBytes = 0;

  constructor(parts: Parts, client: ClientEnd) {
    this.#parts = parts;
    this.#client = client;
    this.#passage = parts.context.connection.passage;
  }

  /** The turn of a divided connection is over, and what was said is the sockets'. */
  note(): void {
    const {bytes} = this.#passage;
    const {askedCount} = this.#parts.exchanges;
    if (bytes === this.#notedBytes && askedCount === this.#notedCount) return;
    this.#notedBytes = bytes;
    this.#notedCount = askedCount;
    const {application, client} = this.#parts;
    const canGoOn = application !== undefined && this.#canGoOn(application, client);
    if (!canGoOn || !this.#divide(application, client)) this.#passage.hold();
  }

  #canGoOn(application: Link, client: Link): boolean {
    const {isQuiet, isTableForbidden, isApplicationTableForbidden, ownSettings} = this.#client;
    if (ownSettings === undefined) return false;
    this.#ownSettings = ownSettings;
    // Whoever has acknowledged that, refers to no table from the next block on (RFC 7541, section 4.2).
    const arePassing =
      (application.heads.arePassing || isTableForbidden) &&
      (client.heads.arePassing || isApplicationTableForbidden);
    const isThere = this.#parts.toApplication !== undefined;
    return isThere && isQuiet && arePassing && application.isQuiet && client.isQuiet;
  }

  /** Returns whether another process could go on; if need be, without the requests that the application does not have. */
  #divide(application: Link, client: Link): boolean {
    this.#unsent.clear();
    this.#unsentBytes = 0;
    if (this.#ownSettings === 0) this.#findUnsent(application);
    const isNoted = this.#noteAll(application, client);
    if (isNoted || this.#unsent.size === 0) return isNoted;
    this.#unsent.clear();
    this.#unsentBytes = 0;
    return this.#noteAll(application, client);
  }

  #noteAll(application: Link, client: Link): boolean {
    const {up: upWay, down: downWay} = this.#parts;
    if (!this.#writeStreams()) return false;
    const up = this.#writeWay(0, {link: client, to: application, way: upWay, isUp: true});
    const ofDown = {link: application, to: client, way: downWay, isUp: false};
    const down = this.#writeWay(WAY_WORDS, ofDown);
    words[STREAMS_AT - 3] = this.#ownSettings;
    words[STREAMS_AT - 1] = this.#count;
    return up !== undefined && down !== undefined && this.#passage.divide(words, up, down);
  }

  // ---- streams ----

  /** Behind the words of the last one. */
  get #end(): number {
    return STREAMS_AT + this.#count * STREAM_WORDS;
  }

  #findUnsent(application: Link): void {
    let room = WAITING_BYTES - this.#parts.up.heldBytes;
    for (const stream of this.#parts.streams.exchanged) {
      const unsent = unsentOf(stream, application);
      if (unsent === undefined || unsent.bytes > room) continue;
      this.#unsent.set(stream, unsent);
      room -= unsent.bytes;
      this.#unsentBytes += unsent.bytes;
    }
  }

  /** Returns whether there are not too many. */
  #writeStreams(): boolean {
    const {streams} = this.#parts;
    const {exchanged, lateIds, lastId} = streams;
    let {lastApplicationId, haveOneNumber} = streams;
    this.#count = 0;
    for (const stream of exchanged) {
      let {applicationId} = stream;
      const passed = applicationId === 0 ? PASSES_LATER : PASSES;
      const unsent = this.#unsent.get(stream);
      if (unsent === undefined) {
        if (!this.#writeSilent(stream)) return false;
        continue;
      }
      if (applicationId === 0) {
        applicationId = lastApplicationId = Math.max(lastApplicationId + 2, stream.id);
        haveOneNumber &&= applicationId === stream.id;
      }
      if (!this.#writeStream(stream.id, applicationId, passed)) return false;
      words[this.#end - 2] = unsent.window;
      words[this.#end - 1] = unsent.debt;
    }
    haveOneNumber &&= lastApplicationId <= lastId;
    words[STREAMS_AT - 5] = lastId;
    words[STREAMS_AT - 4] = Math.max(lastApplicationId, 0);
    words[STREAMS_AT - 2] = haveOneNumber ? 0 : 1;
    if (!haveOneNumber) return this.#writePassing();
    for (const id of lateIds) if (id > 0) this.#writeStream(id, 0, IS_SILENT);
    return true;
  }

  /** A stream that is a program's, or can't go on. */
  #writeSilent(stream: Stream): boolean {
    const {ofClient, ofApplication} = this.#parts.streams;
    const {id, applicationId} = stream;
    const isKnown = applicationId > 0 && ofApplication.has(applicationId);
    const forClient = codeOf(stream, ofClient.has(id));
    if (!this.#writeStream(id, applicationId, IS_SILENT)) return false;
    words[this.#end - 4] = forClient;
    words[this.#end - 3] = isKnown ? CANCEL : NO_RESET;
    return true;
  }

  /** Where streams have two numbers, all that pass have to be known, and those that the application may still speak of. */
  #writePassing(): boolean {
    const {ofClient, ofApplication, exchanged, ended} = this.#parts.streams;
    for (const stream of new Set([...ofClient.values(), ...ofApplication.values(), ...ended])) {
      const {id, applicationId} = stream;
      const isPassing = applicationId % 2 === 1 && !exchanged.has(stream);
      if (isPassing && !this.#writeStream(id, applicationId, PASSES)) return false;
    }
    return true;
  }

  /** Returns whether there is room for it. */
  #writeStream(id: number, applicationId: number, passed: number): boolean {
    if (this.#count === MOST_STREAMS) return false;
    const at = STREAMS_AT + this.#count++ * STREAM_WORDS;
    words[at] = id;
    words[at + 1] = applicationId;
    words[at + 2] = passed;
    words[at + 3] = words[at + 4] = NO_RESET;
    words[at + 5] = NO_WINDOW;
    words[at + 6] = 0;
    return true;
  }

  // ---- directions ----

  /** Returns what was read and not passed on, as frames and a part of one; undefined where that is not all. */
  #writeWay(at: number, direction: Direction): readonly Uint8Array[] | undefined {
    const {link, way, isUp} = direction;
    const {left, dataLeft, streamId, isEndOfStream} = link.reader;
    const waiting = this.#waitingOf(direction);
    if (waiting === undefined) return undefined;
    let rest = this.#restOf(direction);
    if (waiting.length > 0 && left > 0) {
      // The rest of a frame comes behind what waits, as a frame of its own.
      if (rest === REST_PASSES || (rest === REST_IS_A_FRAME && left > dataLeft)) return undefined;
      const isDropped = rest === REST_IS_DROPPED;
      const [id, applicationId] = isUp ? [streamId, 0] : [0, streamId];
      if (isDropped && !this.#writeStream(id, applicationId, IS_SILENT)) return undefined;
      const flags = !isDropped && isEndOfStream ? END_STREAM : 0;
      waiting.push(frameHeader({length: left, type: DATA, flags, streamId}));
      rest = BETWEEN_FRAMES;
    }
    const untold = way.untold + (isUp ? this.#parts.exchanges.owedBytes : 0);
    const unsent = isUp ? this.#unsentBytes : 0;
    // What the application will get besides, the client was told that he may send anew (Way.sentElse).
    words[at] = Math.max(way.window, 0);
    words[at + 1] = way.debt + Math.max(unsent - untold, 0);
    words[at + 2] = Math.max(untold - unsent, 0);
    words[at + 3] = rest;
    words[at + 4] = left;
    words[at + 5] = dataLeft;
    words[at + 6] = streamId;
    words[at + 7] = isEndOfStream ? 1 : 0;
    return waiting.length === 0 ? link.unread : [...waiting, ...link.unread];
  }

  /** What waits, as its sender would send it; undefined where it is too much, or something else. */
  #waitingOf({way, isUp}: Direction): Buffer[] | undefined {
    const {ofClient, ofApplication} = this.#parts.streams;
    if (!way.isHolding && (!isUp || this.#unsent.size === 0)) return NOTHING;
    // Heads that wait would be refused.
    if (way.heldBytes > WAITING_BYTES || (isUp && this.#ownSettings !== 0)) return undefined;
    const held = way.heldFrames((id) => {
      return (isUp ? ofApplication.get(id)?.id : ofClient.get(id)?.applicationId) ?? id;
    });
    if (!isUp || held === undefined) return held;
    return [...held, ...[...this.#unsent.values()].flatMap(({frames}) => frames)];
  }

  /** What becomes of the rest of a frame of which a part was read. */
  #restOf({link, to, isUp}: Direction): number {
    const {left, streamId} = link.reader;
    if (left === 0) return BETWEEN_FRAMES;
    if (to.output.isOpen) return REST_PASSES;
    const {ofClient, ofApplication, exchanged} = this.#parts.streams;
    const stream = (isUp ? ofClient : ofApplication).get(streamId);
    if (stream === undefined) return REST_IS_DROPPED;
    const isPassed = isUp ? !exchanged.has(stream) || this.#unsent.has(stream) : stream.isDownOpen;
    return isPassed ? REST_IS_A_FRAME : REST_IS_DROPPED;
  }
}

/** What the client is to be told of a stream that nobody answers any more. */
function codeOf({exchange, backlog}: Stream, isOpen: boolean): number {
  if (!isOpen) return NO_RESET;
  return exchange?.isAsked === true || backlog !== undefined ? INTERNAL_ERROR : REFUSED_STREAM;
}
