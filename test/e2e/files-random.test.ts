import {randomInt} from 'node:crypto';
import {existsSync} from 'node:fs';
import test from 'ava';
import {useDemo} from '../helpers/e2e.ts';

const world = useDemo(test);

/** Both are a tmpfs then, as the pod's root is. */
const here = existsSync('/dev/shm') ? '/dev/shm' : '/tmp';
const operations = 2000;

// After a failure: MIRRORD_TEST_SEED runs the same operations again.
const given = process.env['MIRRORD_TEST_SEED'];
const seeds = given === undefined ? [1, 2, randomInt(1e9)] : [Number(given)];

for (const seed of seeds) {
  test.serial(`whatever is done to files of the pod's, it is as on a disk (${seed})`, async (t) => {
    const name = `mirrord-random-${process.pid}-${seed}`;
    const [there, local] = [`/app/${name}`, `${here}/${name}`];
    const script = [
      `mkdir ${there} ${local}`,
      `python3 ${world.program('fsdiff.py')} ${there} ${local} ${seed} ${operations}`,
      'status=$?',
      `chmod -R 700 ${there} ${local}; rm -rf ${there} ${local}`,
      'exit $status',
    ].join('\n');
    const {status, stdout, stderr} = await world.startExec(['sh', '-c', script], {
      flags: ['--fs-mode', 'write'],
      input: '',
    }).ended;
    t.is(status, 0, stdout + stderr);
    t.log(stdout.trim());
    t.regex(stdout, /no difference/);
  });
}
