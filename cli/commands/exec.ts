/**
 * `mirrord exec`: runs a program in the context of a target and ends as it does.
 */

import os from 'node:os';
import {dirname, join} from 'node:path';
import {fileURLToPath} from 'node:url';
import {chalkStderr} from 'chalk';
import {Command} from 'commander';
import {linkAgent} from '../../layer/agent-link.ts';
import {createLog} from '../../layer/log.ts';
import type {ProgramEnd} from '../../layer/sandbox/program.ts';
import {runInContext, runWithEnvironment} from '../../layer/session.ts';
import {explainAgentEnd, startLocalAgent} from '../local-agent.ts';
import {createProgress} from '../progress.ts';
import {parseTarget, resolveTarget} from '../targets.ts';

interface ExecFlags {
  target: string;
  tun?: boolean;
}

/**
 * The environment that mirrord was called with: without the directory that npx puts in front of PATH,
 * where our own dependencies would hide the person's tools (node, nft).
 */
function callersEnvironment(): NodeJS.ProcessEnv {
  const {MIRRORD_SIGNALS_IGNORED: _, ...env} = process.env;
  const own = join(dirname(fileURLToPath(import.meta.url)), '../../node_modules/.bin');
  const path = (process.env['PATH'] ?? '').split(':').filter((entry) => entry !== own);
  return {...env, PATH: path.join(':')};
}

/** A shell's way to say how a program ended: its status, or 128 and the signal's number. */
function exitStatus(end: ProgramEnd): number {
  return 'code' in end ? end.code : 128 + (os.constants.signals[end.signal] ?? 0);
}

async function exec(argv: string[], flags: ExecFlags): Promise<void> {
  const target = parseTarget(flags.target);
  const log = createLog(process.env['MIRRORD_LOG']);
  const progress = createProgress();
  const pid = await progress.step(`finding ${flags.target}`, () => resolveTarget(target));
  using agent = startLocalAgent(pid);
  const ended = agent.ended.then((reason) => explainAgentEnd(reason, pid));
  using link = await progress.step('connecting to the agent', () =>
    linkAgent(agent.connection, agent.token, ended),
  );
  const warn = (message: string): void => {
    process.stderr.write(`${chalkStderr.yellow('mirrord:')} ${message}\n`);
  };
  const run = flags.tun === false ? runWithEnvironment : runInContext;
  const signalsIgnored = process.env['MIRRORD_SIGNALS_IGNORED'];
  const end = await run(link, {
    argv,
    env: callersEnvironment(),
    ...(signalsIgnored !== undefined && {signalsIgnored}),
    log,
    warn,
  });
  process.exitCode = exitStatus(end);
}

/** The command, for `main.ts`. */
export function execCommand(): Command {
  return new Command('exec')
    .description('run a program in the context of a pod: its network, DNS, environment and name')
    .usage('[options] [--] <program> [arguments...]')
    .argument('<program...>', 'the program and its arguments')
    .requiredOption('-t, --target <target>', 'whose context: demo/<pod> or process/<pid>')
    .option('--tun', 'a network of its own for the program (the default)')
    .option('--no-tun', 'the environment of the target only; the network stays local')
    .passThroughOptions()
    .helpOption('-h, --help', 'show this help')
    .addHelpText(
      'after',
      `
The program runs on this machine, as you, with your files; its network is the pod's: addresses, host
name, DNS, and localhost where nothing local listens. Its exit status is mirrord's (128 + n when signal n
ended it). Nothing needs root and nothing is left behind.

Examples:
  $ mirrord exec -t demo/gateway -- curl -s http://orders/
  $ mirrord exec -t demo/gateway -- bash
  $ mirrord exec -t process/4711 -- ./server --port 80`,
    )
    .action(exec);
}
