/**
 * The receiving half of a multiplexer: gives frames to the streams that they are for, and makes a stream of
 * each OPEN.
 */

import {deliver} from './deliver.ts';
import type {Egress} from './egress.ts';
import {ProtocolError} from './errors.ts';
import {FRAME, type FrameView, parseKind, readOffset} from './frames.ts';
import type {Limits} from './limits.ts';
import type {MuxCounters, MuxHandler} from './mux-types.ts';
import {Stream} from './stream.ts';
import type {StreamTable} from './stream-table.ts';

/** What frames of streams are about. */
export class Ingress {
  readonly #table: StreamTable;
  readonly #egress: Egress;
  readonly #limits: Limits;
  readonly #counters: MuxCounters;

  constructor(table: StreamTable, egress: Egress, limits: Limits) {
    this.#table = table;
    this.#egress = egress;
    this.#limits = limits;
    this.#counters = egress.counters;
  }

  /** Takes a frame that names a stream. Throws ProtocolError when it does not suit it. */
  take(message: Uint8Array, frame: FrameView, handler: MuxHandler): void {
    if (frame.type === FRAME.open) {
      this.#offer(message, frame, handler);
      return;
    }
    if (frame.stream === 0) throw new ProtocolError('FRAME_MALFORMED');
    const stream = this.#table.get(frame.stream);
    if (stream === undefined) {
      this.#table.checkKnown(frame.stream);
      this.#counters.framesIgnored++;
    } else {
      deliver(stream, message, frame, this.#limits.datagramBytes);
    }
  }

  #offer(message: Uint8Array, {stream: id, start, end}: FrameView, handler: MuxHandler): void {
    this.#table.checkOffer(id, this.#egress.now);
    const stream = new Stream(this.#egress, {
      id,
      kind: parseKind(message, start),
      state: 'offered',
      receiveLimit: this.#limits.earlyBytes,
      windowBytes: this.#limits.earlyBytes,
      sendLimit: readOffset(message, start + 1),
    });
    this.#table.addOffered(stream);
    this.#counters.streamsAccepted++;
    if (handler.onOpen === undefined) stream.refuse('EOPNOTSUPP');
    else handler.onOpen(stream, message.slice(start + 9, end));
  }
}
