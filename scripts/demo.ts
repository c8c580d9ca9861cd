/**
 * The demo: runs `scripts/look-around` outside and inside the embedded cluster's pod `gateway`.
 */

import {execFileSync} from 'node:child_process';
import {suggest, tell} from './lib/look-around.ts';

const target = 'demo/gateway';

execFileSync('bin/mirrord', ['demo', 'up'], {stdio: ['ignore', 'ignore', 'inherit']});
console.log(`\nA small cluster runs on this machine now. The same program, run twice:\n`);
tell({target});
const commands = suggest({
  [`npx mirrord exec -t ${target} -- curl -s http://orders/`]: 'any command',
  [`npx mirrord exec -t ${target} -- bash`]: 'a shell "in the pod"',
  'npx mirrord demo status': 'pods, services, addresses',
  'npx mirrord demo down': 'ends it; nothing stays',
});
console.log(`\nYours to try:\n${commands}`);
