/**
 * Fuzzes the relay of HTTP/2: a client and an application that say good and bad frames to each other, in any pieces, of
 * which some requests are for a program, and whose connections end at any moment.
 * Promises: nothing throws, also not later; the relay ends with its connections and keeps nothing; and as long as
 * nothing was for a program, each end hears what the other one said, byte for byte.
 */
import assert from 'node:assert/strict';
import {createServer as createHttp2Server} from 'node:http2';
import {type AddressInfo, connect, createServer, type Server, type Socket} from 'node:net';
import {httpCounters} from '../../agent/intercept/http/counters.ts';
import {relayRedirected} from '../../agent/intercept/http/relay.ts';
import {HTTP_DEFAULTS, type HttpSubscription} from '../../agent/intercept/http/types.ts';
import {LettingGo} from '../../agent/intercept/letting-go.ts';
import {held} from '../../agent/intercept/pass.ts';
import {connectMarked} from '../../agent/native.ts';
import {DuplexSocket} from '../../sockets/duplex-socket.ts';
import {listen as listenNative} from '../../sockets/listening.ts';
import {Passage} from '../../sockets/passage.ts';
import {resetSocket} from '../../sockets/reset.ts';
import type {StreamSocket} from '../../sockets/types.ts';
import {Dice, type FuzzTarget, flip} from './fuzzer.ts';

type Side = 'client' | 'server';

type Step =
  | {
      readonly do: 'frame';
      readonly side: Side;
      readonly type: number;
      readonly flags: number;
      readonly stream: number;
      readonly hex: string;
      readonly damage: readonly (readonly [number, number])[];
    }
  | {readonly do: 'bytes'; readonly side: Side; readonly hex: string}
  /** The event loop turns. */
  | {readonly do: 'turn'}
  | {readonly do: 'letGo'}
  | {readonly do: 'end' | 'reset'; readonly side: Side};

const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
const [DATA, HEADERS, SETTINGS, PUSH_PROMISE, WINDOW_UPDATE, CONTINUATION] = [0, 1, 4, 5, 8, 9];

const POST = '838486010161';
const MINE = `${POST}0006782d7573657202${Buffer.from('me').toString('hex')}`;
/** Blocks: what is for the program, what changes the table, refers to it, resizes it; and an answer. */
const BLOCKS = [
  POST,
  MINE,
  `${POST}4003782d6104736f6d65`,
  `${POST}be`,
  `20${POST}`,
  `3fe11f${POST}`,
  '88',
];
/** SETTINGS: windows, tables, frames. */
const SETS = ['', '000400000005', '0004000fffff', '000100000000', '000100100000', '000500010000'];

/** A relay between two ports, and a program: one for all rounds. */
class World {
  readonly waiting: Socket[] = [];
  readonly lettingGo: LettingGo[] = [];
  readonly relays = new Set<Promise<void>>();
  readonly #application = createServer({allowHalfOpen: true}, (socket) =>
    this.waiting.push(socket),
  );
  readonly #program = createHttp2Server();
  #subscription: HttpSubscription | undefined;
  #applicationPort = 0;
  #listening: ReturnType<typeof listenNative> | undefined;

  /** Lets the process end. */
  close(): void {
    this.#listening?.close();
    this.#listening = undefined;
  }

  /** Takes clients, until `close`. */
  listen(): number {
    this.#listening = listenNative(60_000, {
      onAccepted: ({socket}) => this.#take(socket),
      onFailed: (error) => {
        throw error;
      },
    });
    return this.#listening.port;
  }

  async open(): Promise<this> {
    this.#program.on('stream', (stream) => {
      stream.on('error', () => undefined);
      stream.respond({':status': 200});
      stream.pipe(stream);
    });
    this.#program.on('session', (session) => session.unref());
    const program = await listen(this.#program);
    this.#applicationPort = await listen(this.#application);
    this.#subscription = {
      id: 1,
      mode: 'steal',
      filter: {
        join: 'any',
        conditions: [{kind: 'header', pattern: {source: '^x-user: me$', flags: 'i'}}],
      },
      connect: async () => {
        const socket = connect({host: '127.0.0.1', port: program, allowHalfOpen: true});
        await new Promise((resolve) => socket.once('connect', resolve));
        return new DuplexSocket(socket);
      },
      warn: () => undefined,
    };
    return this;
  }

  #take(socket: StreamSocket): void {
    const lettingGo = new LettingGo();
    this.lettingGo.push(lettingGo);
    const subscriptions = [this.#subscription as HttpSubscription];
    const done = relayRedirected(
      {
        socket,
        lettingGo,
        passage: Passage.none,
        dialApplication: () =>
          connectMarked({address: new Uint8Array([127, 0, 0, 1]), port: this.#applicationPort}, 0),
        subscriptions: () => subscriptions,
      },
      {...HTTP_DEFAULTS, overrideCacheControl: false},
    ).then(() => {
      this.relays.delete(done);
    });
    this.relays.add(done);
  }
}

async function listen(server: Pick<Server, 'listen' | 'address' | 'unref'>): Promise<number> {
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  server.unref();
  return (server.address() as AddressInfo).port;
}

/** One end: what it has said, and what it hears. */
class End {
  readonly socket: Socket;
  readonly said: Buffer[] = [];
  readonly heard: Buffer[] = [];
  isBroken = false;
  readonly closed: Promise<void>;

  constructor(socket: Socket) {
    this.socket = socket;
    socket.on('error', () => {
      this.isBroken = true;
    });
    socket.on('data', (chunk: Buffer) => this.heard.push(chunk));
    socket.on('end', () => socket.end());
    this.closed = new Promise((resolve) => void socket.once('close', () => resolve()));
  }

  say(bytes: Buffer): void {
    if (!this.socket.writable) return;
    this.said.push(bytes);
    this.socket.write(bytes);
  }
}

function frameOf({type, flags, stream, hex, damage}: Extract<Step, {do: 'frame'}>): Buffer {
  const payload = Buffer.from(hex, 'hex');
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head.writeUInt8(type, 3);
  head.writeUInt8(flags, 4);
  head.writeUInt32BE(stream, 5);
  const bytes = Buffer.concat([head, payload]);
  flip(bytes, damage);
  return bytes;
}

let world: Promise<World> | undefined;

/** Longer than any wait of the relay's. */
const LONG_MS = 15_000;

async function within(ends: Promise<unknown>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error('the relay does not end')), LONG_MS);
  });
  await Promise.race([ends, late]).finally(() => clearTimeout(timer));
}

async function run(steps: readonly Step[]): Promise<void> {
  world ??= new World().open();
  const made = await world;
  const {waiting, lettingGo, relays} = made;
  const port = made.listen();
  const before = {...httpCounters};
  let thrown: unknown;
  const onThrown = (error: unknown): void => {
    thrown ??= error ?? new Error('undefined was thrown');
  };
  process.on('uncaughtException', onThrown);
  process.on('unhandledRejection', onThrown);
  try {
    const client = new End(connect({host: '127.0.0.1', port, allowHalfOpen: true}));
    client.say(PREFACE);
    while (waiting.length === 0) await new Promise(setImmediate);
    const server = new End(waiting.shift() as Socket);
    const ends = {client, server};
    for (const step of steps) {
      if (step.do === 'frame') ends[step.side].say(frameOf(step));
      else if (step.do === 'bytes') ends[step.side].say(Buffer.from(step.hex, 'hex'));
      else if (step.do === 'turn') await new Promise(setImmediate);
      else if (step.do === 'letGo') lettingGo.at(-1)?.say();
      else if (step.do === 'end') ends[step.side].socket.end();
      else {
        ends[step.side].isBroken = true;
        resetSocket(ends[step.side].socket);
      }
    }
    for (const {socket} of [client, server]) socket.end();
    await within(Promise.all([client.closed, server.closed, ...relays]));
    await new Promise(setImmediate);
    assert.equal(thrown, undefined);
    assert.equal(httpCounters.internalErrors, before.internalErrors, 'mistakes');
    assert.equal(held.bytes, 0, 'bytes are left');
    const isWhole = httpCounters.dividedConnections === before.dividedConnections;
    const isPassed = isWhole && !steps.some((step) => step.do === 'letGo');
    if (isPassed && !client.isBroken && !server.isBroken) {
      assert.equal(tablesLimited(server.heard), tablesLimited(client.said), 'up');
      assert.equal(tablesLimited(client.heard), tablesLimited(server.said), 'down');
    }
  } finally {
    lettingGo.length = 0;
    made.close();
    process.off('uncaughtException', onThrown);
    process.off('unhandledRejection', onThrown);
  }
}

/** The one thing that may be changed: a table of a megabyte is one of 64 KiB, while frames are read. */
function tablesLimited(bytes: readonly Buffer[]): string {
  return Buffer.concat(bytes).toString('hex').replaceAll('000100100000', '000100010000');
}

function drawFrame(dice: Dice, wild: number): Step {
  const side = dice.of<Side>('client', 'server');
  const stream = dice.of(1, 1, 3, 5, 7, dice.chance(wild) ? dice.below(2 ** 31) : 9);
  const frame = {
    do: 'frame',
    side,
    stream,
    damage: dice.chance(wild) ? dice.damage() : [],
  } as const;
  if (dice.chance(wild))
    return {...frame, type: dice.below(18), flags: dice.below(256), hex: dice.hex(dice.below(40))};
  const hex = dice.of(...(BLOCKS as [string, ...string[]]));
  switch (dice.below(8)) {
    case 0:
    case 1:
    case 2:
      return {...frame, type: HEADERS, flags: dice.of(4, 5, 5, 0), hex};
    case 3:
      return {...frame, type: CONTINUATION, flags: 4, hex: dice.hex(0)};
    case 4:
      return {...frame, type: DATA, flags: dice.of(0, 1), hex: '61'.repeat(dice.of(0, 9, 20_000))};
    case 5: {
      const sets = dice.of(...(SETS as [string, ...string[]]));
      return {...frame, type: SETTINGS, stream: 0, flags: 0, hex: sets};
    }
    case 6:
      return {...frame, type: WINDOW_UPDATE, stream: dice.of(0, stream), flags: 0, hex: '0000ffff'};
    default:
      if (side === 'server' && dice.chance(0.3))
        return {...frame, type: PUSH_PROMISE, flags: 4, hex: `0000000${dice.of(2, 4)}${POST}`};
      return {...frame, type: SETTINGS, stream: 0, flags: 1, hex: ''};
  }
}

export const h2Target: FuzzTarget<Step> = {
  name: 'h2',
  generate(random) {
    const dice = new Dice(random);
    const wild = dice.of(0, 0, 0.02, 0.2);
    const greetings = (['client', 'server'] as const).map((side): Step => {
      return {do: 'frame', side, type: SETTINGS, flags: 0, stream: 0, hex: '', damage: []};
    });
    const steps = Array.from({length: dice.below(60)}, (): Step => {
      if (dice.chance(0.25)) return {do: 'turn'};
      if (dice.chance(0.01)) return {do: 'letGo'};
      const side = dice.of<Side>('client', 'server');
      if (dice.chance(wild / 4)) return {do: dice.of('end', 'reset'), side};
      if (dice.chance(wild / 4)) return {do: 'bytes', side, hex: dice.hex(dice.below(40))};
      return drawFrame(dice, wild);
    });
    return dice.chance(0.9) ? [...greetings, ...steps] : steps;
  },
  run,
};
