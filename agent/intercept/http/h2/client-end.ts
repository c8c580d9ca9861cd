/**
 * What the client says: what is the application's goes there as it is, with its own numbers of streams.
 *
 * Who breaks the protocol in what we have to understand ends his connection, by the code that RFC 9113 names; all
 * else is for the application to judge.
 */

import {type Block, Http2Error} from './blocks.ts';
import {type FrameReader, readUint32, writeUint32} from './frames.ts';
import type {ConnectionEvents, Setting} from './link.ts';
import type {HeadersExtras} from './output.ts';
import type {Parts} from './parts.ts';
import {
  ACK,
  END_STREAM,
  ENHANCE_YOUR_CALM,
  FLOW_CONTROL_ERROR,
  HAS_PRIORITY,
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
import {MAX_STREAMS, settingsForApplication} from './settings.ts';
import type {Stream} from './streams.ts';

/** Resets of streams that are not the application's: Node's limits (CVE-2023-44487). */
const RESET_BURST = 1000;
const RESETS_PER_SECOND = 33;
/** What a PING of ours says. */
const PROBE = Buffer.from('mirrord\0', 'latin1');

export class ClientEnd implements ConnectionEvents {
  /** SETTINGS that the client has not acknowledged: whether they are the application's. */
  readonly unacknowledged: boolean[] = [];
  /** SETTINGS of the client that the application has not acknowledged. */
  owedAcks = 0;
  readonly #parts: Parts;
  readonly #routing: Routing;
  readonly #resets = new RateLimit(RESET_BURST, RESETS_PER_SECOND);
  #isFirst = true;
  #onProbed: (() => void) | undefined;

  constructor(parts: Parts, routing: Routing) {
    this.#parts = parts;
    this.#routing = routing;
  }

  // ---- streams ----

  onHead(block: Block, isLast: boolean): void {
    const {client, streams} = this.#parts;
    const {streamId} = client.blocks;
    const stream = streams.ofClient.get(streamId);
    if (stream !== undefined) {
      this.#onTrailers(stream, block, isLast);
      return;
    }
    if (streamId % 2 === 0) throw new Http2Error(PROTOCOL_ERROR);
    // What is above the last one of a GOAWAY is not looked at, and neither is what follows a reset.
    if (!streams.isIdle(streamId)) return;
    streams.lastId = streamId;
    if (block.isTooLarge) this.#refuse(streamId, ENHANCE_YOUR_CALM);
    else if (streams.ofClient.size >= MAX_STREAMS) this.#refuse(streamId, REFUSED_STREAM);
    else this.#routing.begin(streamId, {block, isWhole: isLast}, this.#extras());
  }

  #refuse(streamId: number, code: number): void {
    this.#parts.streams.isAligned = false;
    this.#parts.client.output.reset(streamId, code);
  }

  #onTrailers(stream: Stream, block: Block, isLast: boolean): void {
    const {streams, up, application} = this.#parts;
    const {exchange, applicationId} = stream;
    const {fields} = block;
    if (!stream.isUpOpen) {
      streams.resetBoth(stream, STREAM_CLOSED);
      return;
    }
    if (isLast) stream.isUpOpen = false;
    for (const copy of stream.copies) copy.end(fields);
    if (exchange === undefined) {
      const extras = this.#extras();
      const isSent = up.follow(applicationId, isLast, () =>
        application?.sendHead(applicationId, {fields, block, isLast}, extras),
      );
      if (isSent && isLast) stream.isSent = true;
    } else if (isLast) exchange.onTrailers(fields);
    else streams.resetBoth(stream, PROTOCOL_ERROR);
    streams.forgetIfOver(stream);
  }

  onData(frame: FrameReader): void {
    const {streams, up, exchanges} = this.#parts;
    const {streamId, flowBytes} = frame;
    if (!up.arrived(flowBytes)) throw new Http2Error(FLOW_CONTROL_ERROR);
    const stream = streams.ofClient.get(streamId);
    if (stream === undefined || !stream.isUpOpen) {
      if (streams.isIdle(streamId)) throw new Http2Error(PROTOCOL_ERROR);
      up.giveBack(flowBytes);
      if (stream !== undefined) streams.resetBoth(stream, STREAM_CLOSED);
      return;
    }
    const isLast = (frame.flags & END_STREAM) !== 0;
    if (isLast) stream.isUpOpen = false;
    if (stream.exchange !== undefined) {
      exchanges.took(flowBytes);
      stream.exchange.onBody(frame);
    } else {
      if (stream.copies.length > 0) copyBody(stream, frame);
      if (up.pass(frame, stream.applicationId) && isLast) stream.isSent = true;
    }
    if (isLast) streams.forgetIfOver(stream);
  }

  onReset(id: number, code: number): void {
    const stream = this.#known(id);
    if (stream === undefined) return;
    if (stream.applicationId === 0 && !this.#resets.take()) throw new Http2Error(ENHANCE_YOUR_CALM);
    this.#parts.streams.resetApplication(stream, code);
  }

  onWindowUpdate(id: number, bytes: number): void {
    const {down, streams, toApplication} = this.#parts;
    if (id === 0) {
      if (!down.update(bytes)) throw new Http2Error(FLOW_CONTROL_ERROR);
      return;
    }
    const stream = this.#known(id);
    if (stream === undefined) return;
    if (stream.applicationId > 0) toApplication?.windowUpdate(stream.applicationId, bytes);
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

  onSettings(settings: readonly Setting[], windowChange: number): void {
    const {streams, client, application, toApplication} = this.#parts;
    if (windowChange !== 0)
      for (const {exchange} of streams.ofClient.values()) exchange?.changeWindow(windowChange);
    if (application === undefined || toApplication === undefined) {
      client.output.settingsAck();
      return;
    }
    application.reader.maxFrameBytes = client.output.maxFrameBytes;
    toApplication.settings(settingsForApplication(settings, this.#isFirst));
    this.#isFirst = false;
    this.owedAcks++;
  }

  onSettingsAck(): void {
    if (this.unacknowledged.shift()) this.#parts.toApplication?.settingsAck();
  }

  /** Has `onAnswer` called when the client has heard everything that was said so far. */
  probe(onAnswer: () => void): void {
    this.#onProbed = onAnswer;
    this.#parts.client.output.frame(PING, 0, 0, PROBE);
  }

  onPing(payload: Buffer, isAck: boolean): void {
    const {client, toApplication} = this.#parts;
    if (isAck && this.#onProbed !== undefined && PROBE.equals(payload)) {
      this.#onProbed();
      this.#onProbed = undefined;
      return;
    }
    if (toApplication !== undefined) toApplication.frame(PING, isAck ? ACK : 0, 0, payload);
    else if (!isAck) client.output.frame(PING, ACK, 0, payload);
  }

  onGoaway(lastStreamId: number, code: number, debug: Buffer): void {
    this.#parts.toApplication?.goaway(lastStreamId, code, debug);
  }

  onOther(frame: FrameReader): void {
    const {streams, toApplication} = this.#parts;
    const {type, flags, streamId} = frame;
    const id = streamId === 0 ? 0 : (streams.ofClient.get(streamId)?.applicationId ?? 0);
    if (toApplication === undefined || (streamId !== 0 && id === 0)) return;
    const payload = frame.bytes.subarray(frame.start, frame.end);
    if (type === PRIORITY || type === PRIORITY_UPDATE) {
      if (payload.length < 4) return;
      writeUint32(payload, 0, this.#dependencyOf(readUint32(payload, 0)));
    }
    toApplication.frame(type, flags, id, payload);
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

function copyBody({copies}: Stream, frame: FrameReader): void {
  const bytes = Buffer.from(frame.bytes.subarray(frame.start, frame.end));
  const isLast = (frame.flags & END_STREAM) !== 0;
  for (const copy of copies) {
    copy.write(bytes);
    if (isLast) copy.end(undefined);
  }
}
