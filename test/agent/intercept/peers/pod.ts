/**
 * Run in a network namespace of its own (`peers.test.ts`): an application on some ports, and agents that are processes, in
 * the scenario of the argument. Writes what became of it as JSON.
 */

import {execFileSync, spawn} from 'node:child_process';
import {randomBytes} from 'node:crypto';
import {once} from 'node:events';
import {connect, createServer, type Socket} from 'node:net';
import {setTimeout as delay} from 'node:timers/promises';
import {
  lingeringPlace,
  MEETING_POINT,
  MOST_LINGERING,
} from '../../../../agent/intercept/peers/protocol.ts';
import type {HttpFilter} from '../../../../tunnel/http-filter.ts';
import {AgentProcess, type Wanted} from './agent-process.ts';
import {askWithBodies} from './bodies.ts';
import {
  ask,
  askHttp2,
  askOverHttp2,
  askOverKept,
  keepBytes,
  serveEcho,
  serveHttp,
  serveHttp2,
  serveLong,
  talk,
} from './servers.ts';

const HTTP = 8_080;
const HTTP2 = 8_081;
const TCP = 8_082;
const LONG = 8_083;

await serveHttp('application', HTTP);
await serveHttp2('application', HTTP2);
await serveEcho('application', TCP);

/** Requests with `x-who: NAME`. */
function from(name: string): HttpFilter {
  const pattern = {source: `^x-who: ${name}$`, flags: 'i'};
  return {join: 'all', conditions: [{kind: 'header', pattern}]};
}

const sh = (script: string): string => execFileSync('sh', ['-ec', script], {encoding: 'utf8'});
/** Agents' tables of rules. */
const tables = (): number => sh('nft list tables').split('mirrord-').length - 1;

async function until(isTrue: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await isTrue())) await delay(5);
}

/** Asks again and again, by four at a time; counts who answered. */
function load(port: number, headers: Record<string, string>) {
  const answers: Record<string, number> = {};
  let isOver = false;
  const lane = async (): Promise<void> => {
    while (!isOver) {
      const by = await ask(port, headers);
      answers[by] = (answers[by] ?? 0) + 1;
    }
  };
  const lanes = [lane(), lane(), lane(), lane()];
  return {
    answers,
    async stop(): Promise<Record<string, number>> {
      isOver = true;
      await Promise.all(lanes);
      return answers;
    },
  };
}

const total = (answers: Record<string, number>): number =>
  Object.values(answers).reduce((sum, count) => sum + count, 0);

const UPGRADE =
  'GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n' +
  'sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n';
/** A message that is no HELLO, with a mask of zeros. */
const GARBAGE = '\x82\x88\0\0\0\0garbage!';

/** Python with a socket `s` and the name of the meeting point, as a user who is not the agents'. */
const stranger = (script: string): string[] => [
  ...['--reuid=65534', '--clear-groups', '/usr/bin/python3', '-uc'],
  `import socket, sys; s = socket.socket(socket.AF_UNIX); name = "\\0${MEETING_POINT.slice(1)}"; ${script}`,
];
const asStranger = (script: string): string =>
  execFileSync('setpriv', stranger(script), {encoding: 'utf8'}).trim();
const strangerThatListens = () =>
  spawn('setpriv', stranger('s.bind(name); s.listen(); print("listening"); sys.stdin.read()'));

const programs = new Map<string, number>();
async function program(name: string): Promise<number> {
  const port = programs.get(name) ?? (await serveHttp(name));
  programs.set(name, port);
  return port;
}

/** A new agent that steals requests with `x-who: NAME`, and has heard that it does. */
async function stealing(name: string, filter = from(name), running?: AgentProcess) {
  const agent = running ?? (await new AgentProcess().ready());
  const subscribed = agent.subscribe({port: HTTP, filter}, await program(name));
  await subscribed.first;
  return {agent, ...subscribed};
}

/** Kills the leader, and has `first` lead before `behind` hears of it. */
async function moveBehind(
  leader: AgentProcess,
  behind: AgentProcess,
  first: AgentProcess,
): Promise<void> {
  behind.child.kill('SIGSTOP');
  await leader.kill();
  await until(() => first.log.includes('"subscribed"'));
  behind.child.kill('SIGCONT');
}

/** As `ask`, for who does not wait for one that is stopped. */
const askSoon = (port: number, headers: Record<string, string>): Promise<string> =>
  Promise.race([ask(port, headers), delay(500, 'nobody')]);

const NOTHING = Buffer.alloc(0);
const who = (name: string): Record<string, string> => ({'x-who': name});
async function answers(...names: string[]): Promise<string[]> {
  return await Promise.all(names.map((name) => ask(HTTP, who(name))));
}

/** A connection that is open, and has said `text`; `again` has it echo. */
async function echoing(port: number, hello: string, text: RegExp) {
  const socket = connect({host: '127.0.0.1', port, allowHalfOpen: true, noDelay: true});
  socket.setEncoding('latin1');
  let heard = '';
  socket.on('data', (said: string) => (heard += said));
  socket.write(hello);
  await until(() => text.test(heard));
  heard = '';
  return {
    async again(said: string): Promise<boolean> {
      socket.write(said);
      await until(() => heard.length >= said.length || socket.destroyed);
      const isSame = heard === said;
      heard = '';
      return isSame;
    },
    async end(): Promise<string> {
      socket.end();
      await until(() => socket.readableEnded || socket.destroyed);
      return heard;
    },
  };
}

/** An agent ends through which connections of others pass, of each kind; another one comes while it lingers. */
async function lingers(end: (a: {agent: AgentProcess}) => void): Promise<unknown> {
  const answers = await serveLong(LONG);
  const agent = await new AgentProcess().ready();
  await agent.subscribe({port: LONG, filter: from('a')}, await program('a')).first;
  await agent.subscribe({port: TCP, filter: from('a')}, await program('a')).first;
  const upgraded = await echoing(LONG, UPGRADE, /\r\n\r\n$/);
  const raw = await echoing(TCP, '', /^application\n/);
  const download = fetch(`http://127.0.0.1:${LONG}/long`);
  await until(() => answers.length > 0);
  const part = randomBytes(1 << 20);
  answers[0]?.write(part);
  const kept = askOverKept(LONG);
  await until(() => total(kept.seen) > 100);

  end({agent});
  await until(() => agent.log.includes('lingering'));
  const before = total(kept.seen);
  await until(() => total(kept.seen) > before + 500);
  // What comes now, comes past the agent; nothing of the session is left but what passes through it.
  const passed = await Promise.all([upgraded.again('one'), raw.again('two')]);
  const other = await stealing('b');
  await other.agent.subscribe({port: LONG, filter: from('b')}, await program('b')).first;
  const others = [await ask(LONG, who('a')), await ask(LONG, who('b')), await ask(HTTP, who('b'))];
  await other.agent.end();
  answers[0]?.end(part);
  const body = Buffer.from(await (await download).arrayBuffer());
  passed.push(await upgraded.again('three'), await raw.again('four'));
  const isThere = agent.child.exitCode === null;
  const ends = [await upgraded.end(), await raw.end()];
  await agent.exited;
  await kept.stop();
  return {
    passed,
    others,
    isWhole: body.equals(Buffer.concat([part, part])),
    isThere,
    ends,
    status: agent.child.exitCode,
    kept: Object.keys(kept.seen),
    left: tables(),
  };
}

/** The same when it is killed, in the midst of requests: by the process that stands by. */
async function survives(filtered: boolean): Promise<unknown> {
  const answers = await serveLong(LONG);
  const agent = await new AgentProcess().ready();
  await agent.subscribe({port: LONG, filter: from('a')}, await program('a')).first;
  await agent.subscribe({port: TCP, filter: from('a')}, await program('a')).first;
  const upgraded = await echoing(LONG, UPGRADE, /\r\n\r\n$/);
  const raw = await echoing(TCP, '', /^application\n/);
  const download = fetch(`http://127.0.0.1:${LONG}/long`);
  await until(() => answers.length > 0);
  const part = randomBytes(8 << 20);
  answers[0]?.write(part);
  const kept = askOverKept(LONG);
  await agent.subscribe({port: HTTP2, filter: from('a')}, await program('a')).first;
  const streams = askOverHttp2(HTTP2);
  const fresh = load(LONG, who('b'));
  const stolen = filtered ? load(LONG, who('a')) : undefined;
  await until(() => total(kept.seen) > 500 && total(fresh.answers) > 100);
  await until(() => total(streams.seen) > 500);

  await agent.kill();
  const before = total(kept.seen);
  const streamsBefore = total(streams.seen);
  await until(() => total(kept.seen) > before + 2_000);
  await until(() => total(streams.seen) > streamsBefore + 1_000);
  const passed = await Promise.all([upgraded.again('one'), raw.again('two')]);
  answers[0]?.end(part);
  const body = Buffer.from(await (await download).arrayBuffer());
  const ends = [await upgraded.end(), await raw.end()];
  await kept.stop();
  await streams.stop();
  const others = await fresh.stop();
  // Those that were a's own are lost, if they were on their way.
  const own = Object.keys((await stolen?.stop()) ?? {application: 1});
  await until(() => tables() === 0);
  return {
    passed,
    isWhole: body.equals(Buffer.concat([part, part])),
    ends,
    kept: Object.keys(kept.seen),
    streams: Object.keys(streams.seen),
    fresh: Object.keys(others),
    isOwn: own.includes('application'),
  };
}

/** It is killed while connections of HTTP/2 have requests of programs, and of others. */
async function survivesDivided(): Promise<unknown> {
  const agent = await new AgentProcess().ready();
  await agent.subscribe({port: HTTP2, filter: from('a')}, await serveHttp2('a')).first;
  const streams = askOverHttp2(HTTP2, who('a'));
  const {seen, seenWithHeaders: own} = streams;
  await until(() => total(seen) > 300 && total(own) > 100);
  const byProgram = Object.keys(own);
  await agent.kill();
  const [before, ownBefore] = [total(seen), total(own)];
  await until(() => total(seen) > before + 1_000 && total(own) > ownBefore + 100);
  await streams.stop();
  await until(() => tables() === 0);
  return {byProgram, streams: Object.keys(seen), isOwn: Object.keys(own).includes('application')};
}

/** The same with a filter of bodies, which has to think about each request, while others overtake it. */
async function survivesThinking(): Promise<unknown> {
  const agent = await new AgentProcess().ready();
  const pattern = {source: '^a$', flags: ''};
  const filter: HttpFilter = {
    join: 'all',
    conditions: [{kind: 'body', query: '$.who', pattern}],
  };
  await agent.subscribe({port: HTTP2, filter}, await serveHttp2('a')).first;
  const {seen, own, stop} = askWithBodies(HTTP2, 'a');
  await until(() => total(seen) > 300 && total(own) > 100);
  const byProgram = Object.keys(own);
  await agent.kill();
  const [before, ownBefore] = [total(seen), total(own)];
  await until(() => total(seen) > before + 500 && total(own) > ownBefore + 100);
  await stop();
  await until(() => tables() === 0);
  return {byProgram, streams: Object.keys(seen), isOwn: Object.keys(own).includes('application')};
}

/** The process that stands by is killed first. */
async function standbyKilled(): Promise<unknown> {
  const agent = await new AgentProcess().ready();
  await agent.subscribe({port: TCP, filter: from('a')}, await program('a')).first;
  const raw = await echoing(TCP, '', /^application\n/);
  const standbys = (): number[] =>
    [...agent.log.matchAll(/"standing by","pid":(\d+)/g)].map(([, pid]) => Number(pid));
  const [first = 0] = standbys();
  process.kill(first, 'SIGKILL');
  await until(() => standbys().length > 1);
  await agent.kill();
  const passed = [await raw.again('one'), await raw.again('two')];
  return {passed, end: await raw.end(), isAnother: standbys()[1] !== first};
}

const scenarios: Record<string, () => Promise<unknown>> = {
  async filters() {
    const a = await stealing('a');
    const b = await stealing('b');
    const c = await stealing('c');
    const first = await answers('a', 'b', 'c', 'd');
    const seen = {tables: tables(), told: [a.told, b.told, c.told]};
    // A follower ends: the others do not notice.
    await b.agent.end();
    const second = await answers('a', 'b', 'c', 'd');
    c.end();
    await until(async () => (await ask(HTTP, who('c'))) === 'application');
    const third = await answers('a', 'b', 'c', 'd');
    await Promise.all([a.agent.end(), c.agent.end()]);
    return {first, seen, second, third, left: tables()};
  },

  /** All want the same; who came first gets it, also when those who came later join the next leader earlier. */
  async order() {
    const a = await stealing('a', from('x'));
    const b = await stealing('b', from('x'));
    const c = await stealing('c', from('x'));
    const first = await answers('x');
    await moveBehind(a.agent, b.agent, c.agent);
    await until(async () => (await ask(HTTP, who('x'))) === 'b');
    const second = await answers('x');
    await c.agent.end();
    const third = await answers('x');
    await b.agent.end();
    return {first, second, third, fourth: await answers('x'), left: tables()};
  },

  /** Who owned a port is not refused it because somebody who waits behind him has moved before him. */
  async places() {
    const a = await stealing('a');
    const [b, c] = await Promise.all([new AgentProcess().ready(), new AgentProcess().ready()]);
    const owner = b.subscribe({port: TCP}, await serveEcho('owner'));
    await owner.first;
    const waiting = c.subscribe(
      {port: TCP, onConcurrentSteal: 'continue'},
      await serveEcho('waiting'),
    );
    await waiting.first;
    const owned = `${await talk(TCP, NOTHING)}`;
    await moveBehind(a.agent, b, c);
    await until(async () => `${await talk(TCP, NOTHING)}` === owned);
    await b.end();
    const after = `${await talk(TCP, NOTHING)}`;
    await c.end();
    return {owned, after, told: [owner.told, waiting.told]};
  },

  /** A leader ends while requests come for one that follows. */
  async end() {
    const a = await stealing('a');
    const b = await stealing('b');
    const c = await stealing('c');
    const loads = [load(HTTP, who('b')), load(HTTP, who('c')), load(HTTP, who('d'))];
    await until(() => loads.every(({answers}) => Object.keys(answers).length > 0));
    await a.agent.end();
    const hasWaited = a.agent.log.includes('peers have not moved');
    const before = loads.map(({answers}) => total(answers));
    await until(() => loads.every(({answers}, at) => total(answers) > (before[at] ?? 0) + 50));
    const answered = await Promise.all(loads.map((one) => one.stop()));
    const seen = {
      by: answered.map(Object.keys),
      told: [b.told, c.told],
      hasWaited,
      tables: tables(),
    };
    await Promise.all([b.agent.end(), c.agent.end()]);
    return {...seen, left: tables()};
  },

  /** A leader is killed while requests come. */
  async kill() {
    const a = await stealing('a');
    const b = await stealing('b');
    const c = await stealing('c');
    const loads = [load(HTTP, who('b')), load(HTTP, who('c')), load(HTTP, who('d'))];
    await until(() => loads.every(({answers}) => Object.keys(answers).length > 0));
    const startedAt = performance.now();
    await a.agent.kill();
    await until(async () => (await ask(HTTP, who('d'))) === 'application');
    const applicationMs = Math.round(performance.now() - startedAt);
    await until(async () => (await answers('b', 'c')).join() === 'b,c');
    const programsMs = Math.round(performance.now() - startedAt);
    const answered = await Promise.all(loads.map((one) => one.stop()));
    // Those of who stands by translate until nothing of it is left.
    await until(() => tables() === 1);
    const seen = {
      told: [b.told, c.told],
      tables: tables(),
      after: await answers('a', 'b', 'c', 'd'),
    };
    await Promise.all([b.agent.end(), c.agent.end()]);
    return {...seen, answered, applicationMs, programsMs, left: tables()};
  },

  /** Steals without a filter, by agents of their own. */
  async concurrent() {
    const agents = await Promise.all([1, 2, 3, 4, 5].map(() => new AgentProcess().ready()));
    const [one, two, three, four, five] = agents as [
      AgentProcess,
      AgentProcess,
      AgentProcess,
      AgentProcess,
      AgentProcess,
    ];
    const steal = async (agent: AgentProcess, name: string, more: Partial<Wanted> = {}) => {
      const subscribed = agent.subscribe({port: HTTP, ...more}, await program(name));
      await subscribed.first;
      return subscribed;
    };
    const owner = await steal(one, 'owner');
    const refused = await steal(two, 'refused', {filter: from('x')});
    const waiting = await steal(three, 'waiting', {onConcurrentSteal: 'continue'});
    const owned = await ask(HTTP);
    owner.end();
    await until(async () => (await ask(HTTP)) === 'waiting');
    const winner = await steal(four, 'winner', {onConcurrentSteal: 'override'});
    const won = await ask(HTTP);
    const mirror = await steal(five, 'mirror', {mode: 'mirror'});
    const told = [owner, refused, waiting, winner, mirror].map((subscribed) => subscribed.told);
    // The leader's end changes nobody's place: who owns the port is not refused it.
    await one.end();
    const after = await ask(HTTP);
    await Promise.all(agents.slice(1).map((agent) => agent.end()));
    return {owned, won, told, after, left: tables()};
  },

  async http2() {
    const [a, b] = await Promise.all([new AgentProcess().ready(), new AgentProcess().ready()]);
    for (const [agent, name] of [
      [a, 'a'],
      [b, 'b'],
    ] as const) {
      const filter = from(name);
      await agent.subscribe({port: HTTP2, filter}, await serveHttp2(name)).first;
    }
    const requests = ['a', 'b', 'd', 'b', 'a'].map(who);
    const first = await askHttp2(HTTP2, requests);
    await a.end();
    const second = await askHttp2(HTTP2, requests);
    await b.end();
    return {first, second};
  },

  /** Connections as they are, through one agent to the client of another. */
  async bytes() {
    const [a, b, c] = await Promise.all([1, 2, 3].map(() => new AgentProcess().ready()));
    await a?.subscribe({port: HTTP, filter: from('a')}, await program('a')).first;
    await b?.subscribe({port: TCP}, await serveEcho('b')).first;
    const sent = randomBytes(6 << 20);
    const echoed = await talk(TCP, sent);
    const isSame = Buffer.concat([Buffer.from('b\n'), sent, Buffer.from('bye\n')]).equals(
      Buffer.from(echoed),
    );
    // A copy is cut off at a megabyte that nobody has read.
    const copy = await keepBytes();
    await c?.subscribe({port: TCP, mode: 'mirror'}, copy.port).first;
    const little = sent.subarray(0, 1 << 19);
    await talk(TCP, little);
    await until(() => copy.bytes() >= little.length);
    const isCopied = copy.isSame(little);
    const reset = await talk(TCP, Buffer.from('reset'));
    await Promise.all([a, b, c].map((agent) => agent?.end()));
    return {isSame, isCopied, reset};
  },

  /** The name is held by a process of the pod that says nothing: agents meet elsewhere. */
  async silence() {
    const squatter = createServer().listen(MEETING_POINT);
    await once(squatter, 'listening');
    const a = await stealing('a');
    const b = await stealing('b');
    const seen = {told: [a.told, b.told], answers: await answers('a', 'b')};
    await Promise.all([a.agent.end(), b.agent.end()]);
    return {...seen, left: tables()};
  },

  /** The same, but it hangs up on everybody. */
  async hangup() {
    const squatter = createServer((socket) => socket.destroy()).listen(MEETING_POINT);
    await once(squatter, 'listening');
    const a = await stealing('a');
    const seen = {told: a.told, answers: await answers('a')};
    await a.agent.end();
    return {...seen, left: tables()};
  },

  /** Processes of the pod that connect to the one who leads, and say what they like. */
  async hostile() {
    const a = await stealing('a');
    const visitors = [
      '',
      'GET / HTTP/1.1\r\n\r\n',
      'x'.repeat(100_000),
      UPGRADE,
      UPGRADE + GARBAGE,
    ];
    const ends = await Promise.all(
      visitors.map(async (said) => {
        const socket = connect({path: MEETING_POINT}).on('error', () => undefined);
        socket.write(said);
        const heard = await socket.toArray().catch(() => []);
        return Buffer.concat(heard).toString('latin1').split('\r\n')[0];
      }),
    );
    const running = await new AgentProcess().ready();
    // More than are served at a time: whoever comes then goes on alone.
    const crowd = Array.from({length: 100}, () =>
      connect({path: MEETING_POINT}).on('error', () => undefined),
    );
    await once(crowd.at(-1) as Socket, 'close');
    const late = await stealing('late', from('late'), running);
    for (const socket of crowd) socket.destroy();
    const b = await stealing('b');
    const seen = {ends, late: late.told, told: b.told, answers: await answers('a', 'b', 'd')};
    await Promise.all([a, b, late].map(({agent}) => agent.end()));
    return {...seen, left: tables()};
  },

  /** A process of the pod with a user of its own connects to the one who leads; then it holds the name. */
  async strangers() {
    const a = await stealing('a');
    const heard = asStranger('s.connect(name); s.settimeout(20); print(len(s.recv(1)))');
    await a.agent.end();
    const squatter = strangerThatListens();
    await once(squatter.stdout, 'data');
    const b = await stealing('b');
    const seen = {heard, told: b.told, isRefused: b.agent.log.includes('EACCES')};
    squatter.kill('SIGKILL');
    await b.agent.end();
    return seen;
  },

  /** One that may not redirect does not lead those who may. */
  async powerless() {
    const setpriv = ['setpriv', '--bounding-set=-net_admin', '--inh-caps=-net_admin'];
    const powerless = await new AgentProcess(setpriv).ready();
    const told = [await powerless.subscribe({port: HTTP}, await program('powerless')).first];
    const a = await stealing('a');
    const seen = {told: [...told, ...a.told], answers: await answers('a', 'd')};
    await Promise.all([powerless.end(), a.agent.end()]);
    return seen;
  },

  /** The only agent is killed, and then the tool that has its rules. */
  async alone() {
    const loaded = load(HTTP, who('d'));
    const a = await stealing('a');
    const keepers = (): string => sh(`pgrep -P ${a.agent.child.pid} -f 'nft -e -i' || true`).trim();
    const first = keepers();
    process.kill(Number(first), 'SIGKILL');
    await until(() => keepers() !== first && tables() === 1);
    await until(async () => (await ask(HTTP, who('a'))) === 'a');
    const startedAt = performance.now();
    await a.agent.kill();
    await until(async () => (await ask(HTTP, who('a'))) === 'application');
    const applicationMs = Math.round(performance.now() - startedAt);
    await until(() => tables() === 0);
    await loaded.stop();
    return {applicationMs};
  },

  /** The pod's interface goes, as a runtime removes it with the pod, while something still passes through an agent. */
  async podGone() {
    sh(
      'ip link add pod0 type veth peer name node0; ip addr add 192.0.2.1/24 dev pod0; ip link set pod0 up; ip link set node0 up',
    );
    const agent = await new AgentProcess().ready();
    await agent.subscribe({port: TCP, filter: from('a')}, await program('a')).first;
    const raw = await echoing(TCP, '', /^application\n/);
    agent.leave();
    await until(() => agent.log.includes('lingering'));
    const isSame = await raw.again('one');
    sh('ip link del pod0');
    await agent.exited;
    return {isSame, said: await raw.end(), left: tables()};
  },

  /** One agent after the other ends while a connection passes through it. */
  async manyLinger() {
    // Those redirect for a mirror, and pass on without a look at what it is.
    const setpriv = ['setpriv', '--bounding-set=-net_raw', '--inh-caps=-net_raw'];
    const agents = await Promise.all(
      Array.from({length: MOST_LINGERING + 2}, () => new AgentProcess(setpriv).ready()),
    );
    const passing: Awaited<ReturnType<typeof echoing>>[] = [];
    for (const [at, agent] of agents.entries()) {
      await agent.subscribe({port: TCP, mode: 'mirror'}, await program('a')).first;
      passing.push(await echoing(TCP, '', /^application\n/));
      agent.leave();
      await until(() => agent.log.includes('lingering'));
      if (at >= MOST_LINGERING) await agents[at - MOST_LINGERING]?.exited;
    }
    const ends = await Promise.all(passing.slice(0, -MOST_LINGERING).map((one) => one.end()));
    for (const one of passing.slice(-MOST_LINGERING)) {
      ends.push(`${await one.again('still there')} ${await one.end()}`);
    }
    await Promise.all(agents.map(({exited}) => exited));
    const reasons = agents.map(({log}) => /"lingered","reason":"([^"]*)"/.exec(log)?.[1]);
    return {ends, reasons, left: tables()};
  },

  /** The places of those that stay are held by a process of the pod that says nothing. */
  async noPlace() {
    for (let place = 0; place < MOST_LINGERING; place++) {
      await once(createServer().listen(lingeringPlace(place)), 'listening');
    }
    const agent = await new AgentProcess().ready();
    await agent.subscribe({port: TCP, filter: from('a')}, await program('a')).first;
    const passing = await echoing(TCP, '', /^application\n/);
    agent.leave();
    await until(() => agent.log.includes('without a place'));
    const isSame = await passing.again('still there');
    const said = await passing.end();
    await agent.exited;
    return {isSame, said, left: tables()};
  },

  killed: () => survives(false),
  killedBesideStolen: () => survives(true),
  killedDivided: survivesDivided,
  killedThinking: survivesThinking,
  standbyKilled,
  lingers: () => lingers(({agent}) => agent.leave()),
  cutOff: () => lingers(({agent}) => agent.cut()),
  terminated: () => lingers(({agent}) => void agent.child.kill('SIGTERM')),

  /** A leader is stopped under load: its rules expire, its followers lead in its place, and when it goes on, it follows. */
  async stopped() {
    const a = await stealing('a');
    await a.agent.subscribe({port: TCP, filter: from('a')}, await program('a')).first;
    const b = await stealing('b');
    const c = await stealing('c');
    const raw = await echoing(TCP, '', /^application\n/);
    const loads = ['b', 'c', 'd'].map((name) => load(HTTP, who(name)));
    await until(() => loads.every(({answers}) => total(answers) > 100));
    const startedAt = performance.now();
    a.agent.child.kill('SIGSTOP');
    const untilAnsweredBy = async (name: string, by = name): Promise<number> => {
      await until(async () => (await askSoon(HTTP, who(name))) === by);
      return Math.round(performance.now() - startedAt);
    };
    const times = await Promise.all([
      untilAnsweredBy('d', 'application'),
      untilAnsweredBy('b'),
      untilAnsweredBy('c'),
    ]);
    // Who comes now finds those who lead, and not the one who is stopped.
    const e = await stealing('e');
    a.agent.child.kill('SIGCONT');
    await until(() => a.agent.log.includes('"deposed"'));
    await untilAnsweredBy('a');
    const isSame = await raw.again('still there');
    const answered = await Promise.all(loads.map((one) => one.stop()));
    const after = await answers('a', 'b', 'c', 'd', 'e');
    const said = await raw.end();
    await until(() => tables() === 1);
    const agents = [a, b, c, e];
    const told = agents.map((one) => one.told);
    const follows = a.agent.log.includes('"following"');
    for (const {agent} of agents) await agent.end();
    return {times, answered, isSame, said, after, told, follows, left: tables()};
  },

  /** The one who leads is stopped while nobody follows: it goes on leading, also for who comes meanwhile. */
  async alonestopped() {
    const a = await stealing('a');
    await delay(500); // its test of its own rules is over
    a.agent.child.kill('SIGSTOP');
    await until(async () => (await askSoon(HTTP, who('a'))) === 'application');
    a.agent.child.kill('SIGCONT');
    await until(async () => (await askSoon(HTTP, who('a'))) === 'a');
    const isDeposed = a.agent.log.includes('"deposed"');
    a.agent.child.kill('SIGSTOP');
    // Nobody tells this one how long it has been so.
    const b = await stealing('b');
    const seen = await answers('a', 'b');
    a.agent.child.kill('SIGCONT');
    await until(async () => (await askSoon(HTTP, who('a'))) === 'a');
    const after = await answers('a', 'b', 'd');
    await b.agent.end();
    const last = await answers('a', 'b');
    await a.agent.end();
    return {isDeposed, seen, after, last, told: [a.told, b.told], left: tables()};
  },
};

const [, , name = ''] = process.argv;
process.stdout.write(JSON.stringify(await scenarios[name]?.()));
process.exit();
