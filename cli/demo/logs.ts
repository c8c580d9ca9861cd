/**
 * Keeps the logs of the demo short: they are in the runtime directory, which is memory on most machines,
 * and a demo may run for weeks.
 *
 * Pods write to their files themselves, at the end (O_APPEND), so a file that has grown too long can be
 * cut under their hands: its last part is put in the place of all, below a line that says how much is
 * missing. What a pod writes in that very moment may be missing too.
 */

import {
  closeSync,
  fstatSync,
  ftruncateSync,
  openSync,
  readdirSync,
  readSync,
  writeSync,
} from 'node:fs';
import {join} from 'node:path';

/** A log longer than this is cut, bytes. */
const lengthLimit = 4 * 1024 * 1024;
/** What is kept of it, bytes. */
const keptLength = 1024 * 1024;
/** Between two looks, milliseconds: at 100 MB/s a log grows to 200 MB meanwhile. */
const intervalMs = 2_000;

/** Cuts a log if it is longer than `limit`, to its last lines of at most `kept` bytes. */
export function cutLog(path: string, limit = lengthLimit, kept = keptLength): void {
  const file = openSync(path, 'a+');
  try {
    const {size} = fstatSync(file);
    if (size <= limit) return;
    const last = Buffer.alloc(kept);
    const tail = last.subarray(0, readSync(file, last, 0, kept, size - kept));
    const lines = tail.subarray(tail.indexOf('\n') + 1);
    ftruncateSync(file, 0);
    writeSync(file, `… ${size - lines.length} bytes before this were dropped\n`);
    writeSync(file, lines);
  } finally {
    closeSync(file);
  }
}

/** Looks after all logs of a directory until it is disposed of. Holds no process alive. */
export function keepLogsShort(directory: string): Disposable {
  const timer = setInterval(() => {
    try {
      for (const name of readdirSync(directory)) cutLog(join(directory, name));
    } catch (error) {
      process.stderr.write(`logs: ${String(error)}\n`); // the disk is full: next time
    }
  }, intervalMs).unref();
  return {[Symbol.dispose]: () => clearInterval(timer)};
}
