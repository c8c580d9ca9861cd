/**
 * A link with a delay (../link) and an agent at its far end, listening as in a cluster. mirrord's connection to it
 * takes the place of the port-forward.
 */

import {execFileSync} from 'node:child_process';
import {createHash, randomBytes} from 'node:crypto';
import {join} from 'node:path';
import {fileURLToPath} from 'node:url';
import {BenchError} from './error.ts';
import type {LoadProcess} from './load.ts';
import {type Processes, until} from './processes.ts';

const linkSource = fileURLToPath(new URL('../link/link.c', import.meta.url));
const agentMain = fileURLToPath(new URL('../../../agent/main.ts', import.meta.url));
const session = fileURLToPath(new URL('delayed-session.ts', import.meta.url));

/** The far end's own address. */
export const farHost = '198.18.1.2';
const agentPort = '7777';
/** As bin/mirrord and the agent's image start it. */
const node = [
  process.execPath,
  ...['--disable-warning=ExperimentalWarning', '--max-semi-space-size=1', '--expose-gc'],
];

/** Compiles a program of one file, statically. Returns its path. */
export function compile(source: string, output: string): string {
  const flags = ['-std=c17', '-Wall', '-Wextra', '-Werror', '-O2', '-static'];
  execFileSync(process.env['CC'] ?? 'cc', [...flags, source, '-o', output], {
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  return output;
}

/** Compiles the link. Returns its path. */
export function compileLink(directory: string): string {
  return compile(linkSource, join(directory, 'link'));
}

/** Two networks with a link between them. */
export interface Ends {
  /** What to put before a command line to run it at one of the ends. */
  readonly here: readonly string[];
  readonly there: readonly string[];
  /** What makes of a session's arguments a command line, its agent at the far end. */
  session(token: string, argv: readonly string[]): string[];
  /** Starts the agent of a process at the far end. Resolves when it listens. */
  startAgent(targetPid: number): Promise<{agent: LoadProcess; token: string}>;
}

/** Opens a link whose round trip takes this long. */
export async function openEnds(
  processes: Processes,
  link: string,
  roundTripMs: number,
): Promise<Ends> {
  const at = (pid: number): string[] => {
    return ['nsenter', '-t', String(pid), '-U', '-n', '--preserve-credentials', '--'];
  };
  const userNamespace = ['unshare', '--user', '--map-root-user', '--'];
  const ends = processes.start('link', [...userNamespace, link, 'make', String(roundTripMs / 2)]);
  const {here, there} = await ends.said<{here: number; there: number}>();
  return {
    here: at(here),
    there: at(there),
    session: (token, argv) => [
      ...[link, 'through', String(here), farHost, agentPort],
      ...[...node, session, token, ...argv],
    ],
    async startAgent(targetPid) {
      const token = randomBytes(32);
      const hash = createHash('sha256').update(token).digest('hex');
      // The second stage of an agent in a cluster, at home in the server's network (agent/cluster/go-to-target.ts).
      const flags = ['--target-pid', String(targetPid), '--home', '--token-sha256', hash];
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
        if (agent.child.exitCode !== null)
          throw new BenchError(`the agent does not start: ${said}`);
        return said.includes('agent ready');
      });
      return {agent, token: token.toString('hex')};
    },
  };
}
