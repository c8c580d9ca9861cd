/**
 * The program: started by the launcher, which drops all rights in the child and stays as its guardian.
 */

import {MirrordError} from '../errors.ts';
import {SystemError} from '../native/native.ts';
import type {CapabilitySet, Launcher} from './launcher.ts';

/** How a program ended: with a status, or by a signal. */
export type ProgramEnd = {code: number} | {signal: NodeJS.Signals};

/** A program that runs. */
export interface RunningProgram {
  pid: number;
  ended: Promise<ProgramEnd>;
}

function explainExecFailure(command: string, error: unknown): unknown {
  if (!(error instanceof SystemError) || error.syscall !== 'execve') return error;
  if (error.code === 'ENOENT') {
    return new MirrordError('MIRRORD_COMMAND_NOT_FOUND', `${command}: command not found`, {
      hint: 'the program is looked up in the local PATH, or relative to the current directory; a script may name an interpreter that is not there',
      exitCode: 127,
      cause: error,
    });
  }
  return new MirrordError(
    'MIRRORD_COMMAND_NOT_EXECUTABLE',
    `${command}: can't be executed (${error.code})`,
    {
      hint:
        error.code === 'ENOEXEC'
          ? 'it is neither a binary nor a script with a #! line'
          : `see: ls -l ${command}`,
      exitCode: 126,
      cause: error,
    },
  );
}

/**
 * Starts the program that the launcher was made for, with the terminal in its hands. `command` is what
 * the person typed. Throws MIRRORD_COMMAND_NOT_FOUND (status 127) or MIRRORD_COMMAND_NOT_EXECUTABLE (126).
 */
export function startProgram(
  launcher: Launcher,
  command: string,
  capabilities: CapabilitySet,
): RunningProgram {
  const ended = new Promise<ProgramEnd>((resolve) => {
    launcher.process.once('exit', (code, signal) =>
      resolve(signal === null ? {code: code ?? 1} : {signal}),
    );
  });
  try {
    return {pid: launcher.exec(capabilities, true), ended};
  } catch (error) {
    throw explainExecFailure(command, error);
  }
}
