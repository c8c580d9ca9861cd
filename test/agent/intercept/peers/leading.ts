/** The agent that leads ends, is killed, or stopped. */

import {setTimeout as delay} from 'node:timers/promises';
import {until} from '../../../helpers/until.ts';
import {
  answers,
  echoing,
  from,
  HTTP,
  load,
  program,
  sh,
  stealing,
  TCP,
  tables,
  total,
  who,
} from './scenario.ts';
import {ask} from './servers.ts';

/** As `ask`, for who does not wait for one that is stopped. */
const askSoon = (port: number, headers: Record<string, string>): Promise<string> =>
  Promise.race([ask(port, headers), delay(500, 'nobody')]);

export const leading: Record<string, () => Promise<unknown>> = {
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
