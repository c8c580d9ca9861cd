/** The process that goes on with what passes through this one when it is killed: layer/native/standby.c. */

import {type Addon, errnoError, socketAddon} from './native.ts';

/** What it needs besides the connections, which it has. */
export interface StandbyNeeds {
  /** The descriptor of a listener, for who is on his way; -1: nothing is left to anybody. */
  readonly listener: number;
  /** Descriptors of at most four that it keeps, the first of which gets the command. */
  readonly kept: readonly number[];
  readonly command: string;
  /** What its connections to the application carry. */
  readonly mark: number;
}

export const NOTHING_LEFT: StandbyNeeds = {listener: -1, kept: [], command: '', mark: 0};

const encoder = new TextEncoder();
let pid: number | undefined;

/** Starts it, once. Throws what clone(2) fails with; undefined where there is no addon. */
export function startStandby(): number | undefined {
  const addon = socketAddon();
  if (addon === undefined || pid !== undefined) return pid;
  const failure = addon.openPassages();
  if (failure < 0) throw errnoError('mmap', failure);
  setStandby(NOTHING_LEFT);
  return start(addon);
}

function start(addon: Addon): number {
  const started = addon.startStandby();
  if (started < 0) throw errnoError('clone', started);
  pid = started;
  return started;
}

/** Starts another one if somebody has killed it; returns undefined if nobody has. Throws what clone(2) fails with. */
export function renewStandby(): number | undefined {
  const addon = socketAddon();
  return addon?.standbyIsOver() === 1 ? start(addon) : undefined;
}

/** What it would go on with. */
export interface StandbyCounts {
  /** Connections that would go on now, and those that would not, as something of them is only known here. */
  readonly passing: number;
  readonly held: number;
  /** Kept for that, which the kernels don't have. */
  readonly bytes: number;
  /** Connections, and bytes, for which there was no room so far. */
  readonly refusedConnections: number;
  readonly refusedBytes: number;
}

export function standbyCounts(): StandbyCounts {
  const counts = new Float64Array(5);
  socketAddon()?.passageCounts(new Uint8Array(counts.buffer));
  const [passing = 0, held = 0, bytes = 0, refusedConnections = 0, refusedBytes = 0] = counts;
  return {passing, held, bytes, refusedConnections, refusedBytes};
}

/** Says what it needs now. */
export function setStandby({listener, kept, command, mark}: StandbyNeeds): void {
  socketAddon()?.setStandby(listener, kept, encoder.encode(command), mark);
}
