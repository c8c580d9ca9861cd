/**
 * The demo: runs `scripts/look-around` outside and inside the embedded cluster's pod `gateway`.
 */

import {execFileSync} from 'node:child_process';
import chalk from 'chalk';
import {tell} from './lib/look-around.ts';

const target = 'demo/gateway';

execFileSync('bin/mirrord', ['demo', 'up'], {stdio: ['ignore', 'ignore', 'inherit']});
console.log(`\nA small cluster runs on this machine now. The same program, run twice:\n`);
tell({target});
console.log(`
Yours to try:
  npx mirrord exec -t ${target} -- curl -s http://orders/     ${chalk.dim('any command')}
  npx mirrord exec -t ${target} -- bash                       ${chalk.dim('a shell "in the pod"')}
  npx mirrord demo status                                      ${chalk.dim('pods, services, addresses')}
  npx mirrord demo down                                        ${chalk.dim('ends it; nothing stays')}`);
