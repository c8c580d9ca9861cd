/**
 * `mirrord diagnose`: what mirrord needs of this machine, tried one by one; and how far away a target is.
 */

import os from 'node:os';
import chalk from 'chalk';
import {Command, Option} from 'commander';
import {linkAgent} from '../../layer/agent-link.ts';
import {type CheckResult, runCheck} from '../../layer/diagnose/check.ts';
import {checks} from '../../layer/diagnose/checks.ts';
import {type Latency, measureLatency} from '../../layer/diagnose/latency.ts';
import {MirrordError} from '../../layer/errors.ts';
import {openAgent} from '../agents.ts';
import {addAgentFlags, flagOverrides} from '../config/flags.ts';
import {prepareConfig} from '../config/prepare.ts';
import {formatTarget, type Target} from '../config/target.ts';
import {inherited} from '../inherited.ts';
import {watchForInterruption} from '../interruption.ts';
import {createProgress} from '../progress.ts';

/** As many as mirrord does. */
const rounds = 100;

const demoTarget: Target = {kind: 'demo', name: 'gateway'};

interface DiagnoseFlags {
  json?: boolean;
}

interface LatencyFlags extends DiagnoseFlags {
  configFile?: string | true;
}

function formatResult(
  {name, ok, required, found, costs, remedy}: CheckResult,
  width: number,
): string {
  const mark = ok ? chalk.green('✔') : (required ? chalk.red : chalk.yellow)('✘');
  const head = `${mark} ${name.padEnd(width)}  ${found}`;
  if (ok) return `${head}\n`;
  const indent = ' '.repeat(width + 4);
  return `${head}\n${indent}costs ${costs}\n${indent}${chalk.dim('→')} ${remedy}\n`;
}

function verdict(results: readonly CheckResult[]): string {
  const missing = results.filter(({ok}) => !ok);
  if (missing.length === 0) return 'This machine has all that mirrord uses.\n';
  return missing.some(({required}) => required)
    ? 'mirrord can not run programs here.\n'
    : 'mirrord can run programs here, with limits.\n';
}

function diagnose({json}: DiagnoseFlags): void {
  const results = checks.map(runCheck);
  const ok = results.every((result) => result.ok || !result.required);
  const machine = {kernel: `${os.type()} ${os.release()}`, arch: os.machine()};
  if (json === true) {
    process.stdout.write(`${JSON.stringify({ok, ...machine, checks: results}, null, 2)}\n`);
  } else {
    const width = Math.max(...results.map(({name}) => name.length));
    const lines = results.map((result) => formatResult(result, width));
    process.stdout.write(`${machine.kernel} ${machine.arch}\n${lines.join('')}${verdict(results)}`);
  }
  if (!ok) process.exitCode = 1;
}

function formatLatency(target: string, latency: Latency): string {
  const ms = (value: number): string => `${value.toFixed(3)} ms`;
  const {minMs, avgMs, maxMs, p50Ms, p90Ms, p99Ms} = latency;
  return `${latency.rounds} round trips to the agent of ${target}
min ${ms(minMs)}, avg ${ms(avgMs)}, max ${ms(maxMs)}
p50 ${ms(p50Ms)}, p90 ${ms(p90Ms)}, p99 ${ms(p99Ms)}
`;
}

async function diagnoseLatency(flags: LatencyFlags, command: Command): Promise<void> {
  const prepared = prepareConfig({
    file: flags.configFile,
    env: process.env,
    flags: flagOverrides(command),
  });
  const {config} = prepared;
  const target = config.target.path === undefined ? demoTarget : prepared.target;
  const name = formatTarget(target);
  using progress = createProgress('mirrord diagnose latency');
  const {signal, orGiveUp} = watchForInterruption(inherited.signalsIgnored);
  await using agent = await openAgent(target, config, {progress, signal});
  using link = await progress.step('connecting to the agent', () =>
    orGiveUp(linkAgent(agent.connection, agent.token, agent.ended)),
  );
  const lost = link.closed.then((reason) =>
    Promise.reject(new MirrordError('MIRRORD_AGENT_GONE', `the agent is gone (${reason})`)),
  );
  lost.catch(() => undefined); // it closes at the end, too
  const latency = await progress.step('measuring', () =>
    Promise.race([measureLatency(link.mux, rounds), lost]),
  );
  progress.finish();
  process.stdout.write(
    flags.json === true
      ? `${JSON.stringify({target: name, ...latency}, null, 2)}\n`
      : formatLatency(name, latency),
  );
}

function latencyCommand(): Command {
  const command = new Command('latency')
    .description(`measure ${rounds} round trips to the agent of a target (demo/gateway by default)`)
    .addOption(new Option('--json', 'print JSON'))
    .helpOption('-h, --help', 'show this help')
    .addHelpText('after', '\nExamples:\n  $ mirrord diagnose latency -t deployment/orders -n shop')
    .action(diagnoseLatency);
  return addAgentFlags(command);
}

/** The command, for `main.ts`. */
export function diagnoseCommand(): Command {
  return new Command('diagnose')
    .description('try all that mirrord needs of this machine, and say how to get what is missing')
    .enablePositionalOptions()
    .addOption(new Option('--json', 'print JSON'))
    .helpOption('-h, --help', 'show this help')
    .addHelpText(
      'after',
      `
Each thing is really tried, in namespaces that are thrown away; nothing is changed. The exit status is 1
when something is missing without which no program can be run.

Examples:
  $ mirrord diagnose
  $ mirrord diagnose --json | jq '.checks[] | select(.ok | not)'
  $ mirrord diagnose latency -t demo/gateway`,
    )
    .addCommand(latencyCommand())
    .action(diagnose);
}
