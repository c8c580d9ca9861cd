import test from 'ava';
import {type Check, runCheck} from '../../../layer/diagnose/check.ts';
import {SystemError} from '../../../layer/native/native.ts';

const ENOENT = 2;
const EINVAL = 22;

function check(run: () => string, more: Partial<Check> = {}): Check {
  return {name: 'thing', required: false, costs: 'speed', run, ...more};
}

test('a check that is passed tells what was found', (t) => {
  t.deepEqual(runCheck(check(() => '/dev/thing')), {
    name: 'thing',
    ok: true,
    required: false,
    found: '/dev/thing',
    costs: 'speed',
  });
});

test('a check that fails tells how, and its own remedy', (t) => {
  const run = (): string => {
    throw new SystemError('/usr/sbin/nft', EINVAL, 'no such module');
  };
  t.like(runCheck(check(run, {remedy: 'modprobe it'})), {
    ok: false,
    found: '/usr/sbin/nft: EINVAL: no such module',
    remedy: 'modprobe it',
  });
});

test('what exec would say is said in the same words, whatever the check was about', (t) => {
  const run = (): string => {
    throw new SystemError('open /dev/net/tun', ENOENT);
  };
  for (const remedy of [undefined, 'another']) {
    const result = runCheck(check(run, remedy === undefined ? {} : {remedy}));
    t.regex(result.found, /^there is no \/dev\/net\/tun/);
    t.regex(result.remedy ?? '', /modprobe tun/);
  }
});
