/**
 * Run in namespaces of its own (`capture.test.ts`): a pod with an application that echoes, an agent that is a process, and
 * beside it a client's machine. In the scenario of the argument; writes what became of it as JSON.
 */

import {type ChildProcess, execFileSync, spawn} from 'node:child_process';
import {once} from 'node:events';
import {createServer as createHttpServer} from 'node:http';
import {connect as connectHttp2, createServer as createHttp2Server} from 'node:http2';
import {connect, createServer, type Socket} from 'node:net';
import {createInterface} from 'node:readline';
import {fileURLToPath} from 'node:url';
import {subscribeIncoming} from '../../../../tunnel/intercept.ts';
import {join, ready, startListeningAgent} from '../../../helpers/listening-agent.ts';
import {freePort} from '../../../helpers/ports.ts';
import {until} from '../../../helpers/until.ts';
import {AgentProcess} from '../peers/agent-process.ts';
import {ask, serveEcho} from '../peers/servers.ts';
import {bytesOf, type Order, type Outcome, obey, sha256} from './outside.ts';

const PORT = 8_080;
const HTTP = 8_081;
const NOBODY = 8_082;
const H2C = 8_083;
const POD = {4: '10.9.0.2', 6: 'fd09::2'} as const;

const sh = (script: string): string => execFileSync('sh', ['-ec', script], {encoding: 'utf8'});
const tables = (): number => sh('nft list tables').split('mirrord-').length - 1;

// ---- the pod and the client's machine ----

const elsewhere = spawn('unshare', ['-n', 'sh', '-c', 'echo; exec sleep infinity']);
await once(elsewhere.stdout, 'data');
const there = ['nsenter', '-n', '-t', `${elsewhere.pid}`];
sh(`ip link set lo up; ip link add eth0 type veth peer name client netns ${elsewhere.pid}
  ${there.join(' ')} sh -ec 'ip addr add 10.9.0.1/24 dev client; ip addr add fd09::1/64 dev client nodad
    ip link set client up'
  ip addr add ${POD[4]}/24 dev eth0; ip addr add ${POD[6]}/64 dev eth0 nodad; ip link set eth0 up`);

/** Who has connected to the application. */
const peers: string[] = [];
createServer({allowHalfOpen: true}, (socket) => {
  peers.push(`${socket.remoteAddress?.replace('::ffff:', '')} ${socket.remotePort}`);
  socket.on('error', () => undefined);
  socket.on('data', (chunk) => {
    if (chunk.toString() === 'reset') socket.resetAndDestroy();
  });
  socket.pipe(socket);
}).listen(PORT, '::');
await once(
  createHttpServer((_request, response) => response.end('application')).listen(HTTP, '::'),
  'listening',
);

/** A program that keeps what it gets of each connection. */
class Keeper {
  readonly connections: {chunks: Buffer[]; ended: string}[] = [];
  readonly port: Promise<number>;
  readonly #server = createServer({allowHalfOpen: true}, (socket) => this.#keep(socket));
  readonly #reads: boolean;

  constructor(reads = true) {
    this.#reads = reads;
    this.port = once(this.#server.listen(0, '127.0.0.1'), 'listening').then(
      () => (this.#server.address() as {port: number}).port,
    );
  }

  /** Of each connection, in their order: what came, and how it ended. */
  get kept(): {sha256: string; ended: string}[] {
    return this.connections.map(({chunks, ended}) => ({
      sha256: sha256(Buffer.concat(chunks)),
      ended,
    }));
  }

  #keep(socket: Socket): void {
    const connection = {chunks: [] as Buffer[], ended: ''};
    this.connections.push(connection);
    if (!this.#reads) socket.pause();
    else socket.on('data', (chunk) => connection.chunks.push(chunk));
    socket.on('end', () => {
      connection.ended = 'end';
      socket.end();
    });
    socket.on('error', (error: NodeJS.ErrnoException) => {
      connection.ended = error.code ?? '';
    });
  }
}

class Outside {
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;

  constructor() {
    const program = fileURLToPath(new URL('outside.ts', import.meta.url));
    const node = [process.execPath, '--disable-warning=ExperimentalWarning', program];
    const [file = '', ...args] = [...there, ...node];
    this.#child = spawn(file, args, {stdio: ['pipe', 'pipe', 'inherit']});
    const input = this.#child.stdout as NonNullable<ChildProcess['stdout']>;
    this.#lines = createInterface({input})[Symbol.asyncIterator]();
  }

  async ready(): Promise<this> {
    await this.#lines.next();
    return this;
  }

  async do(order: Order): Promise<Outcome> {
    this.#child.stdin?.write(`${JSON.stringify(order)}\n`);
    const {value} = await this.#lines.next();
    return JSON.parse(value as string) as Outcome;
  }
}

async function mirrored(
  agent: AgentProcess,
  {port = PORT, reads = true}: {port?: number; reads?: boolean} = {},
) {
  const keeper = new Keeper(reads);
  const subscribed = agent.subscribe({port, mode: 'mirror'}, await keeper.port);
  await subscribed.first;
  return {keeper, told: subscribed.told, end: () => subscribed.end()};
}

/** Starts a program where there is no nft. */
const withoutNft = [
  'unshare',
  '-m',
  'sh',
  '-ec',
  'mount --bind /dev/null /usr/sbin/nft; exec "$0" "$@"',
];

const by = (agent: AgentProcess): string[] =>
  [...agent.log.matchAll(/"message":"subscribed".*"by":"([\w-]+)"/g)].map(([, name]) => name ?? '');

const sum = (bytes: number): string => sha256(bytesOf(bytes));

const scenarios: Record<string, () => Promise<unknown>> = {
  /** What clients of both families send, from outside and inside. */
  async bytes() {
    const agent = await new AgentProcess().ready();
    const {keeper, told} = await mirrored(agent);
    const outside = await new Outside().ready();
    const large = 3 << 18;
    const clients = [
      await outside.do({host: POD[4], port: PORT, bytes: large, how: 'end'}),
      await outside.do({host: POD[6], port: PORT, bytes: large, how: 'end'}),
      await obey({host: '127.0.0.1', port: PORT, bytes: large, how: 'end'}),
      await obey({host: '::1', port: PORT, bytes: 1, how: 'end'}),
      await outside.do({host: POD[4], port: PORT, bytes: 0, how: 'end'}),
    ];
    await until(() => keeper.kept.filter(({ended}) => ended !== '').length === clients.length);
    const [first] = agent.incoming;
    const seen = {
      echoed: clients.map((one) => one.sha256),
      copies: keeper.kept,
      arePeersTheClients: clients.every(({localPort}, at) => peers[at]?.endsWith(` ${localPort}`)),
      peer: first && [...first.peer.address, first.peer.port === clients[0]?.localPort],
      local: first && [...first.local.address, first.local.port],
      by: by(agent),
      told,
      tables: tables(),
    };
    await agent.end();
    return {...seen, expected: [large, large, large, 1, 0].map(sum)};
  },

  /** Resets by either side, and a connection that nobody takes. */
  async resets() {
    const agent = await new AgentProcess().ready();
    const {keeper} = await mirrored(agent);
    const refusing = await mirrored(agent, {port: NOBODY});
    const outside = await new Outside().ready();
    const refused = await outside.do({host: POD[4], port: NOBODY, bytes: 1, how: 'end'});
    await outside.do({host: POD[4], port: PORT, bytes: 100, how: 'reset'});
    await outside.do({host: POD[4], port: PORT, bytes: 1, how: 'be reset'});
    await obey({host: '127.0.0.1', port: PORT, bytes: 1, how: 'be reset'});
    await until(() => keeper.kept.filter(({ended}) => ended !== '').length === 3);
    const seen = {
      refused: refused.error,
      copiesOfRefused: refusing.keeper.connections.length,
      kept: keeper.kept,
    };
    await agent.end();
    return {...seen, expected: [bytesOf(100), Buffer.from('reset')].map(sha256)};
  },

  /** The agent is killed while connections stand, and while others come and go. */
  async kill() {
    const agent = await new AgentProcess().ready();
    const {keeper} = await mirrored(agent);
    const ofHttp = await mirrored(agent, {port: HTTP});
    const standing = connect(PORT, POD[4]);
    await once(standing, 'connect');
    standing.write('before');
    await once(standing, 'data');
    let isOver = false;
    const answers: Record<string, number> = {};
    const lane = async (): Promise<void> => {
      while (!isOver) {
        const answer = await ask(HTTP);
        answers[answer] = (answers[answer] ?? 0) + 1;
      }
    };
    const lanes = [lane(), lane(), lane(), lane()];
    const transfer = obey({host: POD[4], port: PORT, bytes: 20 << 20, how: 'end'});
    await until(() => ofHttp.keeper.connections.length > 100 && keeper.connections.length === 2);
    const tablesBefore = tables();
    await agent.kill();
    const count = answers['application'] ?? 0;
    await until(() => (answers['application'] ?? 0) > count + 1_000);
    isOver = true;
    await Promise.all(lanes);
    standing.write('after');
    const [after] = await once(standing, 'data');
    const moved = await transfer;
    return {
      answers: Object.keys(answers),
      after: `${after}`,
      isWhole: moved.sha256 === sum(20 << 20) && moved.error === undefined,
      tables: [tablesBefore, tables()],
    };
  },

  /** A program that reads nothing, and an agent that stands still: neither is the application's to wait for. */
  async slow() {
    const agent = await new AgentProcess().ready();
    const lazy = await mirrored(agent, {reads: false});
    const outside = await new Outside().ready();
    const many = 24 << 20;
    const first = await outside.do({host: POD[4], port: PORT, bytes: many, how: 'end'});
    await until(() => lazy.told.includes('MIRROR_TOO_SLOW'));
    lazy.end();
    const {keeper, told} = await mirrored(agent);
    await outside.do({host: POD[4], port: PORT, bytes: 10, how: 'stay'});
    await until(() => keeper.connections.length === 1);
    agent.child.kill('SIGSTOP');
    const second = await outside.do({host: POD[4], port: PORT, bytes: many, how: 'stay'});
    agent.child.kill('SIGCONT');
    await until(() => told.includes('MIRROR_TOO_SLOW') && told.includes('MIRROR_INCOMPLETE'));
    const third = await outside.do({host: POD[4], port: PORT, bytes: 1_000, how: 'end'});
    await until(() => keeper.kept.some(({ended}) => ended === 'end'));
    const seen = {
      areWhole: [first, second].every((one) => one.sha256 === sum(many)),
      isLastWhole: keeper.kept.at(-1)?.sha256 === third.sha256,
    };
    await agent.end();
    return seen;
  },

  /** Much of a connection that nobody takes any more, and another one from the same port. */
  async unwanted() {
    const agent = await new AgentProcess().ready();
    await mirrored(agent, {reads: false});
    const outside = await new Outside().ready();
    const sums: (string | undefined)[] = [];
    for (const host of [POD[4], POD[6]]) {
      const order = {host, port: PORT, localPort: 5_555} as const;
      await outside.do({...order, bytes: 40 << 20, how: 'reset'});
      await until(() => agent.log.split('"no more left out"').length - 1 > sums.length);
      const {keeper, end} = await mirrored(agent);
      await outside.do({...order, bytes: 100_000, how: 'end'});
      await until(() => keeper.kept[0]?.ended === 'end');
      sums.push(keeper.kept[0]?.sha256);
      end();
    }
    const failures = agent.log.match(/not captured|not changed/g)?.length ?? 0;
    const leftOut = agent.log.split('"left out of the capture"').length - 1;
    await agent.end();
    return {leftOut, failures, by: by(agent), sums, expected: sum(100_000)};
  },

  /** A client keeps a connection, since before the subscription; the program closes its copy in between. */
  async pool() {
    const pools = [connect(HTTP, POD[4]), connect(HTTP, '127.0.0.1')];
    const request = async (path: string): Promise<void> => {
      for (const pool of pools) {
        pool.write(`GET ${path} HTTP/1.1\r\nhost: x\r\n\r\n`);
        await once(pool, 'data');
      }
    };
    await request('/before');
    const agent = await new AgentProcess().ready();
    const paths: string[] = [];
    const program = createHttpServer(({url, socket}, response) => {
      paths.push(url ?? '');
      response.end();
      if (url === '/second') setImmediate(() => socket.destroy());
    }).listen(0, '127.0.0.1');
    await once(program, 'listening');
    const {port} = program.address() as {port: number};
    await agent.subscribe({port: HTTP, mode: 'mirror'}, port).first;
    const count = (path: string): number => paths.filter((one) => one === path).length;
    for (const path of ['/first', '/second']) {
      await request(path);
      await until(() => count(path) === 2);
    }
    // What comes before the agent has heard that the program has closed is lost.
    do await request('/third');
    while (count('/third') < 2);
    for (const pool of pools) pool.destroy();
    await agent.end();
    return {paths: paths.slice(0, 5)};
  },

  /** Requests that fit a filter, of HTTP/1 and HTTP/2, while somebody mirrors all of it. */
  async requests() {
    const http2 = createHttp2Server();
    http2.on('stream', (stream) => stream.respond({':status': 200}, {endStream: true}));
    await once(http2.listen(H2C, '::'), 'listening');
    const agent = await new AgentProcess().ready();
    const paths: string[] = [];
    const keep = ({url}: {url?: string | undefined}, response: {end(): unknown}): void => {
      paths.push(url ?? '');
      response.end();
    };
    const programs = {
      [HTTP]: createHttpServer(keep),
      [H2C]: createHttp2Server(keep),
    };
    const told: string[][] = [];
    for (const [port, program] of Object.entries(programs)) {
      await once(program.listen(0, '127.0.0.1'), 'listening');
      const {port: own} = program.address() as {port: number};
      const pattern = {source: '^x-user: me$', flags: 'i'};
      const filter = {join: 'any', conditions: [{kind: 'header', pattern}]} as const;
      const subscribed = agent.subscribe({port: Number(port), mode: 'mirror', filter}, own);
      await subscribed.first;
      told.push(subscribed.told);
    }
    const {keeper} = await mirrored(agent, {port: HTTP});
    const client = connect(HTTP, POD[4]);
    for (const [at, user] of ['me', 'you', 'me'].entries()) {
      client.write(`GET /${at} HTTP/1.1\r\nhost: x\r\nx-user: ${user}\r\n\r\n`);
      await once(client, 'data');
    }
    client.end();
    const session = connectHttp2(`http://${POD[4]}:${H2C}`);
    for (const [at, user] of ['me', 'you', 'me'].entries()) {
      const stream = session.request({':path': `/h2/${at}`, 'x-user': user});
      await once(stream.resume(), 'close');
    }
    session.close();
    await until(() => paths.length >= 4 && keeper.connections[0]?.ended === 'end');
    const all = Buffer.concat(keeper.connections[0]?.chunks ?? []).toString();
    const seen = {
      paths: paths.toSorted(),
      ofAll: [...all.matchAll(/^GET (\S+)/gm)].map(([, path]) => path),
      by: by(agent),
      told,
      tables: tables(),
    };
    http2.close();
    await agent.end();
    return seen;
  },

  /** The metrics of an agent: of a program that reads nothing, and when more comes than it copies. */
  async metrics() {
    const address = `127.0.0.1:${await freePort()}`;
    const agent = await ready(
      await startListeningAgent(
        {teardown: (end) => process.once('exit', end)},
        {args: ['--metrics', address]},
      ),
    );
    const counts = async (): Promise<Record<string, number>> => {
      const page = await (await fetch(`http://${address}/metrics`)).text();
      const lines = page.matchAll(/^mirrord_agent_(captured\S+|copies\S+|\S+"copies"\}) (\d+)$/gm);
      return Object.fromEntries([...lines].map(([, name, value]) => [name, Number(value)]));
    };
    // It gives no credit, so that what comes waits in the agent.
    const {mux} = await join(agent.port, {onOpen: (stream) => stream.accept(new Uint8Array(0))});
    const params = {id: 1, port: PORT, mode: 'mirror', onConcurrentSteal: 'abort'} as const;
    await new Promise<void>((onActive, onEnd) => {
      subscribeIncoming(mux, params, {
        onEvent: ({event}) => event === 'active' && onActive(),
        onEnd,
      });
    });
    const before = await counts();
    const outside = await new Outside().ready();
    await outside.do({host: POD[4], port: PORT, bytes: 8 << 20, how: 'end'});
    await until(async () => (await counts())['copies_cut_off_total{reason="slow"}'] === 1);
    await outside.do({host: POD[4], port: PORT, bytes: 10, how: 'stay'});
    await until(async () => (await counts())['captured_connections'] === 1);
    const during = await counts();
    // What was started is the launcher.
    const pid = Number(/"pid":(\d+)/.exec(agent.stderr())?.[1]);
    process.kill(pid, 'SIGSTOP');
    await outside.do({host: POD[4], port: PORT, bytes: 24 << 20, how: 'stay'});
    process.kill(pid, 'SIGCONT');
    await until(
      async () => Number((await counts())['captured_packets_lost_total{reason="full"}']) > 0,
    );
    return {before, during, after: await counts()};
  },

  /** Packets to somebody else, whose way leads through here, as through the network of a node. */
  async forwarded() {
    const serve = `net.createServer((socket) => socket.end('behind\\n')).listen(${PORT}, () => console.log())`;
    const behind = spawn('unshare', ['-n', process.execPath, '-e', serve]);
    await once(behind.stdout, 'data');
    sh(`ip link add eth1 type veth peer name eth0 netns ${behind.pid}
      ip addr add 10.8.0.1/24 dev eth1; ip link set eth1 up; sysctl -qw net.ipv4.ip_forward=1
      nsenter -n -t ${behind.pid} sh -ec 'ip link set lo up; ip addr add 10.8.0.2/24 dev eth0; ip link set eth0 up
        ip route add default via 10.8.0.1'
      ${there.join(' ')} ip route add 10.8.0.0/24 via ${POD[4]}`);
    const agent = await new AgentProcess().ready();
    const {keeper} = await mirrored(agent);
    const outside = await new Outside().ready();
    const other = await talkOutside('10.8.0.2');
    await outside.do({host: POD[4], port: PORT, bytes: 10, how: 'end'});
    // An address that comes later is the pod's, too.
    sh('ip addr add 10.7.0.1/32 dev eth0');
    sh(`${there.join(' ')} ip route add 10.7.0.0/24 via ${POD[4]}`);
    await outside.do({host: '10.7.0.1', port: PORT, bytes: 20, how: 'end'});
    await until(() => keeper.kept.filter(({ended}) => ended === 'end').length >= 2);
    const sizes = keeper.connections.map(({chunks}) => Buffer.concat(chunks).length);
    await agent.end();
    const stealing: string[][] = [];
    for (const tool of ['nft', 'iptables']) {
      const thief = await new AgentProcess(tool === 'nft' ? [] : withoutNft).ready();
      const steal = thief.subscribe({port: PORT}, await serveEcho('thief'));
      await steal.first;
      stealing.push([
        `${by(thief)}`.split('-')[0] ?? '',
        await talkOutside(),
        await talkOutside('10.8.0.2'),
      ]);
      await thief.end();
    }
    behind.kill();
    return {other, sizes, stealing};
  },

  /** Segments that are lost on their way, and some that are lost between the capture and the application. */
  async lossy() {
    const agent = await new AgentProcess().ready();
    const {keeper} = await mirrored(agent);
    const outside = await new Outside().ready();
    const rule = (at: string): string =>
      `nft 'table inet lossy { chain c { type filter hook ${at} priority 0; tcp dport ${PORT} numgen random mod 100 < 5 drop; }; }'`;
    sh(rule('input'));
    sh(`${there.join(' ')} ${rule('output')}`);
    const bytes = 1 << 20;
    const outcome = await outside.do({host: POD[4], port: PORT, bytes, how: 'end'});
    await until(() => keeper.kept[0]?.ended === 'end');
    const copy = keeper.kept[0]?.sha256;
    await agent.end();
    return {isEchoed: outcome.sha256 === sum(bytes), isCopied: copy === sum(bytes)};
  },

  /** One agent's client steals the port that another's mirrors. */
  async stolen() {
    const [a, b] = await Promise.all([new AgentProcess().ready(), new AgentProcess().ready()]);
    const {keeper, told} = await mirrored(a);
    const outside = await new Outside().ready();
    const order = {host: POD[4], port: PORT, bytes: 50_000, how: 'end'} as const;
    const both = async (): Promise<void> => {
      await outside.do(order);
      await obey({...order, host: '127.0.0.1'});
    };
    await both();
    // Of a connection that stands when the port is stolen.
    await outside.do({...order, how: 'stay'});
    const steal = b.subscribe({port: PORT}, await serveEcho('thief'));
    await steal.first;
    const thief = await talkOutside();
    await outside.do({...order, bytes: 1, how: 'stay'});
    await obey({...order, host: '127.0.0.1', bytes: 1, how: 'stay'});
    steal.end();
    let asked = 1;
    while ((await talkOutside()) === thief) asked++;
    await both();
    const all = 8 + asked;
    await until(() => keeper.kept.filter(({ended}) => ended !== '').length === all - 3);
    const sizes = keeper.connections.map(({chunks}) => Buffer.concat(chunks).length);
    const seen = {
      thief,
      isEachOnce: keeper.connections.length === all,
      large: sizes.filter((size) => size === order.bytes).length,
      told,
    };
    await Promise.all([a.end(), b.end()]);
    return seen;
  },

  /** Without NET_RAW, and with rules that lead elsewhere what comes to another port. */
  async instead() {
    const setpriv = ['setpriv', '--bounding-set=-net_raw', '--inh-caps=-net_raw'];
    const less = await new AgentProcess(setpriv).ready();
    const one = await mirrored(less);
    await obey({host: POD[4], port: PORT, bytes: 10, how: 'end'});
    await until(() => one.keeper.connections[0]?.ended === 'end');
    const first = {by: by(less), copies: one.keeper.connections.length};
    await less.end();
    sh(
      `nft 'table ip mesh { chain c { type nat hook prerouting priority -100; tcp dport 1 redirect to :2; }; }'`,
    );
    const among = await new AgentProcess().ready();
    const other = await mirrored(among);
    await obey({host: POD[4], port: PORT, bytes: 10, how: 'end'});
    await until(() => other.keeper.connections[0]?.ended === 'end');
    const second = {by: by(among), copies: other.keeper.connections.length};
    await among.end();
    return {first, second};
  },

  /** An agent that may not redirect. */
  async powerless() {
    const setpriv = ['setpriv', '--bounding-set=-net_admin', '--inh-caps=-net_admin'];
    const agent = await new AgentProcess(setpriv).ready();
    const {keeper, told} = await mirrored(agent);
    await obey({host: POD[4], port: PORT, bytes: 10, how: 'end'});
    await until(() => keeper.connections[0]?.ended === 'end');
    await agent.end();
    return {told, copies: keeper.connections.length};
  },
};

/** What a client outside reads first. */
async function talkOutside(host: string = POD[4]): Promise<string> {
  const nc = spawn('sh', ['-c', `echo | ${there.join(' ')} nc -N ${host} ${PORT}`]);
  const chunks = await (nc.stdout as Socket).toArray();
  return (
    Buffer.concat(chunks as Buffer[])
      .toString()
      .split('\n')[0] ?? ''
  );
}

const [, , name = ''] = process.argv;
process.stdout.write(JSON.stringify(await scenarios[name]?.()));
process.exit();
