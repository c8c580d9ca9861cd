/**
 * What a program has of whoever started it, and Node would keep from it or change: noted by `bin/mirrord` before
 * Node runs, handed to the program by the launcher.
 */

import {closeFd, closeOnExec} from '../native/native.ts';

export interface Inherited {
  /** The signals that are ignored, as a mask in hexadecimal (SigIgn of proc(5)). */
  readonly signalsIgnored: string;
  /** How many files may be open (the soft RLIMIT_NOFILE); undefined: any number. */
  readonly openFiles: number | undefined;
  /** The descriptors that are open, ascending. */
  readonly descriptors: readonly number[];
}

/** As many descriptors as are handed on (`MAX_DESCRIPTORS` in descriptors.c); the lowest. */
const descriptorLimit = 256;

/**
 * Reads what `bin/mirrord` noted: the mask, the limit, then the descriptors, all apart by a blank. Of somebody who was not
 * started by it the usual is said.
 */
export function parseInherited(text = '0 unlimited 0 1 2'): Inherited {
  const [signalsIgnored = '0', limit, ...rest] = text.split(' ');
  const descriptors = rest.map(Number).sort((a, b) => a - b);
  return {
    signalsIgnored,
    openFiles: limit === 'unlimited' ? undefined : Number(limit),
    descriptors: descriptors.slice(0, descriptorLimit),
  };
}

/** Reads an environment as the kernel has it (proc(5)), in base64. */
export function parseEnvironment(text: string): Record<string, string> {
  const entries = Buffer.from(text, 'base64').toString().split('\0');
  return Object.fromEntries(
    entries.flatMap((entry) => {
      const end = entry.indexOf('=');
      return end > 0 ? [[entry.slice(0, end), entry.slice(end + 1)]] : [];
    }),
  );
}

/** Those that are no standard stream. */
function extras({descriptors}: Inherited): readonly number[] {
  return descriptors.filter((fd) => fd > 2);
}

/** Does something to each that is open; where the addon is missing, whatever needs it says so. */
function each(fds: readonly number[], act: (fd: number) => void): void {
  for (const fd of fds) {
    try {
      act(fd);
    } catch {}
  }
}

/**
 * What mirrord starts for itself doesn't get the descriptors: some of it outlives the call, and must hold neither the
 * caller's lock nor the end of a pipe. Node sees to those up to 15 (libuv's `uv_disable_stdio_inheritance`).
 */
export function keepDescriptors(inherited: Inherited): void {
  each(
    extras(inherited).filter((fd) => fd > 15),
    closeOnExec,
  );
}

/** The program has them; who waits for their end must not wait for us. */
export function closeDescriptors(inherited: Inherited): void {
  each(extras(inherited), closeFd);
}
