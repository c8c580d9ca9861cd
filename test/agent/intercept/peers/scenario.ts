/** What scenarios of agents that share a pod have in common: the pod's ports, agents that steal from them, and who asks. */

import {execFileSync} from 'node:child_process';
import {connect} from 'node:net';
import type {HttpFilter} from '../../../../tunnel/http-filter.ts';
import {until} from '../../../helpers/until.ts';
import {AgentProcess} from './agent-process.ts';
import {ask, serveHttp} from './servers.ts';

export const HTTP = 8_080;
export const HTTP2 = 8_081;
export const TCP = 8_082;
export const LONG = 8_083;

/** Requests with `x-who: NAME`. */
export function from(name: string): HttpFilter {
  const pattern = {source: `^x-who: ${name}$`, flags: 'i'};
  return {join: 'all', conditions: [{kind: 'header', pattern}]};
}

export const sh = (script: string): string =>
  execFileSync('sh', ['-ec', script], {encoding: 'utf8'});
/** Agents' tables of rules. */
export const tables = (): number => sh('nft list tables').split('mirrord-').length - 1;

/** Asks again and again, by four at a time; counts who answered. */
export function load(port: number, headers: Record<string, string>) {
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

export const total = (answers: Record<string, number>): number =>
  Object.values(answers).reduce((sum, count) => sum + count, 0);

export const UPGRADE =
  'GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n' +
  'sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n';

const programs = new Map<string, number>();
/** The port of a program that answers by its name. */
export async function program(name: string): Promise<number> {
  const port = programs.get(name) ?? (await serveHttp(name));
  programs.set(name, port);
  return port;
}

/** A new agent that steals requests with `x-who: NAME`, and has heard that it does. */
export async function stealing(name: string, filter = from(name), running?: AgentProcess) {
  const agent = running ?? (await new AgentProcess().ready());
  const subscribed = agent.subscribe({port: HTTP, filter}, await program(name));
  await subscribed.first;
  return {agent, ...subscribed};
}

/** Kills the leader, and has `first` lead before `behind` hears of it. */
export async function moveBehind(
  leader: AgentProcess,
  behind: AgentProcess,
  first: AgentProcess,
): Promise<void> {
  behind.child.kill('SIGSTOP');
  await leader.kill();
  await until(() => first.log.includes('"subscribed"'));
  behind.child.kill('SIGCONT');
}

export const NOTHING = Buffer.alloc(0);
export const who = (name: string): Record<string, string> => ({'x-who': name});
export async function answers(...names: string[]): Promise<string[]> {
  return await Promise.all(names.map((name) => ask(HTTP, who(name))));
}

/** A connection that is open, and has said `text`; `again` has it echo. */
export async function echoing(port: number, hello: string, text: RegExp) {
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
