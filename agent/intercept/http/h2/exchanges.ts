/**
 * The exchanges of a client's connection: what they have in common, which is what they may keep, and when they go on.
 */

import {held} from '../../pass.ts';
import type {HeaderChange} from '../response-head.ts';
import type {Block} from './blocks.ts';
import {Exchange, type ExchangeHost, type Request} from './exchange.ts';
import type {Field} from './hpack/field.ts';
import {WRITE_BYTES} from './limits.ts';
import type {Parts} from './parts.ts';
import {DEFAULT_WINDOW_BYTES} from './protocol.ts';
import type {Stream} from './streams.ts';

/** What exchanges may keep before the client may send no more. */
const KEPT_BYTES = 4_194_304;

export class Exchanges implements ExchangeHost {
  /** A request waits for room to be sent to the application. */
  isRequestWaiting = false;
  /** Requests that programs have got. */
  askedCount = 0;
  readonly #parts: Parts;
  #isAnswerWaiting = false;
  #keptBytes = 0;
  /** What arrived, and the client was not told that he may send it anew. */
  #owedBytes = 0;

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  /** Bytes that wait, or may have to be sent again. */
  get keptBytes(): number {
    return this.#keptBytes;
  }

  /** What the client may send besides, and was not told of. */
  get owedBytes(): number {
    return this.#owedBytes;
  }

  /** Returns a stream's exchange, from when on its windows are ours; if it has none, its head is the one that was read last. */
  of(stream: Stream, request: Request): Exchange {
    if (stream.exchange !== undefined) return stream.exchange;
    const {client, application, context, streams} = this.#parts;
    this.#parts.divide();
    application?.heads.skip();
    stream.isUpOpen = !request.isWhole;
    streams.ofClient.set(stream.id, stream);
    stream.exchange = new Exchange(this, stream.id, {
      ...request,
      window: client.windowBytes,
      receiveWindow: application?.windowBytes ?? DEFAULT_WINDOW_BYTES,
      saveLimit: context.options.maxBodyBytes,
    });
    streams.exchanged.add(stream);
    return stream.exchange;
  }

  /** DATA of the client is an exchange's. */
  took(bytes: number): void {
    this.#owedBytes += bytes;
  }

  /** Goes on with what waited for room that there may be now. */
  turn(): void {
    const {streams, up} = this.#parts;
    if (this.#owedBytes > 0 && !this.isFull) {
      up.giveBack(this.#owedBytes);
      this.#owedBytes = 0;
    }
    if (this.isRequestWaiting) {
      this.isRequestWaiting = false;
      for (const {backlog} of streams.ofApplication.values()) backlog?.onRoom();
    }
    if (this.#isAnswerWaiting) {
      this.#isAnswerWaiting = false;
      for (const {exchange} of streams.ofClient.values()) exchange?.flushAnswer();
    }
  }

  // ---- what an exchange asks ----

  get answerRoom(): number {
    const {client, down} = this.#parts;
    const isFree = client.socket.bufferedBytes < WRITE_BYTES && !client.output.isOpen;
    const room = isFree ? down.room : 0;
    if (room === 0) this.#isAnswerWaiting = true;
    return Math.min(room, client.output.maxFrameBytes);
  }

  get isFull(): boolean {
    return this.#keptBytes > KEPT_BYTES || held.isFull;
  }

  get changes(): readonly HeaderChange[] {
    return this.#parts.changes.of('program');
  }

  sendHead({streamId}: Exchange, fields: readonly Field[], isLast: boolean, block?: Block): void {
    const {client, streams} = this.#parts;
    client.heads.send(streamId, block === undefined ? {fields, isLast} : {fields, isLast, block});
    if (isLast) streams.answered(streams.ofClient.get(streamId));
  }

  sendData({streamId}: Exchange, bytes: Uint8Array, isLast: boolean): void {
    const {client, streams, down} = this.#parts;
    down.sentElse(bytes.length);
    client.output.data(streamId, bytes, isLast);
    if (isLast) streams.answered(streams.ofClient.get(streamId));
  }

  reset({streamId}: Exchange, code: number): void {
    const {streams} = this.#parts;
    const stream = streams.ofClient.get(streamId);
    if (stream !== undefined) streams.resetBoth(stream, code);
  }

  grant({streamId}: Exchange, bytes: number): void {
    const {client, streams} = this.#parts;
    if (streams.ofClient.has(streamId)) client.output.windowUpdate(streamId, bytes);
  }

  onKept(bytes: number): void {
    this.#keptBytes += bytes;
  }
}
