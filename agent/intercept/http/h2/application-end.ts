/**
 * What the application says: it is the client's as it is, but for what is added to the heads of answers, and the numbers of
 * streams.
 */

import type {HeaderChange} from '../response-head.ts';
import {type Block, Http2Error} from './blocks.ts';
import type {ClientEnd} from './client-end.ts';
import {type FrameReader, settingsAck, wordFrame} from './frames.ts';
import {changedFields, fieldsOf, isFinalAnswer} from './head.ts';
import {Encoder, NO_TABLE} from './hpack/encoder.ts';
import type {ConnectionEvents, Setting} from './link.ts';
import type {Parts} from './parts.ts';
import {passHead} from './pass-head.ts';
import {
  CANCEL,
  END_STREAM,
  ENHANCE_YOUR_CALM,
  FLOW_CONTROL_ERROR,
  MAX_31,
  NO_ERROR,
  REFUSED_STREAM,
  RST_STREAM,
} from './protocol.ts';
import {limitTables, MAX_STREAMS, MAX_UNACKNOWLEDGED, TABLE_BYTES} from './settings.ts';

export class ApplicationEnd implements ConnectionEvents {
  readonly #parts: Parts;
  readonly #client: ClientEnd;
  /** What is added to answers, encoded, while the changes are these. */
  #changes: readonly HeaderChange[] = [];
  #more: Uint8Array | undefined;

  constructor(parts: Parts, client: ClientEnd) {
    this.#parts = parts;
    this.#client = client;
  }

  // ---- streams ----

  onHead(block: Block, isLast: boolean): void {
    const {application, client, streams, down, isVerbatim} = this.#parts;
    if (application === undefined) return;
    const {streamId, padding} = application.blocks;
    const stream = streams.ofApplication.get(streamId);
    if (stream === undefined || !stream.isDownOpen) {
      const {fields} = block;
      const ended = streams.ended.find(({applicationId}) => applicationId === streamId);
      const id = isVerbatim ? streamId : ended?.id;
      if (id === undefined) client.heads.skip();
      else client.heads.pass(id, {fields, more: undefined, block, isLast});
      return;
    }
    const isAnswer = isFinalAnswer(block);
    if (isAnswer) this.#setChanges();
    const fields = isAnswer ? changedFields(block, this.#changes) : block.fields;
    const head = {fields, more: isAnswer ? this.#more : undefined, block, isLast};
    if (down.isHeld(stream.id)) {
      client.heads.skip();
      down.follow(stream.id, isLast, {
        write: () => client.heads.send(stream.id, head),
        frame: () => client.heads.frameOf(streamId, fields, isLast),
      });
      return;
    }
    const extras = padding < 0 ? undefined : {padding};
    passHead({link: client, way: down}, stream.id, {...head, extras});
    if (isLast) streams.answered(stream);
  }

  #setChanges(): void {
    const changes = this.#parts.changes.of('application');
    if (changes === this.#changes) return;
    this.#changes = changes;
    this.#more = changes.length === 0 ? undefined : new Encoder(NO_TABLE).encode(fieldsOf(changes));
  }

  onPush(block: Block): void {
    const {application, client, down, streams, isVerbatim} = this.#parts;
    if (application === undefined) return;
    const {streamId, promisedId} = application.blocks;
    const {fields} = block;
    const id = isVerbatim ? streamId : (streams.ofApplication.get(streamId)?.id ?? 0);
    const areMany = streams.ofClient.size >= MAX_STREAMS;
    if (areMany && isVerbatim) throw new Http2Error(ENHANCE_YOUR_CALM);
    streams.lastPushed = Math.max(streams.lastPushed, promisedId);
    if (id === 0 || areMany) {
      client.heads.skip();
      application.output.reset(promisedId, REFUSED_STREAM);
      return;
    }
    const head = {fields, more: undefined, block, isLast: false, extras: {promisedId}};
    passHead({link: client, way: down}, id, head);
    streams.push(promisedId);
  }

  onData(frame: FrameReader): void {
    const {streams, down, isVerbatim} = this.#parts;
    const {streamId, flags, flowBytes} = frame;
    const stream = streams.ofApplication.get(streamId);
    const isLast = (flags & END_STREAM) !== 0;
    if (isVerbatim) {
      down.passOn(frame);
      if (isLast) streams.answered(stream);
      return;
    }
    if (!down.arrived(flowBytes)) throw new Http2Error(FLOW_CONTROL_ERROR);
    if (this.#parts.client.output.isOpen && !frame.isWhole) {
      // The rest of a frame of which the client has a part, whatever has become of its stream.
      down.pass(frame, streamId);
      if (isLast) streams.answered(stream);
      return;
    }
    if (stream === undefined || !stream.isDownOpen) {
      down.giveBack(flowBytes);
      return;
    }
    if (down.pass(frame, stream.id) && isLast) streams.answered(stream);
  }

  onReset(id: number, code: number): void {
    const {streams, client, application, down, isVerbatim} = this.#parts;
    const stream = streams.ofApplication.get(id);
    if (isVerbatim) {
      if (application !== undefined) client.output.pass(application.reader, id);
      if (stream !== undefined) streams.forget(stream, code);
    } else if (stream !== undefined) {
      const write = (): void => streams.resetClient(stream, code);
      const frame = (): Buffer => wordFrame(RST_STREAM, id, code);
      // Who has answered, and needs no more of the request, does not take his answer back (RFC 9113, section 8.1).
      if (code === NO_ERROR && down.isHeld(stream.id))
        down.follow(stream.id, false, {write, frame});
      else write();
    }
  }

  onWindowUpdate(id: number, bytes: number): void {
    const {streams, up, client, application, isVerbatim} = this.#parts;
    if (application === undefined) return;
    if (id === 0) {
      const told = up.update(bytes);
      if (told < 0) throw new Http2Error(FLOW_CONTROL_ERROR);
      if (told === bytes) client.output.pass(application.reader, 0);
      else if (told > 0) client.output.windowUpdate(0, told);
      return;
    }
    if (isVerbatim) {
      client.output.pass(application.reader, id);
      return;
    }
    const stream = streams.ofApplication.get(id);
    if (stream === undefined) return;
    const {backlog} = stream;
    if (backlog === undefined) {
      if (stream.isUpOpen) client.output.pass(application.reader, stream.id);
      return;
    }
    if (backlog.window + bytes > MAX_31) throw new Http2Error(FLOW_CONTROL_ERROR);
    backlog.onWindow(bytes);
  }

  // ---- the connection ----

  onSettings(settings: readonly Setting[]): void {
    const {client, application} = this.#parts;
    const {unacknowledged} = this.#client;
    if (unacknowledged.length >= MAX_UNACKNOWLEDGED) throw new Http2Error(ENHANCE_YOUR_CALM);
    if (application === undefined) return;
    client.output.greeting = undefined;
    limitTables(application.reader, this.#client.isTableForbidden ? 0 : TABLE_BYTES);
    client.output.pass(application.reader, 0);
    unacknowledged.push(settings);
  }

  onSettingsAck(): void {
    const {client, down} = this.#parts;
    const {owedAcks} = this.#client;
    const isOurs = owedAcks.length > 0 && owedAcks[0] === undefined;
    const settings = owedAcks.shift();
    if (isOurs) return;
    if (!down.isHolding) {
      this.#passOn();
      this.#client.acknowledged(settings);
      return;
    }
    // What was sent before it was sent within other windows.
    const write = (): void => {
      client.output.settingsAck();
      this.#client.acknowledged(settings);
    };
    down.follow(0, false, {write, frame: settingsAck});
  }

  onPing(): void {
    this.#passOn();
  }

  onGoaway(last: number, code: number, debug: Buffer): void {
    const {streams, client, isVerbatim} = this.#parts;
    streams.lastOfApplication = Math.min(streams.lastOfApplication, last);
    const isPassed = isVerbatim || last === MAX_31;
    if (isPassed) this.#passOn();
    if (last === MAX_31) return;
    streams.lastOfClient = Math.min(
      streams.lastOfClient,
      streams.isAligned ? last : streams.lastId,
    );
    if (!isPassed) client.output.goaway(streams.lastOfClient, code, debug);
    for (const [id, stream] of streams.ofApplication) {
      if (id <= last || id % 2 === 0) continue;
      if (stream.id <= streams.lastOfClient) streams.resetClient(stream, REFUSED_STREAM);
      else streams.forget(stream, CANCEL);
    }
  }

  onOther(frame: FrameReader): void {
    const {streams, client, isVerbatim} = this.#parts;
    const {streamId} = frame;
    const id = isVerbatim ? streamId : (streams.ofApplication.get(streamId)?.id ?? 0);
    if (streamId === 0 || id > 0) client.output.pass(frame, id);
  }

  /** Passes on a frame of the connection. */
  #passOn(): void {
    const {client, application} = this.#parts;
    if (application !== undefined) client.output.pass(application.reader, 0);
  }
}
