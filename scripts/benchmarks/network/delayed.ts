/**
 * mirrord's tunnel over a link with a delay, beside the kernel's own TCP over the same link (../link). The agent
 * listens at the far end, as in a cluster; the connection to it takes the place of the port-forward.
 */

import {execFileSync} from 'node:child_process';
import {createHash, randomBytes} from 'node:crypto';
import {join} from 'node:path';
import {fileURLToPath} from 'node:url';
import type {Contender, ContenderName, Contenders} from './contenders.ts';
import {BenchError} from './error.ts';
import type {LoadPorts} from './load.ts';
import type {Person} from './person.ts';
import {Processes, pidOf, until} from './processes.ts';

const linkSource = fileURLToPath(new URL('../link/link.c', import.meta.url));
const agentMain = fileURLToPath(new URL('../../../agent/main.ts', import.meta.url));
const session = fileURLToPath(new URL('delayed-session.ts', import.meta.url));

/** The far end: its own address, where the agent is, and one that is local there, where the server is. */
const agentHost = '198.18.1.2';
const serverHost = '198.18.0.1';
const agentPort = '7777';

/** Compiles the link. Returns its path. */
export function compileLink(directory: string): string {
  const output = join(directory, 'link');
  const flags = ['-std=c17', '-Wall', '-Wextra', '-Werror', '-O2', '-static'];
  execFileSync(process.env['CC'] ?? 'cc', [...flags, linkSource, '-o', output], {
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  return output;
}

/** Opens a link whose round trip takes this long, and both contenders on it. */
export async function openDelayed(
  person: Person,
  {load, link}: {load: string; link: string},
  roundTripMs: number,
): Promise<Contenders> {
  const processes = new Processes(person);
  const node = [process.execPath, '--disable-warning=ExperimentalWarning'];
  const at = (pid: number): string[] => {
    return ['nsenter', '-t', String(pid), '-U', '-n', '--preserve-credentials', '--'];
  };
  try {
    const userNamespace = ['unshare', '--user', '--map-root-user', '--'];
    const ends = processes.start('link', [...userNamespace, link, 'make', String(roundTripMs / 2)]);
    const {here, there} = await ends.said<{here: number; there: number}>();

    const server = processes.start('server', [...at(there), load, 'serve']);
    const ports = await server.said<LoadPorts>();
    const token = randomBytes(32);
    const hash = createHash('sha256').update(token).digest('hex');
    // The second stage of an agent in a cluster, at home in the server's network (agent/cluster/go-to-target.ts).
    const flags = ['--target-pid', String(pidOf(server)), '--home', '--token-sha256', hash];
    const agent = processes.start('agent', [
      ...at(there),
      ...['env', 'MIRRORD_AGENT_LOG=info', link, 'listen', agentPort],
      ...[...node, agentMain, '--listen4-fd', '3', ...flags],
    ]);
    let said = '';
    agent.child.stderr?.on('data', (text: string) => {
      said += text;
    });
    await until('the agent to be ready', () => {
      if (agent.child.exitCode !== null) throw new BenchError(`the agent does not start: ${said}`);
      return said.includes('agent ready');
    });

    const kernel = await processes.startClient('kernel TCP', [...at(here), load, 'client']);
    const through = [link, 'through', String(here), agentHost, agentPort];
    const mirrord = await processes.startClient('mirrord', [
      ...through,
      ...node,
      session,
      token.toString('hex'),
      load,
      'client',
    ]);
    const common = {host: serverHost, ports};
    const all = new Map<ContenderName, Contender>([
      ['kernel TCP', {...common, load: kernel, carriers: []}],
      ['mirrord', {...common, load: mirrord, carriers: [pidOf(mirrord), pidOf(agent)]}],
    ]);
    return {all, [Symbol.asyncDispose]: () => processes[Symbol.asyncDispose]()};
  } catch (error) {
    await processes[Symbol.asyncDispose]();
    throw error;
  }
}
