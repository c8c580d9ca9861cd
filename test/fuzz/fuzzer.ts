/**
 * A small fuzzer: draws lists of steps from a seed, runs them, and makes the shortest list that still
 * fails. A target says what the steps are and when a promise is broken. Used by `scripts/fuzz` for as
 * long as one likes, and by the tests for a moment.
 */
import {seeded} from '../helpers/netstack.ts';

export interface FuzzTarget<Step = unknown> {
  readonly name: string;
  /** Draws the steps of one round: plain data, so that they can be printed. */
  generate(random: () => number): Step[];
  /** Runs them from a fresh start. Throws when a promise is broken. */
  run(steps: readonly Step[]): void | Promise<void>;
}

export interface Finding {
  readonly target: string;
  /** Begin with this seed to meet it in the first round. */
  readonly seed: number;
  /** The shortest list of steps found that fails. */
  readonly steps: readonly unknown[];
  readonly error: unknown;
}

export interface FuzzOptions {
  /** The seed of the first round; each further round adds one. */
  readonly seed: number;
  readonly rounds?: number;
  /** How long to go on, ms. */
  readonly ms?: number;
}

/** Runs of a failing list with parts left out, at most. */
const MAX_TRIALS = 3_000;

async function errorOf<Step>(target: FuzzTarget<Step>, steps: readonly Step[]): Promise<unknown> {
  try {
    await target.run(steps);
    return undefined;
  } catch (error) {
    return error ?? new Error('undefined was thrown');
  }
}

/** Leaves out runs of steps, half of the list first, single ones last, while it still fails. */
export async function minimise<Step>(
  target: FuzzTarget<Step>,
  failing: readonly Step[],
): Promise<readonly Step[]> {
  let steps = failing;
  let trials = 0;
  for (let size = Math.ceil(steps.length / 2); size >= 1; ) {
    let isShorter = false;
    for (let at = 0; at < steps.length && trials < MAX_TRIALS; trials += 1) {
      const rest = [...steps.slice(0, at), ...steps.slice(at + size)];
      if ((await errorOf(target, rest)) === undefined) {
        at += size;
      } else {
        steps = rest;
        isShorter = true;
      }
    }
    if (size > 1) size = Math.floor(size / 2);
    else if (!isShorter) break;
  }
  return steps;
}

/** Fuzzes until something is found or the time is over. Returns the finding and the rounds run. */
export async function fuzz<Step>(
  target: FuzzTarget<Step>,
  {seed, rounds = Number.POSITIVE_INFINITY, ms = Number.POSITIVE_INFINITY}: FuzzOptions,
): Promise<{finding: Finding | undefined; rounds: number}> {
  const end = performance.now() + ms;
  let round = 0;
  for (; round < rounds && performance.now() < end; round += 1) {
    const steps = target.generate(seeded(seed + round));
    if ((await errorOf(target, steps)) === undefined) continue;
    const shortest = await minimise(target, steps);
    const error = await errorOf(target, shortest);
    const finding = {target: target.name, seed: seed + round, steps: shortest, error};
    return {finding, rounds: round + 1};
  }
  return {finding: undefined, rounds: round};
}

/** Draws whole numbers and choices. */
export class Dice {
  readonly random: () => number;

  constructor(random: () => number) {
    this.random = random;
  }

  /** A whole number in [0, below). */
  below(below: number): number {
    return Math.floor(this.random() * below);
  }

  chance(probability: number): boolean {
    return this.random() < probability;
  }

  of<T>(...choices: readonly [T, ...T[]]): T {
    return choices[this.below(choices.length)] as T;
  }

  /** A number of any size: small ones, and those around the edges of fields. */
  size(): number {
    const edge = this.of(0, 1, 2, 127, 128, 255, 1460, 4_096, 65_495, 65_535, 65_536);
    return this.chance(0.5) ? edge : this.below(this.of(10, 1_000, 70_000));
  }

  /** Damage: [position, bits to flip], positions modulo the length of what is damaged. */
  damage(): [number, number][] {
    if (this.chance(0.6)) return [];
    return Array.from({length: 1 + this.below(3)}, () => [
      this.below(1 << 16),
      1 + this.below(255),
    ]);
  }

  hex(length: number): string {
    return Buffer.from(Array.from({length}, () => this.below(256))).toString('hex');
  }
}

/** Flips the bits that `damage` names. */
export function flip(bytes: Uint8Array, damage: readonly (readonly [number, number])[]): void {
  if (bytes.length === 0) return;
  for (const [position, bits] of damage) {
    const at = position % bytes.length;
    bytes[at] = (bytes[at] ?? 0) ^ bits;
  }
}
