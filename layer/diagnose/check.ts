/**
 * A check of this machine: one thing that mirrord needs or uses, tried for real in a launcher that is
 * thrown away, so that nothing of it stays.
 */

import {closeFd} from '../native/native.ts';
import {Launcher} from '../sandbox/launcher.ts';
import {explainSandboxFailure} from '../sandbox/preconditions.ts';
import {isPrivileged} from '../sandbox/privilege.ts';

/** One thing to try. */
export interface Check {
  /** A stable word for it. */
  name: string;
  /** Without it nothing can be run in the context of a pod. */
  required: boolean;
  /** What is lost where it is missing. */
  costs: string;
  /** How to get it; by default what an `exec` that fails for it would say. */
  remedy?: string;
  /** Tries it, and returns what was found. Throws when it is missing. */
  run(): string;
}

/** What became of a check. */
export interface CheckResult {
  name: string;
  ok: boolean;
  required: boolean;
  /** What is there, or how the attempt failed. */
  found: string;
  costs: string;
  /** How to get it, when it is missing. */
  remedy?: string;
}

/** Runs `use` with a launcher, then ends it. Its namespaces: none yet. */
export function withLauncher<T>(use: (launcher: Launcher) => T): T {
  // The program is never started; nothing of the caller's terminal is held.
  using launcher = new Launcher({
    argv: ['true'],
    env: {},
    cwd: '/',
    stdio: ['ignore', 'ignore', 'ignore'],
  });
  return use(launcher);
}

/** Runs `use` in namespaces as the sandbox has them. */
export function withNamespaces<T>(use: (launcher: Launcher) => T): T {
  return withLauncher((launcher) => {
    launcher.unshare(...(isPrivileged() ? [] : (['user'] as const)), 'net', 'mnt', 'uts');
    return use(launcher);
  });
}

/** Runs `use` in such namespaces with a TUN device, `name`, whose offloads it gets as a mask. */
export function withTun<T>(name: string, use: (launcher: Launcher, offloads: number) => T): T {
  return withNamespaces((launcher) => {
    const {fd, value} = launcher.open('tun', name);
    try {
      return use(launcher, Number(value));
    } finally {
      closeFd(fd);
    }
  });
}

/** What a check found that failed, and what helps. */
function explain(check: Check, error: unknown): {found: string; remedy: string} {
  const explained = explainSandboxFailure(`try ${check.name}`, error);
  // Its own remedy helps only where all is there that the sandbox itself needs.
  if (check.remedy === undefined || explained.code !== 'MIRRORD_SANDBOX_FAILED') {
    return {found: explained.message, remedy: explained.hint ?? ''};
  }
  return {found: error instanceof Error ? error.message : String(error), remedy: check.remedy};
}

/** Runs a check; never throws. */
export function runCheck(check: Check): CheckResult {
  const {name, required, costs} = check;
  try {
    return {name, ok: true, required, found: check.run(), costs};
  } catch (error) {
    return {name, ok: false, required, ...explain(check, error), costs};
  }
}
