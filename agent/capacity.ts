/**
 * What all clients of an agent may have together: memory, streams, and how many clients.
 *
 * The memory for what they carry is three eighths of the container's limit (`agent.resources`; 96 MiB of 256):
 * Node itself takes some 100 MiB, and what a stream costs besides its bytes is left out. Where there is no
 * limit to be seen, it is little in somebody else's pod, whose memory an ephemeral container's counts for, and
 * more on the machine of the program.
 */

import {Memory} from '../tunnel/memory.ts';

/** Of an agent without a limit of its own. */
const GUEST_MEMORY_BYTES = 50_331_648;
const LOCAL_MEMORY_BYTES = 268_435_456;
/** Less makes no progress to speak of. */
const LEAST_MEMORY_BYTES = 8_388_608;
/** A stream costs some 6 KiB besides its bytes; so many of them cost half of the memory above. */
const MEMORY_BYTES_PER_STREAM = 12_288;
/** Each costs what it has of queues for sure: a quarter of the memory above by default, if all are stuck. */
const MAX_CLIENTS = 64;

/** Returns the bytes that an agent may use for what it carries. `limitBytes`: what its container may use. */
export function memoryFor(limitBytes: number, isLocal: boolean): number {
  const freeBytes = isLocal ? LOCAL_MEMORY_BYTES : GUEST_MEMORY_BYTES;
  // Without a limit the kernel says some very large number, and Node 0 if there is none to read.
  const isLimited = limitBytes > 0 && limitBytes < 2 ** 40;
  const bytes = isLimited ? Math.floor((limitBytes * 3) / 8) : freeBytes;
  return Math.max(LEAST_MEMORY_BYTES, Math.min(bytes, LOCAL_MEMORY_BYTES));
}

/** Counts what clients have, and says whether there is room for more. */
export class Capacity {
  readonly memory: Memory;
  readonly maxStreams: number;
  /** Clients that were one too many. */
  clientsRefused = 0;
  /** Connections to the target that were reset, as what waited for them did not fit. */
  connectionsDropped = 0;
  #clients = 0;
  #streams = 0;

  constructor(memoryBytes: number) {
    this.memory = new Memory(memoryBytes);
    this.maxStreams = Math.floor(memoryBytes / MEMORY_BYTES_PER_STREAM);
  }

  /** Counts a client, if there is room for it. */
  admitClient(): boolean {
    if (this.#clients >= MAX_CLIENTS) {
      this.clientsRefused++;
      return false;
    }
    this.#clients++;
    return true;
  }

  clientLeft(): void {
    this.#clients--;
  }

  /** Counts a stream of any client, if there is room for it. */
  admitStream(): boolean {
    if (this.#streams >= this.maxStreams) return false;
    this.#streams++;
    return true;
  }

  streamLeft(): void {
    this.#streams--;
  }
}
