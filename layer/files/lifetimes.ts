/** How long the kernel may believe what it is told of files. */

import type {Lifetimes} from './fuse/reply.ts';
import type {Source} from './tree.ts';

/**
 * What the kernel may believe without asking. Of the pod a second: what another process there changes is seen by
 * then, and a program that looks at a file again and again asks once. Of this machine less, where asking is cheap.
 * What the program itself changes it sees at once.
 */
export const lifetimes: Readonly<Record<Source, Lifetimes>> = {
  pod: {entryMs: 1000, attributeMs: 1000},
  host: {entryMs: 200, attributeMs: 200},
  scaffold: {entryMs: 60_000, attributeMs: 60_000},
};

/**
 * Of a name that something is mounted on, or on the way there: for ever. The launcher may pass by while we wait for
 * it, and must not wait for us.
 */
export const passage: Lifetimes = {entryMs: 10 * 365 * 86_400_000, attributeMs: 1000};

/** What is left of lifetimes. */
export function younger({entryMs, attributeMs}: Lifetimes, ageMs: number): Lifetimes {
  const left = (ms: number): number => Math.max(0, Math.floor(ms - ageMs));
  return ageMs === 0
    ? {entryMs, attributeMs}
    : {entryMs: left(entryMs), attributeMs: left(attributeMs)};
}
