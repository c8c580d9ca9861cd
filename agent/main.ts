/**
 * The agent: a plain Node program that dials out of a pod for a program somewhere else.
 *
 * It works inside the target's namespaces (network, user, UTS), with the host's /proc or its own. On
 * the machine of the program it has one client, at the other end of an inherited socket pair, listens
 * nowhere, and exits when that connection ends. In a cluster it first goes to its target
 * (`cluster/go-to-target.ts`), has any number of clients, and exits as `attendance.ts` says.
 */

import {fileURLToPath} from 'node:url';
import {makeLog} from './log.ts';
import {type AgentOptions, parseOptions, UsageError} from './options.ts';

async function main(): Promise<void> {
  const level = process.env['MIRRORD_AGENT_LOG'];
  const write = (line: string): unknown => process.stderr.write(line);
  // Whoever read it may be dead; to log that would fail again, for ever.
  process.stderr.on('error', () => undefined);
  let options: AgentOptions;
  try {
    options = parseOptions(process.argv.slice(2), process.env);
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    makeLog(level, write).error(error.message, {code: error.code});
    process.exitCode = 2;
    return;
  }
  const log = makeLog(level, write, options.logFormat);
  try {
    // The first stage loads nothing of the second, nor the other way round: it is half of the start.
    if (options.kind === 'locate') {
      const {goToTarget} = await import('./cluster/go-to-target.ts');
      await goToTarget(options, fileURLToPath(import.meta.url));
      return;
    }
    const {serveInherited, serveListening} = await import('./serve.ts');
    if (options.kind === 'listening') serveListening(options, log);
    else serveInherited(options, log);
  } catch (error) {
    log.error(error instanceof Error ? error.message : String(error));
    process.exitCode = 1;
    return;
  }
  // A bug in one flow must not take the others down; where it comes from a message, its session
  // ends. Only set here: what fails before should end the process.
  process.on('uncaughtException', (error) => log.error('bug', {error: error.stack ?? `${error}`}));
}

await main();
