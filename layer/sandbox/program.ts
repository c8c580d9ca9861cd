/**
 * The program: started by the launcher, which drops all rights in the child and stays as its guardian.
 */

import {existsSync} from 'node:fs';
import {join} from 'node:path';
import {MirrordError} from '../errors.ts';
import {relaySignals, SystemError} from '../native/native.ts';
import {closeDescriptors, type Inherited} from './inherited.ts';
import type {CapabilitySet, Launcher} from './launcher.ts';
import {adoptOrphans} from './orphans.ts';

/** How a program ended: with a status, or by a signal. */
export type ProgramEnd = {code: number} | {signal: NodeJS.Signals};

/** A program that runs. */
export interface RunningProgram {
  pid: number;
  ended: Promise<ProgramEnd>;
}

export interface ProgramStart {
  /** What the person typed. */
  command: string;
  /** The local PATH. */
  localPath: string;
  /** What it has of whoever called us. */
  inherited: Inherited;
  /** Where it starts, if its files are served by us. */
  servedDirectory?: string;
}

/** How the program of a command line is to be started. `env` is the local environment. */
export function programStart({
  argv,
  env,
  inherited,
}: {
  argv: readonly string[];
  env: Readonly<Record<string, string | undefined>>;
  inherited: Inherited;
}): ProgramStart {
  return {
    command: argv[0] ?? '',
    localPath: env['PATH'] ?? '',
    inherited,
  };
}

/** Whether a command without a slash names a file somewhere in PATH, executable or not. */
function isInPath(command: string, path: string): boolean {
  return path.split(':').some((directory) => existsSync(join(directory || '.', command)));
}

/** Where a command was looked for, in vain. */
function placesHint(path: string, localPath: string): string {
  return path === localPath
    ? 'it is looked up in the local PATH'
    : `it is looked up in the PATH that the configuration gives the program: ${path || '(none)'}`;
}

function explainExecFailure(
  {command, localPath}: ProgramStart,
  path: string,
  error: unknown,
): unknown {
  if (!(error instanceof SystemError) || error.syscall !== 'execve') return error;
  // execvp(3) says EACCES when a directory of PATH may not be searched, though nothing was found.
  const isNowhere = !command.includes('/') && !isInPath(command, path);
  if (error.code === 'ENOENT' || isNowhere) {
    return new MirrordError('MIRRORD_COMMAND_NOT_FOUND', `${command}: command not found`, {
      hint: command.includes('/')
        ? 'the file, or the interpreter that its first line names, is not there'
        : placesHint(path, localPath),
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
 * Starts the program that the launcher was made for, with the terminal in its hands. It is looked up in its
 * own PATH: the local one, unless the configuration says otherwise; never the pod's. Throws MIRRORD_COMMAND_NOT_FOUND (status 127) or MIRRORD_COMMAND_NOT_EXECUTABLE (126).
 */
export async function startProgram(
  launcher: Launcher,
  start: ProgramStart,
  capabilities: CapabilitySet,
): Promise<RunningProgram> {
  const {inherited, servedDirectory: directory} = start;
  const endOrphans = adoptOrphans();
  const ended = new Promise<ProgramEnd>((resolve) => {
    launcher.process.once('exit', async (code, signal) => {
      if (signal === null) return resolve({code: code ?? 1});
      // The program was ended by it, or the launcher was, before it could end the others.
      await endOrphans();
      resolve({signal});
    });
  });
  try {
    launcher.command('ignore', inherited.signalsIgnored);
    if (inherited.openFiles !== undefined) launcher.command('open-files', inherited.openFiles);
    relaySignals(-1);
    const pid =
      directory === undefined
        ? launcher.exec(capabilities, true)
        : await launcher.execServed(capabilities, {foreground: true, directory});
    closeDescriptors(inherited);
    return {pid, ended};
  } catch (error) {
    relaySignals(0);
    throw explainExecFailure(start, launcher.path, error);
  }
}
