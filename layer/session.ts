/**
 * One run of a program in the context of a pod: sandbox, netstack and tunnel put together, and taken
 * apart in every case.
 *
 * Order matters at both ends. The program starts last, when packets are already served; it ends first,
 * then the sandbox, then the tunnel. Should mirrord die instead, the kernel closes its descriptors, and
 * the launcher and the agent end by that.
 */

import {Stack} from '../netstack/stack.ts';
import {subscribeListening} from '../tunnel/target.ts';
import {addressBytes} from './address.ts';
import {type AgentLink, secureRandom} from './agent-link.ts';
import {mergeEnvironment} from './env/environment.ts';
import {MirrordError} from './errors.ts';
import {openLocalhost} from './localhost.ts';
import type {Log} from './log.ts';
import {relaySignals} from './native/native.ts';
import {createOutgoing} from './outgoing.ts';
import {Launcher} from './sandbox/launcher.ts';
import {type ProgramEnd, type RunningProgram, startProgram} from './sandbox/program.ts';
import {createSandbox, type Sandbox} from './sandbox/sandbox.ts';
import {podAddresses, podFiles, podMtu} from './target-view.ts';
import {driveTun} from './tun.ts';

/** How long a program gets to end after its agent is gone, before it is killed. */
const orphanGraceMs = 3_000;

export interface SessionOptions {
  argv: readonly string[];
  /** The local environment, to be overlaid with the pod's. */
  env: NodeJS.ProcessEnv;
  log: Log;
  /** Something that a person should know although the program runs. */
  warn: (message: string) => void;
  /** Called when the program has been started. */
  onStarted?: () => void;
}

function serveSandbox(sandbox: Sandbox, link: AgentLink, options: SessionOptions): Disposable {
  const {mux, target} = link;
  const open = mux.open.bind(mux);
  const localhost = openLocalhost(sandbox.launcher, {open, warn: options.warn, log: options.log});
  const loopback = localhost?.udp === undefined ? [] : ['127.0.0.1', '::1'];
  const handler = createOutgoing({
    open,
    kick: () => driver.kick(),
    echoReply: (reply) => driver.stack.echoReply(reply),
  });
  const driver = driveTun({
    fd: sandbox.tunFd,
    ...(localhost?.udp !== undefined && {loopbackUdp: localhost.udp}),
    createStack: (gso) =>
      new Stack(
        {
          mtu: podMtu(target),
          addresses: [...podAddresses(target), ...loopback].map(addressBytes),
          random: secureRandom,
          gso,
        },
        handler,
      ),
  });
  if (localhost !== undefined) {
    subscribeListening(
      mux,
      (ports) => localhost.setPorts(ports),
      (errno) => options.log('localhost: no more reports', {errno}),
    );
  }
  return {
    [Symbol.dispose]() {
      options.log('session: counters', {
        tun: driver.counters,
        stack: driver.stack.counters,
        tunnel: mux.counters,
      });
      driver[Symbol.dispose]();
      localhost?.[Symbol.dispose]();
    },
  };
}

/** Waits for the program's end. When the agent is gone first, ends the program and throws MIRRORD_AGENT_GONE. */
async function awaitEnd(program: RunningProgram, link: AgentLink): Promise<ProgramEnd> {
  relaySignals(program.pid);
  try {
    const reason = await Promise.race([program.ended, link.closed]);
    if (typeof reason !== 'string') return reason;
    process.kill(program.pid, 'SIGTERM');
    const killer = setTimeout(() => process.kill(program.pid, 'SIGKILL'), orphanGraceMs);
    await program.ended;
    clearTimeout(killer);
    throw new MirrordError(
      'MIRRORD_AGENT_GONE',
      `the agent is gone (${reason}); the program was ended`,
      {
        hint: 'the target may have ended, or the agent was killed: check the target, then run again',
      },
    );
  } finally {
    relaySignals(0);
  }
}

/** What was typed, and where it is looked up: PATH is never the pod's. */
function commandOf({argv, env}: SessionOptions): {command: string; path: string} {
  return {command: argv[0] ?? '', path: env['PATH'] ?? ''};
}

/** Runs the program in the pod's network, with its name, files of names, and environment. */
export async function runInContext(link: AgentLink, options: SessionOptions): Promise<ProgramEnd> {
  const {target} = link;
  using sandbox = createSandbox({
    argv: options.argv,
    env: mergeEnvironment(options.env, target.environment),
    hostname: target.hostName,
    addresses: podAddresses(target),
    mtu: podMtu(target),
    portRange: target.localPortRange.join(' '),
    files: podFiles(target),
    log: options.log,
  });
  using _service = serveSandbox(sandbox, link, options);
  const program = startProgram(sandbox.launcher, commandOf(options), 'container');
  options.onStarted?.();
  return await awaitEnd(program, link);
}

/** Runs the program with the pod's environment only, in the local network (`--no-tun`). */
export async function runWithEnvironment(
  link: AgentLink,
  options: SessionOptions,
): Promise<ProgramEnd> {
  const env = mergeEnvironment(options.env, link.target.environment);
  link[Symbol.dispose]();
  using launcher = new Launcher({argv: options.argv, env});
  const program = startProgram(launcher, commandOf(options), 'keep');
  options.onStarted?.();
  relaySignals(program.pid);
  try {
    return await program.ended;
  } finally {
    relaySignals(0);
  }
}
