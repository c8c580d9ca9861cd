/** For scenarios in which an agent is killed under the load of others' programs (`peers.test.ts`). */

import {type ChildProcess, spawn} from 'node:child_process';
import {createInterface} from 'node:readline';
import type {HttpCondition} from '../../../../tunnel/http-filter.ts';
import {isListening} from '../../../helpers/ports.ts';
import {until} from '../../../helpers/until.ts';
import {AgentProcess} from './agent-process.ts';

/** An agent that steals from a port what fits, for a program that listens here. */
export async function stealing(
  port: number,
  condition: HttpCondition,
  program: number,
): Promise<AgentProcess> {
  const agent = await new AgentProcess().ready();
  const filter = {join: 'all', conditions: [condition]} as const;
  const told = await agent.subscribe({port, filter}, program).first;
  if (told !== 'active') throw new Error(told);
  return agent;
}

/** Starts a program; `line` is what it says next. It ends with this process's namespace. */
export function start(file: string, ...args: readonly string[]) {
  const child: ChildProcess = spawn(file, args, {stdio: ['pipe', 'pipe', 'inherit']});
  const {stdin, stdout} = child;
  if (stdin === null || stdout === null) throw new Error('no pipes');
  const lines = createInterface({input: stdout})[Symbol.asyncIterator]();
  return {
    say: (line: string) => void stdin.write(`${line}\n`),
    async line(): Promise<string> {
      const {value, done} = await lines.next();
      if (done === true) throw new Error(`${file} has ended`);
      return value;
    },
    /** All that it still says, when it has ended. */
    async rest(): Promise<string> {
      const said: string[] = [];
      for await (const line of {[Symbol.asyncIterator]: () => lines}) said.push(line);
      return said.join('\n');
    },
  };
}

/** Resolves when somebody listens at a port. */
export async function listens(port: number): Promise<void> {
  await until(() => isListening(port));
}
