import test from 'ava';
import {SystemError} from '../../../layer/native/native.ts';
import {explainSandboxFailure} from '../../../layer/sandbox/preconditions.ts';

const errno = {EPERM: 1, ENOENT: 2, EACCES: 13, ENODEV: 19, EINVAL: 22, ENOSPC: 28};

const explains = test.macro({
  exec(t, call: string, name: keyof typeof errno, expected: {code: string; hint: RegExp}) {
    const error = explainSandboxFailure('do it', new SystemError(call, errno[name]));
    t.is(error.code, expected.code);
    t.regex(error.hint ?? '', expected.hint);
    t.false(error.message.includes('\n'));
  },
  title: (_, call: string, name: string, {code}: {code: string}) =>
    `${call} failing with ${name} is ${code}, with a remedy`,
});

test(explains, 'unshare', 'EPERM', {
  code: 'MIRRORD_USERNS_DENIED',
  hint: /seccomp|sysctl|AppArmor/,
});
test(explains, 'unshare', 'ENOSPC', {code: 'MIRRORD_USERNS_DENIED', hint: /max_user_namespaces/});
test(explains, 'unshare', 'EINVAL', {code: 'MIRRORD_USERNS_DENIED', hint: /CONFIG_USER_NS/});
test(explains, '/proc/self/uid_map', 'EPERM', {
  code: 'MIRRORD_USERNS_DENIED',
  hint: /seccomp|AppArmor/,
});
test(explains, 'open /dev/net/tun', 'ENOENT', {
  code: 'MIRRORD_TUN_UNAVAILABLE',
  hint: /modprobe tun.*--device/,
});
test(explains, 'open /dev/net/tun', 'EACCES', {
  code: 'MIRRORD_TUN_UNAVAILABLE',
  hint: /chmod 0666/,
});
test(explains, 'open /dev/net/tun', 'ENODEV', {
  code: 'MIRRORD_TUN_UNAVAILABLE',
  hint: /modprobe tun/,
});
test(explains, 'mount tmpfs', 'EACCES', {code: 'MIRRORD_SANDBOX_FAILED', hint: /report/});

test('a failure that is no system call names the step', (t) => {
  const error = explainSandboxFailure('set the host name', new TypeError('x'));
  t.is(error.code, 'MIRRORD_SANDBOX_FAILED');
  t.regex(error.message, /set the host name/);
});
