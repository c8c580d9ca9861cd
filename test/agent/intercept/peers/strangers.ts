/** Somebody else is at the meeting point, or an agent that may not lead. */

import {execFileSync, spawn} from 'node:child_process';
import {once} from 'node:events';
import {connect, createServer, type Socket} from 'node:net';
import {MEETING_POINT} from '../../../../agent/intercept/peers/protocol.ts';
import {AgentProcess} from './agent-process.ts';
import {answers, from, HTTP, program, stealing, tables, UPGRADE} from './scenario.ts';

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

export const strangers: Record<string, () => Promise<unknown>> = {
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
};
