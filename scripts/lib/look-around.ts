/**
 * The demos' story: `scripts/look-around` outside and inside a pod, and what each saw, side by side.
 */

import {spawnSync} from 'node:child_process';
import chalk from 'chalk';

/** Columns of an answer. */
const wide = 44;

/** How to run it where. */
export interface Story {
  /** As the person would write it. */
  target: string;
  /** What goes before any program, as to change the user. */
  prefix?: readonly string[];
  env?: NodeJS.ProcessEnv;
  /** Options of `mirrord exec`. */
  flags?: readonly string[];
}

/** What `look-around` printed, in its order. Ends this process if it fails. */
function lookAround(argv: readonly string[], env: NodeJS.ProcessEnv): Map<string, string> {
  const [program = '', ...args] = [...argv, 'scripts/look-around'];
  const {stdout, status, error} = spawnSync(program, args, {
    encoding: 'utf8',
    env,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  if (error !== undefined) throw error;
  if (status !== 0) process.exit(status ?? 1);
  const lines = stdout.split('\n').filter((line) => line.includes('='));
  return new Map(
    lines.map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]),
  );
}

/** An answer in a few words: JSON of the demo's servers, or curl's complaint. */
function inBrief(value: string): string {
  if (value === '') return '—';
  try {
    const {pod, client} = JSON.parse(value) as {pod: string; client: string};
    return `${pod} answers ${client}`;
  } catch {
    return value.replace(/^curl: \(\d+\) /, '').slice(0, wide - 2);
  }
}

function show(outside: Map<string, string>, inside: Map<string, string>, target: string): void {
  const row = (name: string, left: string, right: string): void =>
    console.log(`  ${name.padEnd(20)}${left.padEnd(wide)}${right}`);
  row('', chalk.bold('outside'.padEnd(wide)), chalk.bold(`inside ${target}`));
  for (const [name, value] of outside) {
    const [left, right] = [inBrief(value), inBrief(inside.get(name) ?? '')];
    const isSame = left === right;
    row(name, chalk.dim(left.padEnd(wide)), isSame ? chalk.dim(right) : chalk.green(right));
  }
}

/** Commands to try, and what each is about, a line each. */
export function suggest(commands: Readonly<Record<string, string>>): string {
  const longest = Math.max(...Object.keys(commands).map(({length}) => length));
  return Object.entries(commands)
    .map(([command, what]) => `  ${command.padEnd(longest + 5)}${chalk.dim(what)}`)
    .join('\n');
}

/** Tells the story, with the command lines. */
export function tell({target, prefix = [], env = process.env, flags = []}: Story): void {
  const exec = ['exec', '-t', target, ...flags, '--'];
  console.log(chalk.cyan('  $ scripts/look-around'));
  const outside = lookAround(prefix, env);
  console.log(chalk.cyan(`  $ npx mirrord ${exec.join(' ')} scripts/look-around\n`));
  show(outside, lookAround([...prefix, 'bin/mirrord', ...exec], env), target);
}
