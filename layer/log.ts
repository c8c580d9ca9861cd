/**
 * The debug log: off unless asked for (`MIRRORD_LOG=debug`), one JSON object a line, on stderr.
 */

export type Log = (event: string, details?: object) => void;

/** Makes the log that the environment asks for. */
export function createLog(level: string | undefined): Log {
  if (level !== 'debug' && level !== 'trace') return () => undefined;
  return (event, details = {}) => {
    process.stderr.write(
      `${JSON.stringify({time: new Date().toISOString(), event, ...details})}\n`,
    );
  };
}
