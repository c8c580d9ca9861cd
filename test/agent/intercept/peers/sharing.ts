/** Agents share a pod's ports: each has what its client wants, by the rules of one. */

import {randomBytes} from 'node:crypto';
import {until} from '../../../helpers/until.ts';
import {AgentProcess, type Wanted} from './agent-process.ts';
import {
  answers,
  from,
  HTTP,
  HTTP2,
  moveBehind,
  NOTHING,
  program,
  stealing,
  TCP,
  tables,
  who,
} from './scenario.ts';
import {ask, askHttp2, keepBytes, serveEcho, serveHttp2, talk} from './servers.ts';

export const sharing: Record<string, () => Promise<unknown>> = {
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
};
