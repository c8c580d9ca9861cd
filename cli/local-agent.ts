/**
 * Starts the agent on this machine, in the namespaces of a process: the target of `process/<pid>`, or
 * the main process of a pod of the embedded cluster.
 *
 * The agent gets one end of a socket pair and serves its WebSocket on it, so that there is no port to
 * find and no file to clean up; it takes nothing any more when the other end closes, and when we end in any case. We go
 * when that is done; the agent goes when nothing passes through it. It is put into a session of its own, out of reach of the
 * terminal's Ctrl-C.
 */

import {type ChildProcess, spawn} from 'node:child_process';
import {randomBytes} from 'node:crypto';
import type {Duplex} from 'node:stream';
import {fileURLToPath} from 'node:url';
import {compileCacheDirectory} from '../layer/compile-cache.ts';
import {MirrordError} from '../layer/errors.ts';
import {launcherPath} from '../layer/native/native.ts';

export interface LocalAgent extends AsyncDisposable {
  /** Carries the WebSocket. */
  readonly connection: Duplex;
  /** The session token, hexadecimal. */
  readonly token: string;
  /** Why the agent ended, once it has: its own last words, or a status. Disposed of, it ends by itself. */
  readonly ended: Promise<string>;
}

/** How long the agent may take to clean up, ms. */
const farewellMs = 3_000;
/** More of the agent's complaints than this are not kept, characters. */
const complaintLimit = 4_096;

/** Of our environment the agent has these. */
const passedOn = ['PATH', 'MIRRORD_AGENT_LOG'];

const agentMain = fileURLToPath(new URL('../agent/main.ts', import.meta.url));

function spawnAgent(pid: number, token: string): ChildProcess {
  const enter = [
    'enter',
    String(pid),
    '--keep-network',
    '--die-with-parent',
    '--ping',
    '4',
    '5',
    '--',
  ];
  // The same flags as in the agent's image.
  const node = ['--disable-warning=ExperimentalWarning', '--max-semi-space-size=1', '--expose-gc'];
  const agent = [process.execPath, ...node, agentMain];
  const flags = [
    ...['--target-pid', String(pid), '--fd', '3', '--farewell-fd', '6'],
    ...['--echo4-fd', '4', '--echo6-fd', '5'],
  ];
  return spawn(launcherPath(), [...enter, ...agent, ...flags], {
    cwd: '/',
    detached: true,
    env: {
      MIRRORD_AGENT_TOKEN: token,
      ...Object.fromEntries(
        passedOn.flatMap((name) => {
          const value = process.env[name];
          return value === undefined ? [] : [[name, value]];
        }),
      ),
      ...(compileCacheDirectory && {NODE_COMPILE_CACHE: compileCacheDirectory}),
    },
    // 4 and 5 are the launcher's to make.
    stdio: ['ignore', 'ignore', 'pipe', 'pipe', 'ignore', 'ignore', 'pipe'],
  });
}

/** Starts the agent. A failure to enter the namespaces shows as its end, by `explainAgentEnd`. */
export function startLocalAgent(pid: number): LocalAgent {
  const token = randomBytes(32).toString('hex');
  const child = spawnAgent(pid, token);
  let complaint = '';
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    if (process.env['MIRRORD_AGENT_LOG'] !== undefined) process.stderr.write(text);
    complaint = (complaint + text).slice(-complaintLimit);
  });
  const ended = new Promise<string>((resolve) => {
    child.once('error', (error) => resolve(error.message));
    child.once('close', (code, signal) =>
      resolve(complaint.trim() || (signal === null ? `status ${code}` : `killed by ${signal}`)),
    );
  });
  const farewell = child.stdio.at(6) as Duplex;
  farewell.on('error', () => undefined).resume();
  const withdrawn = new Promise<void>((resolve) => farewell.once('close', () => resolve()));
  return {
    connection: child.stdio[3] as Duplex,
    token,
    ended,
    async [Symbol.asyncDispose]() {
      child.stdio[3]?.destroy();
      const timer = setTimeout(() => child.kill('SIGKILL'), farewellMs);
      await Promise.race([withdrawn, ended]);
      clearTimeout(timer);
      child.stderr?.destroy();
      child.unref();
    },
  };
}

/** The error for an agent that ended before it answered. Codes: MIRRORD_TARGET_DENIED, MIRRORD_AGENT_FAILED. */
export function explainAgentEnd(reason: string, pid: number): MirrordError {
  const denied = /^mirrord-launcher: enter .*(Operation not permitted|Permission denied)$/m.exec(
    reason,
  );
  if (denied) {
    return new MirrordError(
      'MIRRORD_TARGET_DENIED',
      `the namespaces of process ${pid} may not be entered by this user (${denied[0].replace(/^mirrord-launcher: /, '')})`,
      {hint: 'its containers must be your own (rootless), or run mirrord as root'},
    );
  }
  return new MirrordError(
    'MIRRORD_AGENT_FAILED',
    `the agent ended before it was ready: ${reason}`,
    {
      hint: 'run again with MIRRORD_AGENT_LOG=debug to see what it does',
    },
  );
}
