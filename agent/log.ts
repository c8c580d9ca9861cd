/**
 * The agent's log: one line for each event on stderr, a JSON object or text for people, quiet below
 * `warn` unless asked.
 *
 * What an administrator of the cluster needs is `info` and above; what one connection does is
 * `debug`. Values of the target (environment, payload) are never logged.
 */

const LEVELS = ['debug', 'info', 'warn', 'error'] as const;

export type LogLevel = (typeof LEVELS)[number];
export type LogFormat = 'json' | 'text';
export type LogFields = Readonly<Record<string, string | number | boolean | undefined>>;

/** Passed to whatever has something to say. */
export type Log = Readonly<Record<LogLevel, (message: string, fields?: LogFields) => void>>;

/** Makes a log that writes lines of at least this level; an unknown level counts as `warn`. */
export function makeLog(
  level: string | undefined,
  write: (line: string) => unknown,
  format: LogFormat = 'json',
): Log {
  const line = format === 'json' ? jsonLine : textLine;
  const least = Math.max(0, LEVELS.indexOf(isLevel(level) ? level : 'warn'));
  const at =
    (own: LogLevel) =>
    (message: string, fields?: LogFields): void => {
      if (LEVELS.indexOf(own) < least) return;
      write(`${line({time: new Date().toISOString(), level: own, message, ...fields})}\n`);
    };
  return {debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error')};
}

type Event = {
  readonly time: string;
  readonly level: LogLevel;
  readonly message: string;
} & LogFields;

function jsonLine(event: Event): string {
  return JSON.stringify(event);
}

/** `time LEVEL message name=value…`; values with white space in them are quoted. */
function textLine({time, level, message, ...fields}: Event): string {
  const rest = Object.entries(fields)
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => `${name}=${/^\S+$/.test(`${value}`) ? value : JSON.stringify(value)}`);
  return [time, level.toUpperCase().padEnd(5), message, ...rest].join(' ');
}

function isLevel(level: string | undefined): level is LogLevel {
  return LEVELS.some((known) => known === level);
}
