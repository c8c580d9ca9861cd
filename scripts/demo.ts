/**
 * The demo: runs `scripts/look-around` outside and inside the pod `gateway`, and shows what each saw.
 */

import {execFileSync, spawnSync} from 'node:child_process';
import chalk from 'chalk';

const mirrord = 'bin/mirrord';
const target = 'demo/gateway';
const wide = 44;

/** What `look-around` printed, in its order. */
function lookAround(prefix: readonly string[]): Map<string, string> {
  const [program = '', ...args] = [...prefix, 'scripts/look-around'];
  const {stdout, status} = spawnSync(program, args, {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  });
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

function show(outside: Map<string, string>, inside: Map<string, string>): void {
  const row = (name: string, left: string, right: string): void =>
    console.log(`  ${name.padEnd(20)}${left.padEnd(wide)}${right}`);
  row('', chalk.bold('outside'.padEnd(wide)), chalk.bold(`inside ${target}`));
  for (const [name, value] of outside) {
    const [left, right] = [inBrief(value), inBrief(inside.get(name) ?? '')];
    const isSame = left === right;
    row(name, chalk.dim(left.padEnd(wide)), isSame ? chalk.dim(right) : chalk.green(right));
  }
}

execFileSync(mirrord, ['demo', 'up'], {stdio: ['ignore', 'ignore', 'inherit']});
console.log(`\nA small cluster runs on this machine now. The same program, run twice:\n`);
console.log(chalk.cyan(`  $ scripts/look-around`));
const outside = lookAround([]);
console.log(chalk.cyan(`  $ npx mirrord exec -t ${target} -- scripts/look-around\n`));
show(outside, lookAround([mirrord, 'exec', '-t', target, '--']));
console.log(`
Yours to try:
  npx mirrord exec -t ${target} -- curl -s http://orders/     ${chalk.dim('any command')}
  npx mirrord exec -t ${target} -- bash                       ${chalk.dim('a shell "in the pod"')}
  npx mirrord demo status                                      ${chalk.dim('pods, services, addresses')}
  npx mirrord demo down                                        ${chalk.dim('ends it; nothing stays')}`);
