/**
 * A second program in a running session's context: in its namespaces, hence with its network, name and
 * files, and with its target's environment over the caller's own.
 *
 * It has a launcher of its own, which enters the namespaces of the session's and then guards the program
 * as any other: the program dies with the mirrord that started it, and has no rights in the sandbox. The
 * session is held by an open request; when that ends, so does the program.
 */

import {MirrordError} from './errors.ts';
import {awaitEnd} from './program-end.ts';
import type {Inherited} from './sandbox/inherited.ts';
import {Launcher} from './sandbox/launcher.ts';
import {explainSandboxFailure} from './sandbox/preconditions.ts';
import {type ProgramEnd, programStart, startProgram} from './sandbox/program.ts';
import type {JoinedSession} from './sessions/session-client.ts';
import type {EnvironmentChanges} from './sessions/session-server.ts';

export interface JoinOptions {
  argv: readonly string[];
  /** The local environment. */
  env: Readonly<Record<string, string | undefined>>;
  /** As `SessionOptions` has it. */
  inherited: Inherited;
  /** Called when the program has been started. */
  onStarted?: () => void;
}

/** The local environment with what the session has changed in its own. */
export function applyChanges(
  local: JoinOptions['env'],
  {set, unset}: EnvironmentChanges,
): NodeJS.ProcessEnv {
  const kept = Object.entries(local).filter(([name]) => !unset.includes(name));
  return {...Object.fromEntries(kept), ...set};
}

function enter(launcher: Launcher, sessionPid: number): void {
  try {
    launcher.command('join', sessionPid);
    launcher.command('chdir', process.cwd());
  } catch (error) {
    throw explainSandboxFailure("enter the session's namespaces", error);
  }
}

/** Runs the program in the session. When that ends first, ends the program and throws MIRRORD_SESSION_ENDED. */
export async function runInSession(
  {id, context, ended}: JoinedSession,
  options: JoinOptions,
): Promise<ProgramEnd> {
  const {argv, env, onStarted} = options;
  using launcher = new Launcher({
    argv,
    env: applyChanges(env, context.environment),
    descriptors: options.inherited.descriptors,
  });
  enter(launcher, context.launcherPid);
  if (!context.ipv6) launcher.command('no-ipv6');
  const program = await startProgram(launcher, programStart(options), 'container');
  onStarted?.();
  const lost = ended.then(
    () =>
      new MirrordError(
        'MIRRORD_SESSION_ENDED',
        `the session ${id} has ended; the program was ended`,
        {
          hint: 'start the session again, then join it',
        },
      ),
  );
  return await awaitEnd(program, lost);
}
