/** An agent ends, or is killed, while connections pass through it. */

import {randomBytes} from 'node:crypto';
import {once} from 'node:events';
import {createServer} from 'node:net';
import {lingeringPlace, MOST_LINGERING} from '../../../../agent/intercept/peers/protocol.ts';
import type {HttpFilter} from '../../../../tunnel/http-filter.ts';
import {until} from '../../../helpers/until.ts';
import {AgentProcess} from './agent-process.ts';
import {askWithBodies} from './bodies.ts';
import {
  echoing,
  from,
  HTTP,
  HTTP2,
  LONG,
  load,
  program,
  sh,
  stealing,
  TCP,
  tables,
  total,
  UPGRADE,
  who,
} from './scenario.ts';
import {ask, askOverHttp2, askOverKept, serveHttp2, serveLong} from './servers.ts';

/** An agent ends through which connections of others pass, of each kind; another one comes while it lingers. */
async function lingers(end: (agent: AgentProcess) => void): Promise<unknown> {
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

  end(agent);
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

export const lingering: Record<string, () => Promise<unknown>> = {
  killed: () => survives(false),

  killedBesideStolen: () => survives(true),

  killedDivided: survivesDivided,

  killedThinking: survivesThinking,

  standbyKilled,

  lingers: () => lingers((agent) => agent.leave()),

  cutOff: () => lingers((agent) => agent.cut()),

  terminated: () => lingers((agent) => void agent.child.kill('SIGTERM')),

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
};
