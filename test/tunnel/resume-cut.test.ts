import {randomInt} from 'node:crypto';
import {once} from 'node:events';
import {type AddressInfo, connect, createServer, type Server, type Socket} from 'node:net';
import test, {type ExecutionContext} from 'ava';
import type {Mux} from '../../tunnel/mux.ts';
import type {MuxHandler} from '../../tunnel/mux-types.ts';
import {callPing, type ListeningPorts, subscribeListening} from '../../tunnel/target.ts';
import {type ConnectOptions, connectTunnel} from '../../tunnel/websocket.ts';
import {dial, listen} from '../helpers/agent.ts';
import {ready, startListeningAgent} from '../helpers/listening-agent.ts';
import {allProcesses, signal} from '../helpers/processes.ts';
import {feed, pattern, seeded, TOKEN} from '../helpers/tunnel.ts';
import {until} from '../helpers/until.ts';

function portOf(server: Server): number {
  return (server.address() as AddressInfo).port;
}

/** A way to the agent that can be cut, also in the middle of a frame. */
class Way {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #agentPort: () => number;
  /** Bytes of both directions until the next cut. */
  cutAfter = Number.POSITIVE_INFINITY;
  cuts = 0;
  connections = 0;
  isOpen = true;
  onCut: () => void = () => undefined;

  constructor(t: ExecutionContext, agentPort: () => number) {
    this.#agentPort = agentPort;
    this.#server = createServer((client) => this.#join(client)).listen(0, '127.0.0.1');
    t.teardown(() => {
      this.#server.close();
      this.cut();
    });
  }

  /** A new connection; resets it when the way is closed. */
  async connect(): Promise<Socket> {
    if (!this.#server.listening) await once(this.#server, 'listening');
    const socket = connect(portOf(this.#server), '127.0.0.1');
    await once(socket, 'connect');
    return socket;
  }

  /** Resets whatever is there. */
  cut(): void {
    this.cuts++;
    for (const socket of this.#sockets) socket.resetAndDestroy();
    this.#sockets.clear();
    this.onCut();
  }

  #join(client: Socket): void {
    if (!this.isOpen) {
      client.resetAndDestroy();
      return;
    }
    this.connections++;
    const agent = connect(this.#agentPort(), '127.0.0.1');
    this.#pass(client, agent);
    this.#pass(agent, client);
  }

  #pass(from: Socket, to: Socket): void {
    this.#sockets.add(from);
    from.on('error', () => undefined);
    from.on('close', () => {
      this.#sockets.delete(from);
      to.destroy();
    });
    from.on('data', (data) => {
      const part = data.subarray(0, this.cutAfter);
      this.cutAfter -= data.length;
      if (this.cutAfter > 0) {
        if (!to.write(part)) from.pause();
        return;
      }
      this.cutAfter = Number.POSITIVE_INFINITY;
      // What came before still arrives.
      to.write(part, () => this.cut());
    });
    to.on('drain', () => from.resume());
  }
}

/** A tunnel over the way, with what its handler heard. */
async function join(
  t: ExecutionContext,
  way: Way,
  {options = {}, handler = {}}: {options?: Partial<ConnectOptions>; handler?: MuxHandler} = {},
): Promise<{mux: Mux; closed: Promise<string>}> {
  const up = Promise.withResolvers<void>();
  const closed = Promise.withResolvers<string>();
  const mux = connectTunnel(
    await way.connect(),
    {token: TOKEN, random: seeded(1), reconnect: () => way.connect(), ...options},
    {
      ...handler,
      onReady: () => up.resolve(),
      onClose(error) {
        closed.resolve(error?.code ?? 'NO_ERROR');
        up.reject(error ?? new Error('closed'));
      },
    },
  );
  t.teardown(() => mux.close());
  await up.promise;
  return {mux, closed: closed.promise};
}

test('the connection is cut a hundred times at random bytes: all bytes arrive, both ways, and a subscription holds', async (t) => {
  t.timeout(240_000);
  const cuts = 100;
  const agent = await ready(await startListeningAgent(t));
  const way = new Way(t, () => agent.port);
  let resumed = 0;
  const {mux} = await join(t, way, {
    handler: {
      onResumed() {
        resumed++;
        way.cutAfter = way.cuts < cuts ? randomInt(1, 1_500_000) : Number.POSITIVE_INFINITY;
      },
    },
  });
  let ports: ListeningPorts | undefined;
  let subscriptionEnd: string | undefined;
  subscribeListening(
    mux,
    (now) => (ports = now),
    (errno) => (subscriptionEnd = errno ?? 'end'),
  );
  await until(() => ports !== undefined);
  const echo = await listen(t, (socket) => socket.pipe(socket));
  const block = pattern(4_000_000, 5);
  // Each stream sends what it has and gets it back; there are as many rounds as it takes.
  const round = async (): Promise<void> => {
    const {stream, ear} = dial(mux, echo);
    feed(stream, ear, block, () => stream.end());
    await ear.event('close');
    t.true(ear.bytes.equals(block));
  };
  way.cutAfter = randomInt(1, 1_500_000);
  let rounds = 0;
  const busy = async (): Promise<void> => {
    while (resumed < cuts) {
      await round();
      rounds++;
    }
  };
  await Promise.all([busy(), busy(), busy()]);
  t.log(`${rounds} rounds of 2 × 4 MB`, mux.counters);
  t.true(way.cuts >= cuts);
  t.true(mux.counters.messagesResent > 0);
  await callPing(mux);
  // The subscription still tells what is new.
  const late = createServer().listen(0, '127.0.0.1');
  await once(late, 'listening');
  await until(() => ports?.tcp4.includes(portOf(late)) === true);
  late.close();
  t.is(subscriptionEnd, undefined);
});

test('a connection that grows old is replaced while bytes flow', async (t) => {
  const agent = await ready(await startListeningAgent(t));
  const way = new Way(t, () => agent.port);
  const {mux} = await join(t, way, {options: {rollAfterMs: 50}});
  const echo = await listen(t, (socket) => socket.pipe(socket));
  const block = pattern(4_000_000, 5);
  while (way.connections < 10) {
    const {stream, ear} = dial(mux, echo);
    feed(stream, ear, block, () => stream.end());
    await ear.event('close');
    t.true(ear.bytes.equals(block));
  }
  t.is(mux.counters.resumed, mux.counters.suspended);
});

test('the way stays closed: flows get ECONNRESET when the window is over, and the agent frees all', async (t) => {
  const agent = await ready(
    await startListeningAgent(t, {args: ['--resume-window', '1', '--idle-ttl', '1']}),
  );
  const way = new Way(t, () => agent.port);
  const ended = Promise.withResolvers<void>();
  const there = await listen(t, (socket) => socket.on('close', () => ended.resolve()));
  const {mux, closed} = await join(t, way, {options: {resumeWindowMs: 1000}});
  const {ear} = dial(mux, there);
  await ear.event('opened');
  way.isOpen = false;
  way.cut();
  t.is(await ear.event('reset'), 'reset ECONNRESET');
  t.is(await closed, 'RESUME_TIMEOUT');
  await ended.promise;
  await once(agent.child, 'exit');
  t.regex(agent.stderr(), /the last client was lost/);
});

test('an agent that waits for a client counts it as present', async (t) => {
  const agent = await ready(await startListeningAgent(t, {args: ['--idle-ttl', '0']}));
  const way = new Way(t, () => agent.port);
  const {mux} = await join(t, way);
  way.isOpen = false;
  way.cut();
  await until(() => mux.isSuspended && agent.stderr().includes('client lost'));
  way.isOpen = true;
  await callPing(mux);
  t.true(agent.stderr().includes('client back'));
  mux.close();
  await once(agent.child, 'exit');
  t.regex(agent.stderr(), /the last client left/);
});

test('another agent in the place of the first does not know the session', async (t) => {
  const first = await ready(await startListeningAgent(t));
  let {port} = first;
  const way = new Way(t, () => port);
  const {mux, closed} = await join(t, way);
  way.isOpen = false;
  // What was started is the first process of its container, which outlives it for a moment.
  signal(
    allProcesses().find(({parent}) => parent === first.child.pid),
    'SIGKILL',
  );
  await until(() => mux.isSuspended);
  port = (await ready(await startListeningAgent(t))).port;
  way.isOpen = true;
  t.is(await closed, 'RESUME_UNKNOWN');
});

test('an agent that takes leave is believed at once', async (t) => {
  const agent = await ready(await startListeningAgent(t));
  const way = new Way(t, () => agent.port);
  const {closed} = await join(t, way);
  agent.child.kill('SIGTERM');
  t.is(await closed, 'GOING_AWAY');
  t.is(way.connections, 1);
});
