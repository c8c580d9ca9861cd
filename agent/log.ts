/**
 * The agent's log: one JSON object per line on stderr, quiet below `warn` unless asked.
 *
 * What an administrator of the cluster needs is `info` and above; what one connection does is
 * `debug`. Values of the target (environment, payload) are never logged.
 */

const LEVELS = ['debug', 'info', 'warn', 'error'] as const;

export type LogLevel = (typeof LEVELS)[number];
export type LogFields = Readonly<Record<string, string | number | boolean | undefined>>;

/** Passed to whatever has something to say. */
export type Log = Readonly<Record<LogLevel, (message: string, fields?: LogFields) => void>>;

/** Makes a log that writes lines of at least this level; an unknown level counts as `warn`. */
export function makeLog(level: string | undefined, write: (line: string) => void): Log {
  const least = Math.max(0, LEVELS.indexOf(isLevel(level) ? level : 'warn'));
  const at =
    (own: LogLevel) =>
    (message: string, fields?: LogFields): void => {
      if (LEVELS.indexOf(own) < least) return;
      const time = new Date().toISOString();
      write(`${JSON.stringify({time, level: own, message, ...fields})}\n`);
    };
  return {debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error')};
}

function isLevel(level: string | undefined): level is LogLevel {
  return LEVELS.some((known) => known === level);
}
