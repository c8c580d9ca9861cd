/**
 * Turns a failed system call of the launcher into a sentence with a remedy. Each precondition of the
 * sandbox has its row here; the checks of `mirrord diagnose` say what fails in the same words.
 */

import {readFileSync} from 'node:fs';
import {MirrordError} from '../errors.ts';
import {SystemError} from '../native/native.ts';

/** Reads a kernel setting (`user/max_user_namespaces`, as under /proc/sys), or undefined where the kernel has none. */
export function kernelSetting(path: string): string | undefined {
  try {
    return readFileSync(`/proc/sys/${path}`, 'utf8').trim();
  } catch {
    return undefined; // no such setting on this kernel
  }
}

const appArmorRemedy =
  'allow it for mirrord with an AppArmor profile that has the rule "userns,", or for everybody: ' +
  'sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0';

function userNamespace(errno: string): {message: string; hint: string} {
  if (kernelSetting('kernel/apparmor_restrict_unprivileged_userns') === '1') {
    return {
      message: 'AppArmor keeps ordinary users from making user namespaces',
      hint: appArmorRemedy,
    };
  }
  if (kernelSetting('kernel/unprivileged_userns_clone') === '0') {
    return {
      message: 'this kernel keeps ordinary users from making user namespaces',
      hint: 'sudo sysctl kernel.unprivileged_userns_clone=1',
    };
  }
  if (errno === 'ENOSPC') {
    const limit = kernelSetting('user/max_user_namespaces') ?? '?';
    return {
      message: `the limit of user namespaces is reached (user.max_user_namespaces is ${limit})`,
      hint: 'sudo sysctl user.max_user_namespaces=15000',
    };
  }
  if (errno === 'EINVAL' || errno === 'ENOSYS') {
    return {message: 'this kernel has no user namespaces', hint: 'it needs CONFIG_USER_NS'};
  }
  return {
    message:
      'making user namespaces is forbidden here, most likely by the seccomp profile of a container',
    hint: 'start the container with --security-opt seccomp=unconfined --device /dev/net/tun, or with --privileged',
  };
}

function tunDevice(errno: string): {message: string; hint: string} {
  switch (errno) {
    case 'ENOENT':
      return {
        message: 'there is no /dev/net/tun',
        hint: 'sudo modprobe tun; in a container: start it with --device /dev/net/tun',
      };
    case 'ENODEV':
    case 'ENXIO':
      return {message: 'the kernel has no TUN driver loaded', hint: 'sudo modprobe tun'};
    case 'EACCES':
    case 'EPERM':
      return {
        message: '/dev/net/tun may not be opened by this user',
        hint: 'sudo chmod 0666 /dev/net/tun (as distributions ship it)',
      };
    default:
      return {message: '/dev/net/tun can not be opened', hint: 'see: ls -l /dev/net/tun'};
  }
}

/**
 * The error to show when the sandbox could not be made at `step`. Codes: MIRRORD_USERNS_DENIED,
 * MIRRORD_TUN_UNAVAILABLE, MIRRORD_SANDBOX_FAILED.
 */
export function explainSandboxFailure(step: string, error: unknown): MirrordError {
  if (!(error instanceof SystemError)) {
    return error instanceof MirrordError
      ? error
      : new MirrordError('MIRRORD_SANDBOX_FAILED', `could not ${step}`, {cause: error});
  }
  const {syscall, code} = error;
  if (syscall === 'unshare' || /_map$|setgroups$/.test(syscall)) {
    const {message, hint} = userNamespace(code);
    return new MirrordError('MIRRORD_USERNS_DENIED', `${message} (${syscall}: ${code})`, {
      hint,
      cause: error,
    });
  }
  // Where AppArmor lets the namespace be made but strips its capabilities, the first use of one fails.
  const isStripped =
    code === 'EPERM' && kernelSetting('kernel/apparmor_restrict_unprivileged_userns') === '1';
  if (isStripped) {
    return new MirrordError(
      'MIRRORD_USERNS_DENIED',
      `AppArmor takes all rights from user namespaces of ordinary users (${syscall}: ${code})`,
      {hint: appArmorRemedy, cause: error},
    );
  }
  if (syscall.includes('/dev/net/tun') || syscall === 'TUNSETIFF') {
    const {message, hint} = tunDevice(code);
    return new MirrordError('MIRRORD_TUN_UNAVAILABLE', `${message} (${syscall}: ${code})`, {
      hint,
      cause: error,
    });
  }
  return new MirrordError('MIRRORD_SANDBOX_FAILED', `could not ${step}: ${error.message}`, {
    hint: 'this is likely a limit of the machine or container mirrord runs in; please report it',
    cause: error,
  });
}
