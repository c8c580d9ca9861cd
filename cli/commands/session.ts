/**
 * `mirrord session`: what of this user runs in the context of a pod now, and how to end it.
 */

import chalk from 'chalk';
import {Command, Option} from 'commander';
import {MirrordError} from '../../layer/errors.ts';
import {
  findSession,
  type ListedSession,
  listSessions,
  stopSession,
} from '../../layer/sessions/session-client.ts';
import type {SessionInfo} from '../../layer/sessions/session-server.ts';
import {formatTable} from '../demo/table.ts';

/** `8080`, or `80 at 45505` where the number differs. */
function formatPorts({ports}: SessionInfo): string {
  return ports
    .map(({port, hostPort}) => (port === hostPort ? `${port}` : `${port} at ${hostPort}`))
    .join(', ');
}

function row(session: ListedSession): string[] {
  if ('error' in session) return [session.id, `(${session.error})`];
  const {id, target, pid, started, command} = session;
  const time = new Date(started).toLocaleTimeString('en-GB');
  return [id, target, `${pid}`, time, formatPorts(session), command.join(' ')];
}

async function list({output}: {output?: 'json'}): Promise<void> {
  const sessions = await listSessions();
  if (output === 'json') {
    process.stdout.write(`${JSON.stringify(sessions, null, 2)}\n`);
  } else if (sessions.length === 0) {
    process.stdout.write('No program runs in the context of a pod.\n');
  } else {
    const head = ['SESSION', 'TARGET', 'PID', 'STARTED', 'PORTS', 'COMMAND'];
    process.stdout.write(formatTable({head, rows: sessions.map(row)}, chalk.bold));
  }
}

/** It has ended by itself since it was listed. */
function isNotFound(error: unknown): boolean {
  return error instanceof MirrordError && error.code === 'MIRRORD_SESSION_NOT_FOUND';
}

async function stop(
  ids: readonly string[],
  {all}: {all?: boolean},
  command: Command,
): Promise<void> {
  if (ids.length > 0 === (all === true)) {
    command.error('error: name the sessions to end, or all of them by --all');
  }
  const wanted = all === true ? (await listSessions()).map(({id}) => id) : ids.map(findSession);
  const stops = await Promise.allSettled(wanted.map(stopSession));
  for (const result of stops) {
    if (result.status === 'rejected' && !(all && isNotFound(result.reason))) throw result.reason;
  }
}

function listCommand(): Command {
  return new Command('list')
    .description('list the sessions of this user on this machine')
    .addOption(new Option('-o, --output <format>', 'how').choices(['json']))
    .action(list);
}

function stopCommand(name: 'stop' | 'kill'): Command {
  return new Command(name)
    .description('end sessions: their programs get SIGTERM, then SIGKILL')
    .argument('[session...]', 'their ids, or the beginnings of these')
    .option('--all', 'all of them')
    .action(stop);
}

/** The command, for `main.ts`. */
export function sessionCommand(): Command {
  return new Command('session')
    .description('what runs in the context of a pod now')
    .enablePositionalOptions()
    .helpOption('-h, --help', 'show this help')
    .addHelpText(
      'after',
      `
Every mirrord exec is a session for as long as its program runs. Another program joins it by
mirrord exec --join <session>: it is in the same network, under the same name, and ends with it.

Examples:
  $ mirrord session list
  $ mirrord exec --join 1f2e -- ss -tlnp
  $ mirrord session stop 1f2e`,
    )
    .alias('sessions')
    .addCommand(listCommand(), {isDefault: true})
    .addCommand(stopCommand('stop'));
}

/** `mirrord kill`: mirrord's other name of `mirrord session stop`. */
export function killCommand(): Command {
  return stopCommand('kill').helpOption('-h, --help', 'show this help');
}
