/**
 * Shows the error that a command ended with: what failed and what to do; for a bug of ours, where.
 */

import {chalkStderr} from 'chalk';
import {MirrordError} from '../layer/errors.ts';
import {progressMode} from './progress.ts';

function stackOf(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}

/** For IDE plugins, which look for `Error: ` and a JSON object on stderr, and show message and help. */
function formatForIde(error: unknown): string {
  const known = error instanceof MirrordError ? error : undefined;
  const fields = {
    message: known?.message ?? `this is a bug of mirrord's: ${stackOf(error)}`,
    code: known?.code ?? 'MIRRORD_BUG',
    severity: 'error',
    causes: [],
    ...(known?.hint !== undefined && {help: known.hint}),
  };
  return `Error: ${JSON.stringify(fields)}\n`;
}

function formatForPeople(error: unknown): string {
  const head = chalkStderr.red('mirrord:');
  if (!(error instanceof MirrordError)) {
    return `${head} this is a bug of mirrord's:\n${stackOf(error)}\n`;
  }
  const lines = [`${head} ${error.message} [${error.code}]`];
  if (error.hint !== undefined) lines.push(`${chalkStderr.dim('  →')} ${error.hint}`);
  if (process.env['MIRRORD_LOG'] === 'debug' && error.cause !== undefined) {
    lines.push(stackOf(error.cause));
  }
  return `${lines.join('\n')}\n`;
}

/** Writes an error to stderr, in the form that MIRRORD_PROGRESS_MODE asks for. */
export function reportError(error: unknown): void {
  process.stderr.write(progressMode() === 'json' ? formatForIde(error) : formatForPeople(error));
}
