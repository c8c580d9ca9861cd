/** Two multiplexers back to back, with a wire and a clock that the test moves. */

import type {ExecutionContext} from 'ava';
import fc from 'fast-check';
import type {ProtocolError} from '../../tunnel/errors.ts';
import {Mux} from '../../tunnel/mux.ts';
import type {MuxHandler, MuxOptions} from '../../tunnel/mux-types.ts';
import type {MuxStream, StreamHandler, StreamKind} from '../../tunnel/types.ts';

export const TOKEN = new Uint8Array(32).fill(7);
export const NONE = new Uint8Array(0);

/** A small generator of reproducible numbers in [0, 1): mulberry32. */
export function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 0x1_0000_0000;
  };
}

/** Bytes that differ from their neighbours near and far, so that a slip shows. */
export function pattern(length: number, seed = 1): Uint8Array {
  const random = seeded(seed);
  const bytes = new Uint8Array(length);
  for (let index = 0; index < length; index++) bytes[index] = random() * 256;
  return bytes;
}

/**
 * Asserts a property. Its predicate throws by `node:assert`, so that a counterexample is made small;
 * the message of a failure has the seed.
 */
export function holds<T>(
  t: ExecutionContext,
  property: fc.IProperty<T>,
  parameters: fc.Parameters<T> = {},
): void {
  t.notThrows(() => fc.assert(property, {includeErrorInReport: true, ...parameters}));
}

/** Everything a stream's handler was told. */
export class Ear implements StreamHandler {
  readonly chunks: Uint8Array[] = [];
  readonly datagrams: Uint8Array[] = [];
  readonly events: string[] = [];
  received = 0;
  opened: Uint8Array | undefined;
  stream: MuxStream | undefined;
  onWritable: () => void = () => {};
  readonly #isConsuming: boolean;

  constructor({consume = true}: {consume?: boolean} = {}) {
    this.#isConsuming = consume;
  }

  onOpened(body: Uint8Array): void {
    this.opened = body;
    this.events.push('opened');
  }

  onRefused(errno: string): void {
    this.events.push(`refused ${errno}`);
  }

  onData(chunk: Uint8Array): void {
    this.chunks.push(chunk);
    this.received += chunk.length;
    if (this.#isConsuming) this.stream?.consumed(this.received);
  }

  onEnd(): void {
    this.events.push('end');
  }

  onStop(errno: string): void {
    this.events.push(`stop ${errno}`);
  }

  onDatagram(payload: Uint8Array): void {
    this.datagrams.push(payload);
  }

  onReset(errno: string): void {
    this.events.push(`reset ${errno}`);
  }

  onClose(): void {
    this.events.push('close');
  }

  get bytes(): Buffer {
    return Buffer.concat(this.chunks);
  }
}

export interface PairOptions {
  layer?: Partial<MuxOptions>;
  agent?: Partial<MuxOptions>;
  /** How the agent answers; by default it accepts all and consumes what it gets. */
  onOpen?: MuxHandler['onOpen'];
  /** Virtual milliseconds that a message takes. */
  delayMs?: number;
}

interface InFlight {
  readonly at: number;
  readonly to: Mux;
  readonly message: Uint8Array;
}

/** A layer and an agent, connected. */
export class Pair {
  now = 1000;
  readonly layer: Mux;
  readonly agent: Mux;
  /** The streams that the agent was offered, with what they heard. */
  readonly offered: {stream: MuxStream; body: Uint8Array; ear: Ear}[] = [];
  readonly closed: {layer?: string; agent?: string} = {};
  readonly delayMs: number;
  readonly #inFlight: InFlight[] = [];

  constructor(options: PairOptions = {}) {
    this.delayMs = options.delayMs ?? 0;
    const common = {token: TOKEN, random: seeded(1)};
    this.layer = new Mux(
      {...common, role: 'layer', ...options.layer},
      {onClose: (error) => (this.closed.layer = codeOf(error))},
    );
    this.agent = new Mux(
      {...common, role: 'agent', ...options.agent},
      {
        onOpen: options.onOpen ?? ((stream, body) => this.#accept(stream, body)),
        onClose: (error) => (this.closed.agent = codeOf(error)),
      },
    );
  }

  /** Moves messages until nothing moves any more, but not the clock. */
  settle(): this {
    for (;;) {
      const isSent = [this.#pump(this.layer, this.agent), this.#pump(this.agent, this.layer)];
      const sent = isSent.includes(true);
      const delivered = this.#deliver();
      if (!sent && !delivered) return this;
    }
  }

  /** Moves the clock, stopping wherever a multiplexer or a message wants it. */
  advance(ms: number): this {
    const end = this.now + ms;
    for (;;) {
      this.settle();
      const times = [this.layer.pollAt(), this.agent.pollAt(), this.#inFlight[0]?.at];
      const next = Math.min(...times.filter((time) => time !== undefined));
      if (!(next <= end)) break;
      this.now = Math.max(this.now, next);
      this.layer.poll(this.now);
      this.agent.poll(this.now);
    }
    this.now = end;
    return this.settle();
  }

  open(kind: StreamKind = 'tcp', body = NONE, window?: number): {stream: MuxStream; ear: Ear} {
    const ear = new Ear();
    ear.stream = this.layer.open(kind, body, ear, window);
    return {stream: ear.stream, ear};
  }

  /** The agent's side of the stream that was opened as number `index`. */
  there(index: number): {stream: MuxStream; body: Uint8Array; ear: Ear} {
    const side = this.offered[index];
    if (side === undefined) throw new Error(`no stream ${index} was offered`);
    return side;
  }

  #accept(stream: MuxStream, body: Uint8Array): void {
    const ear = new Ear();
    ear.stream = stream;
    stream.handler = ear;
    this.offered.push({stream, body, ear});
    stream.accept(NONE);
  }

  #pump(from: Mux, to: Mux): boolean {
    let isMoving = false;
    for (let message = from.transmit(this.now); message; message = from.transmit(this.now)) {
      this.#inFlight.push({at: this.now + this.delayMs, to, message});
      isMoving = true;
    }
    return isMoving;
  }

  #deliver(): boolean {
    let isMoving = false;
    for (;;) {
      const first = this.#inFlight[0];
      if (first === undefined || first.at > this.now) return isMoving;
      this.#inFlight.shift();
      first.to.receive(first.message, this.now);
      isMoving = true;
    }
  }
}

/** Writes all of `bytes` as the credit allows, then calls `done`. */
export function feed(
  stream: MuxStream,
  ear: StreamHandler,
  bytes: Uint8Array,
  done?: () => void,
): void {
  let offset = 0;
  let isDone = false;
  const go = (): void => {
    if (isDone) return;
    while (offset < bytes.length && stream.writable > 0) {
      const count = Math.min(stream.writable, bytes.length - offset);
      stream.write(bytes.subarray(offset, offset + count));
      offset += count;
    }
    if (offset < bytes.length) return;
    isDone = true;
    done?.();
  };
  const {onOpened} = ear;
  ear.onWritable = go;
  ear.onOpened = (body) => {
    onOpened?.call(ear, body);
    go();
  };
  go();
}

function codeOf(error: ProtocolError | undefined): string {
  return error?.code ?? 'NO_ERROR';
}
