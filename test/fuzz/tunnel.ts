/**
 * Fuzzes the tunnel: a layer and an agent with streams of every kind, whose messages are damaged, cut,
 * repeated, lost or swapped on the way, frames of our own making in between, connections that are lost
 * and made again. Promises: nothing throws; a peer that breaks the protocol ends the tunnel, not the
 * process; each stream's handler is told of its end once; and in the end nothing is left.
 */
import assert from 'node:assert/strict';
import {FRAME, newFrame} from '../../tunnel/frames.ts';
import {Mux} from '../../tunnel/mux.ts';
import type {MuxHandler} from '../../tunnel/mux-types.ts';
import {Tickets} from '../../tunnel/tickets.ts';
import type {MuxStream, StreamHandler, StreamKind} from '../../tunnel/types.ts';
import {seeded} from '../helpers/netstack.ts';
import {NONE, pattern, TOKEN} from '../helpers/tunnel.ts';
import {Dice, type FuzzTarget, flip} from './fuzzer.ts';

type Side = 'layer' | 'agent';
type Damage = readonly (readonly [number, number])[];

type Step =
  | {readonly do: 'open'; readonly kind: StreamKind; readonly body: number; readonly window: number}
  | {
      readonly do: 'verb';
      readonly side: Side;
      readonly stream: number;
      readonly verb: Verb;
      readonly n: number;
    }
  /** Messages that are on their way arrive; the first of them is treated so. */
  | {
      readonly do: 'deliver';
      readonly to: Side;
      readonly count: number;
      readonly treat: 'well' | 'lose' | 'repeat' | 'swap' | 'cut';
      readonly damage: Damage;
    }
  | {
      readonly do: 'frame';
      readonly to: Side;
      readonly type: number;
      readonly stream: number;
      readonly payload: string;
    }
  | {readonly do: 'raw'; readonly to: Side; readonly hex: string}
  | {readonly do: 'wait'; readonly ms: number}
  | {readonly do: 'cut'}
  | {readonly do: 'reconnect'};

type Verb = 'write' | 'end' | 'reset' | 'stop' | 'consume' | 'datagram';

const BYTES = pattern(200_000);
/** What may wait on both sides of the streams of a round: far more than they can write. */
const MAX_QUEUED = 64 << 20;
/** Longer than any deadline. */
const LONG_MS = 400_000;

/** A stream, and what its handler was told. */
class Watched implements StreamHandler {
  stream: MuxStream | undefined;
  received = 0;
  hasEnded = false;
  /** How it ended for the handler. */
  over: string | undefined;
  /** We have reset it: no handler may be called any more. */
  isOurs = false;

  #live(what: string): void {
    assert.equal(this.over, undefined, `${what} after ${this.over}`);
    assert.ok(!this.isOurs, `${what} after our reset`);
  }

  #finish(how: string): void {
    this.#live(how);
    this.over = how;
  }

  onOpened(): void {
    this.#live('opened');
  }

  onData(chunk: Uint8Array): void {
    this.#live('data');
    assert.ok(!this.hasEnded, 'data after the end');
    this.received += chunk.length;
  }

  onEnd(): void {
    this.#live('end');
    assert.ok(!this.hasEnded, 'two ends');
    this.hasEnded = true;
  }

  onDatagram(): void {
    this.#live('datagram');
  }

  onRefused(errno: string): void {
    this.#finish(`refused ${errno}`);
  }

  onReset(errno: string): void {
    this.#finish(`reset ${errno}`);
  }

  onClose(): void {
    this.#finish('close');
  }
}

class Round {
  #now = 1_000;
  readonly #tickets = new Tickets();
  readonly #layer: Mux;
  /** All agents: the first has the session, others were greeted by connections made for it. */
  readonly #agents: Mux[] = [];
  readonly #streams: Record<Side, Watched[]> = {layer: [], agent: []};
  /** On their way. */
  #wire: Record<Side, Uint8Array[]> = {layer: [], agent: []};
  #isUp = true;

  constructor() {
    this.#layer = new Mux(
      {role: 'layer', token: TOKEN, random: seeded(1), resume: {windowMs: 60_000}},
      once(),
    );
    this.#agents.push(this.#makeAgent());
  }

  #makeAgent(): Mux {
    return new Mux(
      {
        role: 'agent',
        token: TOKEN,
        random: seeded(2),
        resume: {windowMs: 60_000, tickets: this.#tickets},
      },
      {
        ...once(),
        onOpen: (stream, body) => {
          const watched = new Watched();
          watched.stream = stream;
          stream.handler = watched;
          this.#streams.agent.push(watched);
          if (body.length % 5 === 4) {
            watched.isOurs = true;
            stream.refuse('ECONNREFUSED');
          } else {
            stream.accept(NONE);
          }
        },
      },
    );
  }

  /** Who hears what the layer says. */
  get #listener(): Mux {
    const last = this.#agents.at(-1) as Mux;
    return (last.successor as Mux | undefined) ?? last;
  }

  #mux(side: Side): Mux {
    return side === 'layer' ? this.#layer : this.#listener;
  }

  step(step: Step): void {
    switch (step.do) {
      case 'open':
        this.#open(step);
        break;
      case 'verb':
        this.#verb(step);
        break;
      case 'deliver':
        this.#deliver(step);
        break;
      case 'frame': {
        const payload = Buffer.from(step.payload, 'hex');
        const frame = newFrame(step.type, step.stream, payload.length);
        frame.set(payload, frame.length - payload.length);
        this.#receive(step.to, frame);
        break;
      }
      case 'raw':
        this.#receive(step.to, Uint8Array.from(Buffer.from(step.hex, 'hex')));
        break;
      case 'wait':
        this.#wait(step.ms);
        break;
      case 'cut':
        this.#cut();
        break;
      case 'reconnect':
        this.#reconnect();
        break;
    }
    this.#transmit();
    for (const mux of [this.#layer, ...this.#agents]) {
      assert.ok(mux.queuedBytes >= 0 && mux.queuedBytes <= MAX_QUEUED, `${mux.queuedBytes} bytes`);
      assert.ok(mux.windowBytes >= 0, 'windows');
      if (mux.isClosed) assert.equal(mux.streamCount, 0, 'streams of a closed tunnel');
    }
  }

  #open({kind, body, window}: Extract<Step, {do: 'open'}>): void {
    if (this.#layer.isClosed) return;
    const watched = new Watched();
    this.#streams.layer.push(watched);
    watched.stream = this.#layer.open(kind, BYTES.slice(0, body), watched, window);
  }

  #verb({side, stream: index, verb, n}: Extract<Step, {do: 'verb'}>): void {
    const all = this.#streams[side];
    const watched = all[index % Math.max(1, all.length)];
    const stream = watched?.stream;
    if (watched === undefined || stream === undefined) return;
    const isDatagrams = stream.kind === 'udp' || stream.kind === 'echo';
    switch (verb) {
      case 'write':
        if (!isDatagrams) stream.write(BYTES.subarray(0, Math.min(n, stream.writable)));
        break;
      case 'datagram':
        if (isDatagrams) stream.sendDatagram(BYTES.subarray(0, Math.min(n, 65_000)));
        break;
      case 'consume':
        stream.consumed(Math.min(watched.received, n));
        break;
      case 'end':
        stream.end();
        break;
      case 'stop':
        stream.stop('EPIPE');
        break;
      case 'reset':
        watched.isOurs = true;
        stream.reset('ECONNRESET');
        break;
    }
  }

  #receive(to: Side, message: Uint8Array): void {
    this.#mux(to).receive(message, this.#now);
  }

  #deliver({to, count, treat, damage}: Extract<Step, {do: 'deliver'}>): void {
    const queue = this.#wire[to];
    const messages = queue.splice(0, count);
    const [first, second] = messages;
    if (first !== undefined) {
      flip(first, damage);
      if (treat === 'lose') messages.shift();
      else if (treat === 'repeat') messages.unshift(first.slice());
      else if (treat === 'cut') messages[0] = first.slice(0, first.length >> 1);
      else if (treat === 'swap' && second !== undefined) messages.splice(0, 2, second, first);
    }
    for (const message of messages) this.#receive(to, message);
  }

  #transmit(): void {
    const pairs: [Mux, Side][] = [
      [this.#layer, 'agent'],
      [this.#listener, 'layer'],
    ];
    for (const [mux, to] of pairs) {
      if (!this.#isUp) {
        mux.poll(this.#now);
        continue;
      }
      // No more than a socket would take.
      for (let left = 50; left > 0; left -= 1) {
        const message = mux.transmit(this.#now);
        if (message === undefined) break;
        this.#wire[to].push(message.slice());
      }
    }
  }

  #wait(ms: number): void {
    const end = this.#now + ms;
    for (let left = 200; left > 0; left -= 1) {
      const times = [this.#layer, ...this.#agents].map((mux) => mux.pollAt() ?? end);
      const next = Math.min(end, ...times.filter((at) => at > this.#now));
      this.#now = Math.max(this.#now, next);
      for (const mux of [this.#layer, ...this.#agents]) mux.poll(this.#now);
      this.#transmit();
      if (this.#now >= end) break;
    }
    this.#now = end;
  }

  #cut(): void {
    if (!this.#isUp) return;
    this.#isUp = false;
    this.#wire = {layer: [], agent: []};
    this.#listener.disconnected(this.#now);
    this.#layer.disconnected(this.#now);
  }

  #reconnect(): void {
    this.#cut();
    if (!this.#layer.isSuspended || this.#agents.length > 20) return;
    this.#layer.reconnected(this.#now);
    this.#agents.push(this.#makeAgent());
    this.#isUp = true;
  }

  finish(): void {
    this.#layer.close();
    this.#transmit();
    for (const to of ['agent', 'layer'] as const) {
      for (const message of this.#wire[to].splice(0)) this.#receive(to, message);
    }
    this.#cut();
    this.#wait(LONG_MS);
    for (const mux of [this.#layer, ...this.#agents]) {
      mux.poll(this.#now);
      assert.ok(mux.isClosed, 'a tunnel is left');
      assert.equal(mux.streamCount, 0, 'streams are left');
      assert.equal(mux.queuedBytes, 0, 'bytes are left');
      assert.equal(mux.windowBytes, 0, 'windows are left');
      assert.equal(mux.unacknowledged, 0, 'messages are left');
      mux.transmit(this.#now);
      assert.equal(mux.transmit(this.#now), undefined, 'a closed tunnel speaks');
      assert.equal(mux.pollAt(), undefined, 'a deadline is left');
    }
    for (const {stream, over, isOurs} of [...this.#streams.layer, ...this.#streams.agent]) {
      assert.ok(stream === undefined || over !== undefined || isOurs, 'a stream hears of no end');
    }
  }
}

/** A handler that is told of the end once. */
function once(): MuxHandler {
  let isOver = false;
  return {
    onClose() {
      assert.ok(!isOver, 'closed twice');
      isOver = true;
    },
  };
}

function drawStep(dice: Dice, wild: number): Step {
  const side = dice.of<Side>('layer', 'agent');
  const kind = dice.random();
  if (kind < 0.12) {
    const kindOf = dice.of<StreamKind>('tcp', 'tcp', 'udp', 'echo', 'call', 'unix');
    return {do: 'open', kind: kindOf, body: dice.below(30), window: dice.of(0, 1, 1_000, 262_144)};
  }
  if (kind < 0.45) {
    const verb = dice.of<Verb>(
      'write',
      'write',
      'write',
      'consume',
      'consume',
      'datagram',
      'end',
      'reset',
      'stop',
    );
    return {do: 'verb', side, stream: dice.below(12), verb, n: dice.of(dice.size(), 200_000)};
  }
  if (kind < 0.85) {
    const isBad = dice.chance(wild);
    const treat = isBad ? dice.of('lose', 'repeat', 'swap', 'cut', 'well') : 'well';
    const damage = isBad ? dice.damage() : [];
    return {do: 'deliver', to: side, count: 1 + dice.below(20), treat, damage};
  }
  if (kind < 0.9 && dice.chance(wild)) {
    const type = dice.of(...(Object.values(FRAME) as [number, ...number[]]), dice.below(256));
    const payload = dice.hex(dice.of(0, 2, 8, 8, 9, dice.below(80)));
    return {
      do: 'frame',
      to: side,
      type,
      stream: dice.of(0, 1, 3, 5, 2, dice.below(2 ** 32)),
      payload,
    };
  }
  if (kind < 0.92 && dice.chance(wild))
    return {do: 'raw', to: side, hex: dice.hex(dice.below(100))};
  if (kind < 0.95) return dice.of<Step>({do: 'cut'}, {do: 'reconnect'}, {do: 'reconnect'});
  return {do: 'wait', ms: dice.of(0, 1, 60, 1_100, 11_000, 30_000, 61_000)};
}

export const tunnelTarget: FuzzTarget<Step> = {
  name: 'tunnel',
  generate(random) {
    const dice = new Dice(random);
    const wild = dice.of(0, 0.01, 0.1, 0.5);
    return Array.from({length: 20 + dice.below(180)}, () => drawStep(dice, wild));
  },
  run(steps) {
    const round = new Round();
    for (const step of steps) round.step(step);
    round.finish();
  },
};
