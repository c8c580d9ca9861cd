/** Run in a network namespace of its own (`gone.test.ts`): when the pod is held to be gone. Writes what happened, in order. */

import {execFileSync} from 'node:child_process';
import {setTimeout as delay} from 'node:timers/promises';
import {untilPodIsGone} from '../../../agent/target/network.ts';

const LOOK_MS = 5;
/** How long nothing may happen. */
const QUIET_MS = 20 * LOOK_MS;

const sh = (script: string): string => execFileSync('sh', ['-ec', script], {encoding: 'utf8'});
const isRunning = (): boolean => sh('ip link show eth0').includes('state UP');

sh(`ip link set lo up; ip link add eth0 type veth peer name other
  ip addr add 10.9.0.2/24 dev eth0; ip link set other up; ip link set eth0 up`);
while (!isRunning()) await delay(LOOK_MS);
const happened: string[] = [];
const over = untilPodIsGone(LOOK_MS, new AbortController().signal).then(() =>
  happened.push('gone'),
);
sh('ip link set other down');
while (isRunning()) await delay(LOOK_MS);
await delay(QUIET_MS);
happened.push('without a carrier');
sh('ip link set eth0 down; ip addr flush dev eth0');
await delay(QUIET_MS);
happened.push('down');
sh('ip link del eth0');
await over;
process.stdout.write(JSON.stringify(happened));
process.exit();
