/**
 * What the application says: it is the client's as it is, but for the heads of answers, which may change, and the numbers of
 * streams.
 */

import type {HeaderChange} from '../response-head.ts';
import {type Block, Http2Error} from './blocks.ts';
import type {ClientEnd} from './client-end.ts';
import type {FrameReader} from './frames.ts';
import {changeFields, isFinalAnswer} from './head.ts';
import type {Field} from './hpack/field.ts';
import type {ConnectionEvents, Setting} from './link.ts';
import type {Parts} from './parts.ts';
import {
  ACK,
  CANCEL,
  END_STREAM,
  ENHANCE_YOUR_CALM,
  FLOW_CONTROL_ERROR,
  INTERNAL_ERROR,
  MAX_31,
  PING,
  REFUSED_STREAM,
} from './protocol.ts';
import {settingsForClient} from './settings.ts';

/** SETTINGS that the client has not acknowledged. */
const MAX_UNACKNOWLEDGED = 1000;

/** What was made of an answer's head. */
interface ChangedHead {
  readonly changes: readonly HeaderChange[];
  readonly fields: readonly Field[];
}

export class ApplicationEnd implements ConnectionEvents {
  readonly #parts: Parts;
  readonly #client: ClientEnd;
  #isFirst = true;

  constructor(parts: Parts, client: ClientEnd) {
    this.#parts = parts;
    this.#client = client;
  }

  // ---- streams ----

  onHead(block: Block, isLast: boolean): void {
    const {application, client, streams, down} = this.#parts;
    const {streamId = 0, padding = -1} = application?.blocks ?? {};
    const stream = streams.ofApplication.get(streamId);
    if (stream === undefined || !stream.isDownOpen) return;
    if (block.isTooLarge) {
      streams.resetBoth(stream, INTERNAL_ERROR);
      return;
    }
    const fields = isFinalAnswer(block) ? this.#changed(block) : block.fields;
    const extras = padding < 0 ? undefined : {padding};
    const isSent = down.follow(stream.id, isLast, () =>
      client.sendHead(stream.id, {fields, block, isLast}, extras),
    );
    if (isSent && isLast) streams.answered(stream);
  }

  #changed(block: Block): readonly Field[] {
    const changes = this.#parts.changes.of('application');
    const known = block.found as ChangedHead | undefined;
    if (known?.changes === changes) return known.fields;
    const fields = changeFields(block.fields, changes);
    block.found = {changes, fields} satisfies ChangedHead;
    return fields;
  }

  onData(frame: FrameReader): void {
    const {streams, down} = this.#parts;
    if (!down.arrived(frame.flowBytes)) throw new Http2Error(FLOW_CONTROL_ERROR);
    const stream = streams.ofApplication.get(frame.streamId);
    if (stream === undefined || !stream.isDownOpen) {
      down.giveBack(frame.flowBytes);
      return;
    }
    const isSent = down.pass(frame, stream.id);
    if (isSent && (frame.flags & END_STREAM) !== 0) streams.answered(stream);
  }

  onReset(id: number, code: number): void {
    const {streams} = this.#parts;
    const stream = streams.ofApplication.get(id);
    if (stream !== undefined) streams.resetClient(stream, code);
  }

  onWindowUpdate(id: number, bytes: number): void {
    const {streams, up, client} = this.#parts;
    if (id === 0) {
      if (!up.update(bytes)) throw new Http2Error(FLOW_CONTROL_ERROR);
      return;
    }
    const stream = streams.ofApplication.get(id);
    if (stream === undefined) return;
    if (stream.exchange === undefined) {
      if (stream.isUpOpen) client.output.windowUpdate(stream.id, bytes);
      return;
    }
    stream.applicationWindow += bytes;
    if (stream.applicationWindow > MAX_31) throw new Http2Error(FLOW_CONTROL_ERROR);
    stream.exchange.onRoom();
  }

  // ---- the connection ----

  onSettings(settings: readonly Setting[], windowChange: number): void {
    const {streams, client, application} = this.#parts;
    const {output, reader} = client;
    const {unacknowledged} = this.#client;
    if (unacknowledged.length >= MAX_UNACKNOWLEDGED) throw new Http2Error(ENHANCE_YOUR_CALM);
    if (application !== undefined) reader.maxFrameBytes = application.output.maxFrameBytes;
    output.greeting = undefined;
    output.settings(settingsForClient(settings, this.#isFirst));
    this.#isFirst = false;
    unacknowledged.push(true);
    if (windowChange === 0) return;
    for (const stream of streams.ofClient.values()) {
      stream.exchange?.changeReceiveWindow(windowChange);
      if (stream.applicationId > 0) stream.applicationWindow += windowChange;
      stream.exchange?.onRoom();
    }
  }

  onSettingsAck(): void {
    if (this.#client.owedAcks === 0) return;
    this.#client.owedAcks--;
    this.#parts.client.output.settingsAck();
  }

  onPing(payload: Buffer, isAck: boolean): void {
    this.#parts.client.output.frame(PING, isAck ? ACK : 0, 0, payload);
  }

  onGoaway(last: number, code: number, debug: Buffer): void {
    const {streams, client} = this.#parts;
    streams.lastOfApplication = Math.min(streams.lastOfApplication, last);
    if (last === MAX_31) {
      client.output.goaway(last, code, debug);
      return;
    }
    streams.lastOfClient = Math.min(
      streams.lastOfClient,
      streams.isAligned ? last : streams.lastId,
    );
    client.output.goaway(streams.lastOfClient, code, debug);
    for (const [id, stream] of streams.ofApplication) {
      if (id <= last) continue;
      if (stream.id <= streams.lastOfClient) streams.resetClient(stream, REFUSED_STREAM);
      else streams.forget(stream, CANCEL);
    }
  }

  onOther({type, flags, streamId, bytes, start, end}: FrameReader): void {
    const {streams, client} = this.#parts;
    const id = streamId === 0 ? 0 : (streams.ofApplication.get(streamId)?.id ?? 0);
    if (streamId === 0 || id > 0) client.output.frame(type, flags, id, bytes.subarray(start, end));
  }
}
