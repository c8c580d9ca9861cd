/**
 * What the client says: what is the application's goes there as it is, with its own numbers of streams. As long as nothing else
 * was, all is.
 *
 * Who breaks the protocol in what we have to understand ends his connection, by the code that RFC 9113 names, once a stream of
 * it was a program's; all else is for the application to judge.
 */

import {type Block, Http2Error} from './blocks.ts';
import {type FrameReader, readUint32, settingsAck, writeUint32} from './frames.ts';
import type {ConnectionEvents, Setting} from './link.ts';
import type {HeadersExtras} from './output.ts';
import type {Parts} from './parts.ts';
import {passHead} from './pass-head.ts';
import {
  ACK,
  END_STREAM,
  ENHANCE_YOUR_CALM,
  FLOW_CONTROL_ERROR,
  HAS_PRIORITY,
  HEADER_TABLE_SIZE,
  MAX_31,
  PING,
  PRIORITY,
  PRIORITY_UPDATE,
  PROTOCOL_ERROR,
  REFUSED_STREAM,
  STREAM_CLOSED,
} from './protocol.ts';
import {RateLimit} from './rate-limit.ts';
import type {Routing} from './routing.ts';
import {limitTables, MAX_STREAMS, MAX_UNACKNOWLEDGED, TABLE_BYTES} from './settings.ts';
import type {Stream} from './streams.ts';

/** Resets of streams that are not the application's: Node's limits (CVE-2023-44487). */
const RESET_BURST = 1000;
const RESETS_PER_SECOND = 33;
/** What a PING of ours says. */
const PROBE = Buffer.from('mirrord\0', 'latin1');

export class ClientEnd implements ConnectionEvents {
  /** SETTINGS that the client has not acknowledged; undefined: they are ours. */
  readonly unacknowledged: (readonly Setting[] | undefined)[] = [];
  /** SETTINGS of the client that the application has not acknowledged; undefined: they are ours. */
  readonly owedAcks: (readonly Setting[] | undefined)[] = [];
  readonly #parts: Parts;
  readonly #routing: Routing;
  readonly #resets = new RateLimit(RESET_BURST, RESETS_PER_SECOND);
  #onProbed: (() => void) | undefined;
  #isTableForbidden = false;
  #isApplicationTableForbidden = false;

  constructor(parts: Parts, routing: Routing) {
    this.#parts = parts;
    this.#routing = routing;
  }

  /** Nothing that we have said waits for an answer, but for SETTINGS that the client has. */
  get isQuiet(): boolean {
    return this.#onProbed === undefined && !this.owedAcks.includes(undefined);
  }

  /** Of the SETTINGS that the client has not acknowledged, those that are ours, by bits; undefined where these are too few. */
  get ownSettings(): number | undefined {
    let [bits, bit] = [0, 1];
    for (const settings of this.unacknowledged) {
      if (settings === undefined) bits |= bit;
      bit *= 2;
    }
    return bit > MAX_31 && bits !== 0 ? undefined : bits;
  }

  /** The client was asked to do without a table of compression. */
  get isTableForbidden(): boolean {
    return this.#isTableForbidden;
  }

  /** The application was, in the client's name. */
  get isApplicationTableForbidden(): boolean {
    return this.#isApplicationTableForbidden;
  }

  /** Asks him that, from now on, since the application does not have what he has there. */
  forbidTable(): void {
    if (this.#isTableForbidden) return;
    this.#isTableForbidden = true;
    this.#parts.client.output.settings([[HEADER_TABLE_SIZE, 0]]);
    this.unacknowledged.push(undefined);
  }

  /** Asks the application that, since the client does not have what it has there. */
  forbidApplicationTable(): void {
    const {toApplication} = this.#parts;
    if (this.#isApplicationTableForbidden || toApplication === undefined) return;
    this.#isApplicationTableForbidden = true;
    toApplication.settings([[HEADER_TABLE_SIZE, 0]]);
    this.owedAcks.push(undefined);
  }

  // ---- streams ----

  onHead(block: Block, isLast: boolean): void {
    const {client, streams, isVerbatim} = this.#parts;
    const {streamId} = client.blocks;
    const stream = streams.ofClient.get(streamId);
    if (stream !== undefined) {
      this.#onTrailers(stream, block, isLast);
      return;
    }
    if (streamId % 2 === 0) throw new Http2Error(PROTOCOL_ERROR);
    if (!streams.isIdle(streamId)) {
      this.#onLateHead(streamId, block, isLast);
      return;
    }
    const areMany = streams.ofClient.size >= MAX_STREAMS;
    if (areMany && isVerbatim) throw new Http2Error(ENHANCE_YOUR_CALM);
    streams.lastId = streamId;
    if (areMany) this.#refuse(streamId, REFUSED_STREAM);
    else if (block.isTooLarge && !isVerbatim) this.#refuse(streamId, ENHANCE_YOUR_CALM);
    else this.#routing.begin(streamId, {block, isWhole: isLast}, this.#extras());
  }

  /** Of a stream that is over, or above the last one of a GOAWAY. */
  #onLateHead(streamId: number, block: Block, isLast: boolean): void {
    const {streams, application} = this.#parts;
    const isOurs = streamId > streams.lastId && streamId <= streams.lastOfApplication;
    if (isOurs) this.#parts.divide();
    if (this.#parts.isVerbatim) {
      const {fields} = block;
      application?.heads.pass(streamId, {fields, more: undefined, block, isLast});
    } else application?.heads.skip();
  }

  #refuse(streamId: number, code: number): void {
    const {application, client, streams} = this.#parts;
    application?.heads.skip();
    streams.isAligned = false;
    streams.noteLate(streamId);
    client.output.reset(streamId, code);
  }

  #onTrailers(stream: Stream, block: Block, isLast: boolean): void {
    const {streams, up, application, isVerbatim} = this.#parts;
    const {exchange, backlog, applicationId} = stream;
    const {fields} = block;
    if (!stream.isUpOpen && !isVerbatim) {
      application?.heads.skip();
      streams.resetBoth(stream, STREAM_CLOSED);
      return;
    }
    if (stream.isUpOpen) for (const copy of stream.copies) copy.end(fields);
    if (isLast) stream.isUpOpen = false;
    const kept = exchange ?? backlog;
    if (kept !== undefined) {
      application?.heads.skip();
      if (isLast) kept.onTrailers(fields);
      else streams.resetBoth(stream, PROTOCOL_ERROR);
    } else if (up.isHeld(applicationId)) {
      application?.heads.skip();
      up.follow(applicationId, isLast, {
        write: () => application?.heads.send(applicationId, {fields, block, isLast}),
        frame: () => application?.heads.frameOf(stream.id, fields, isLast),
      });
    } else {
      const head = {fields, more: undefined, block, isLast, extras: this.#extras()};
      if (application !== undefined) passHead({link: application, way: up}, applicationId, head);
      if (isLast) stream.isSent = true;
    }
    streams.forgetIfOver(stream);
  }

  onData(frame: FrameReader): void {
    const {streams, up, exchanges, isVerbatim} = this.#parts;
    const {streamId, flowBytes} = frame;
    const stream = streams.ofClient.get(streamId);
    if (isVerbatim) {
      up.passOn(frame);
      if (stream?.isUpOpen !== true) return;
      noteBody(stream, frame);
      if (!stream.isUpOpen) streams.sent(stream);
      return;
    }
    if (!up.arrived(flowBytes)) throw new Http2Error(FLOW_CONTROL_ERROR);
    if (stream === undefined || !stream.isUpOpen) {
      if (streams.isIdle(streamId)) throw new Http2Error(PROTOCOL_ERROR);
      up.giveBack(flowBytes);
      if (stream !== undefined) streams.resetBoth(stream, STREAM_CLOSED);
      return;
    }
    noteBody(stream, frame);
    const kept = stream.exchange ?? stream.backlog;
    if (kept !== undefined) {
      exchanges.took(flowBytes);
      kept.onBody(frame);
    } else if (up.pass(frame, stream.applicationId) && !stream.isUpOpen) stream.isSent = true;
    if (!stream.isUpOpen) streams.forgetIfOver(stream);
  }

  onReset(id: number, code: number): void {
    const {client, streams, toApplication, isVerbatim} = this.#parts;
    const stream = this.#known(id);
    if (isVerbatim) {
      toApplication?.pass(client.reader, id);
      if (stream !== undefined) streams.forget(stream, code);
      return;
    }
    if (stream === undefined) return;
    if (stream.applicationId === 0 && !this.#resets.take()) throw new Http2Error(ENHANCE_YOUR_CALM);
    if (stream.applicationId > 0) streams.noteEnded(stream);
    streams.resetApplication(stream, code);
  }

  onWindowUpdate(id: number, bytes: number): void {
    const {client, down, streams, toApplication, isVerbatim} = this.#parts;
    if (id === 0) {
      const told = down.update(bytes);
      if (told < 0) throw new Http2Error(FLOW_CONTROL_ERROR);
      if (told === bytes) toApplication?.pass(client.reader, 0);
      else if (told > 0) toApplication?.windowUpdate(0, told);
      return;
    }
    const stream = this.#known(id);
    if (isVerbatim) toApplication?.pass(client.reader, id);
    if (isVerbatim || stream === undefined) return;
    if (stream.applicationId > 0) toApplication?.pass(client.reader, stream.applicationId);
    else if (bytes === 0) streams.resetBoth(stream, PROTOCOL_ERROR);
    else if (stream.exchange?.onClientWindow(bytes) === false)
      streams.resetBoth(stream, FLOW_CONTROL_ERROR);
  }

  /** Returns a stream; undefined if it is over. Throws if it has never been. */
  #known(id: number): Stream | undefined {
    const {streams} = this.#parts;
    if (streams.isIdle(id)) throw new Http2Error(PROTOCOL_ERROR);
    return streams.ofClient.get(id);
  }

  // ---- the connection ----

  onSettings(settings: readonly Setting[]): void {
    const {client, toApplication} = this.#parts;
    if (toApplication === undefined) {
      client.output.settingsAck();
      this.#apply(settings);
      return;
    }
    if (this.owedAcks.length >= MAX_UNACKNOWLEDGED) throw new Http2Error(ENHANCE_YOUR_CALM);
    limitTables(client.reader, this.#isApplicationTableForbidden ? 0 : TABLE_BYTES);
    toApplication.pass(client.reader, 0);
    this.owedAcks.push(settings);
  }

  /** The client has heard that what it has set is in force. */
  acknowledged(settings: readonly Setting[] | undefined): void {
    if (settings !== undefined) this.#apply(settings);
  }

  /** Acknowledges what the application will not. */
  acknowledgeAll(): void {
    for (const settings of this.owedAcks.splice(0)) {
      if (settings !== undefined) this.#parts.client.output.settingsAck();
      this.acknowledged(settings);
    }
  }

  #apply(settings: readonly Setting[]): void {
    const change = this.#parts.client.apply(settings);
    if (change === 0) return;
    for (const {exchange} of this.#parts.streams.ofClient.values()) exchange?.changeWindow(change);
  }

  onSettingsAck(): void {
    const {client, toApplication, up} = this.#parts;
    if (this.unacknowledged.length > 0 && this.unacknowledged[0] === undefined) {
      this.unacknowledged.shift();
    } else if (!up.isHolding) {
      toApplication?.pass(client.reader, 0);
      this.#heard(this.unacknowledged.shift());
    } else {
      // What was sent before it was sent within other windows.
      const settings = this.unacknowledged.shift();
      const write = (): void => {
        toApplication?.settingsAck();
        this.#heard(settings);
      };
      up.follow(0, false, {write, frame: settingsAck});
    }
  }

  /** What the application has set is in force. */
  #heard(settings: readonly Setting[] | undefined): void {
    const {application, streams} = this.#parts;
    if (settings === undefined || application === undefined) return;
    const change = application.apply(settings);
    if (change === 0) return;
    for (const stream of streams.ofClient.values()) {
      stream.exchange?.changeReceiveWindow(change);
      stream.backlog?.changeWindows(change);
    }
  }

  /** Has `onAnswer` called when the client has heard everything that was said so far. */
  probe(onAnswer: () => void): void {
    this.#onProbed = onAnswer;
    this.#parts.client.output.frame(PING, 0, 0, PROBE);
  }

  onPing(payload: Buffer, isAck: boolean): void {
    const {client, toApplication, down} = this.#parts;
    if (isAck && this.#onProbed !== undefined && PROBE.equals(payload)) {
      this.#onProbed();
      this.#onProbed = undefined;
      return;
    }
    // A client of gRPC measures by it what it gets, and a server ends one whose PINGs come without its having sent anything.
    const isOurs = toApplication === undefined || down.hasSentElse;
    if (isAck || !isOurs) toApplication?.pass(client.reader, 0);
    else client.output.frame(PING, ACK, 0, payload);
    if (!isAck) down.hasSentElse = false;
  }

  onGoaway(): void {
    this.#parts.toApplication?.pass(this.#parts.client.reader, 0);
  }

  onOther(frame: FrameReader): void {
    const {streams, toApplication, isVerbatim} = this.#parts;
    const {type, streamId, bytes, start, end} = frame;
    const id = isVerbatim ? streamId : (streams.ofClient.get(streamId)?.applicationId ?? 0);
    if (streamId !== 0 && id === 0) return;
    if ((type === PRIORITY || type === PRIORITY_UPDATE) && !isVerbatim) {
      if (end - start < 4) return;
      writeUint32(bytes, start, this.#dependencyOf(readUint32(bytes, start)));
    }
    toApplication?.pass(frame, id);
  }

  /** What a stream depends on, as the application has it; 0, nothing, when it does not have it. */
  #dependencyOf(dependency: number): number {
    const id = this.#parts.streams.ofClient.get(dependency & MAX_31)?.applicationId ?? 0;
    return id === 0 ? 0 : id | (dependency & 0x8000_0000);
  }

  #extras(): HeadersExtras | undefined {
    const {flags, padding, dependency, weight} = this.#parts.client.blocks;
    if ((flags & HAS_PRIORITY) === 0) return padding < 0 ? undefined : {padding};
    return {padding, dependency: this.#dependencyOf(dependency), weight};
  }
}

/** What there is of a request's body, and whether that is all. */
function noteBody(stream: Stream, frame: FrameReader): void {
  const isLast = (frame.flags & END_STREAM) !== 0;
  if (isLast) stream.isUpOpen = false;
  if (stream.copies.length === 0 || (frame.end === frame.start && !isLast)) return;
  const bytes = Buffer.from(frame.bytes.subarray(frame.start, frame.end));
  for (const copy of stream.copies) {
    copy.write(bytes);
    if (isLast) copy.end(undefined);
  }
}
