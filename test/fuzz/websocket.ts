/**
 * Fuzzes the agent's end of the WebSocket: what follows the upgrade is good and bad WebSocket frames
 * around good and bad messages of the tunnel, in any pieces, and the connection ends at any moment.
 * Promises: nothing throws, also not later; the connection and the tunnel end; no stream is left.
 */
import assert from 'node:assert/strict';
import {createServer, type Server} from 'node:http';
import {connect, type Socket} from 'node:net';
import {emitOpen, FRAME, newFrame} from '../../tunnel/frames.ts';
import {emitHello} from '../../tunnel/handshake.ts';
import {DEFAULT_LIMITS} from '../../tunnel/limits.ts';
import {Mux} from '../../tunnel/mux.ts';
import {acceptUpgrade} from '../../tunnel/websocket/handshake.ts';
import {bindWebSocket} from '../../tunnel/websocket.ts';
import {seeded} from '../helpers/netstack.ts';
import {NONE, TOKEN} from '../helpers/tunnel.ts';
import {Dice, type FuzzTarget, flip} from './fuzzer.ts';

type Step =
  /** A WebSocket frame (RFC 6455, section 5.2) around a message of the tunnel. */
  | {
      readonly do: 'frame';
      /** FIN, RSV1-3 and the opcode. */
      readonly first: number;
      readonly isMasked: boolean;
      readonly message: 'hello' | 'open' | 'data' | 'garbage';
      readonly n: number;
      readonly damage: readonly (readonly [number, number])[];
    }
  | {readonly do: 'bytes'; readonly hex: string}
  /** The event loop turns. */
  | {readonly do: 'turn'}
  | {readonly do: 'end'}
  | {readonly do: 'destroy'};

const UPGRADE = [
  'GET / HTTP/1.1',
  'Host: agent',
  'Connection: Upgrade',
  'Upgrade: websocket',
  'Sec-WebSocket-Version: 13',
  'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
  '\r\n',
].join('\r\n');

function message(step: Extract<Step, {do: 'frame'}>): Uint8Array {
  switch (step.message) {
    case 'hello':
      return emitHello({
        lowest: 1,
        highest: 1,
        token: TOKEN,
        capabilities: 0,
        limits: DEFAULT_LIMITS,
        ticket: NONE,
      });
    case 'open':
      return emitOpen(1 + 2 * (step.n % 50), {kind: 'tcp', credit: step.n, body: NONE});
    case 'data':
      return newFrame(FRAME.data, 1 + 2 * (step.n % 4), Math.min(step.n, 5_000));
    case 'garbage':
      return new Uint8Array(step.n).fill(step.n);
  }
}

function webSocketFrame(step: Extract<Step, {do: 'frame'}>): Uint8Array {
  const payload = message(step);
  const mask = step.isMasked ? 0x80 : 0;
  const length =
    payload.length < 126
      ? [mask | payload.length]
      : payload.length < 65_536
        ? [mask | 126, payload.length >> 8, payload.length & 0xff]
        : [
            mask | 127,
            0,
            0,
            0,
            0,
            0,
            payload.length >> 16,
            (payload.length >> 8) & 0xff,
            payload.length & 0xff,
          ];
  const key = step.isMasked ? [0, 0, 0, 0] : [];
  const bytes = Uint8Array.from([step.first, ...length, ...key, ...payload]);
  flip(bytes, step.damage);
  return bytes;
}

/** The agents of this process: each connection of the abstract unix socket gets one. */
class Agents {
  readonly #path = `\0mirrord-fuzz-${process.pid}`;
  readonly #server: Server;
  #next = Promise.withResolvers<{mux: Mux; socket: Socket}>();

  constructor() {
    this.#server = createServer();
    this.#server.on('upgrade', (request, socket, head) => {
      acceptUpgrade(request, socket);
      const mux = new Mux(
        {role: 'agent', token: TOKEN, random: seeded(1)},
        {onOpen: (stream) => stream.accept(NONE)},
      );
      bindWebSocket(socket, head, mux);
      this.#next.resolve({mux, socket: socket as Socket});
    });
    this.#server.listen(this.#path).unref();
  }

  /** Connects and upgrades. */
  async connect(): Promise<{client: Socket; mux: Mux; socket: Socket}> {
    this.#next = Promise.withResolvers();
    const client = connect(this.#path);
    client.on('error', () => undefined);
    client.write(UPGRADE);
    return {client, ...(await this.#next.promise)};
  }
}

let agents: Agents | undefined;

async function run(steps: readonly Step[]): Promise<void> {
  agents ??= new Agents();
  const {client, mux, socket} = await agents.connect();
  const closed = new Promise((resolve) => socket.once('close', resolve));
  let thrown: unknown;
  const onThrown = (error: unknown): void => {
    thrown ??= error ?? new Error('undefined was thrown');
  };
  process.on('uncaughtException', onThrown);
  process.on('unhandledRejection', onThrown);
  try {
    client.resume();
    for (const step of steps) {
      if (client.destroyed || client.writableEnded) break;
      if (step.do === 'frame') client.write(webSocketFrame(step));
      else if (step.do === 'bytes') client.write(Buffer.from(step.hex, 'hex'));
      else if (step.do === 'turn') await new Promise(setImmediate);
      else if (step.do === 'end') client.end();
      else client.destroy();
    }
    client.end();
    await closed;
    await new Promise(setImmediate);
    assert.ok(mux.isClosed, 'the tunnel is left');
    assert.equal(mux.streamCount, 0, 'streams are left');
    assert.equal(mux.queuedBytes, 0, 'bytes are left');
    assert.equal(thrown, undefined);
  } finally {
    process.off('uncaughtException', onThrown);
    process.off('unhandledRejection', onThrown);
    client.destroy();
  }
}

function drawStep(dice: Dice, wild: number): Step {
  if (dice.chance(0.2)) return {do: 'turn'};
  if (!dice.chance(wild)) {
    const isData = dice.chance(0.6);
    return {
      do: 'frame',
      first: 0x82,
      isMasked: true,
      message: isData ? 'data' : 'open',
      n: dice.below(2_000),
      damage: [],
    };
  }
  if (dice.chance(0.2)) return {do: 'bytes', hex: dice.hex(dice.below(40))};
  if (dice.chance(0.1)) return dice.of<Step>({do: 'end'}, {do: 'destroy'});
  return {
    do: 'frame',
    first: dice.of(0x82, 0x02, 0x80, 0x00, 0x81, 0x88, 0x89, 0x8a, 0xc2, dice.below(256)),
    isMasked: dice.chance(0.9),
    message: dice.of('hello', 'open', 'data', 'garbage'),
    n: Math.min(dice.size(), 70_000),
    damage: dice.damage(),
  };
}

export const websocketTarget: FuzzTarget<Step> = {
  name: 'websocket',
  generate(random) {
    const dice = new Dice(random);
    const wild = dice.of(0, 0.05, 0.3, 1);
    const hello: Step = {
      do: 'frame',
      first: 0x82,
      isMasked: true,
      message: 'hello',
      n: 0,
      damage: [],
    };
    const steps = Array.from({length: dice.below(40)}, () => drawStep(dice, wild));
    return dice.chance(0.9) ? [hello, ...steps] : steps;
  },
  run,
};
