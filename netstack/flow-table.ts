/**
 * A hash table from addresses and ports to flows.
 *
 * A lookup happens for each packet, so it allocates nothing and makes no strings: the key is read
 * from the packet into one reused `FlowKey` of 32-bit integers, hashed with a secret, and compared
 * with the keys in one bucket. Buckets are lists linked through the entries; their number doubles
 * when there are more entries than buckets, and never shrinks (a bucket is one word).
 */
import {createHashKey, type HashKey, hashEnd, hashStart, hashWord} from './hash.ts';
import type {IpHeader} from './wire/ip.ts';
import type {Octets} from './wire/octets.ts';

/** Addresses as 32-bit words (an IPv4 address is the last one, the others 0), ports in one word. */
export interface FlowKey {
  version: 4 | 6;
  source0: number;
  source1: number;
  source2: number;
  source3: number;
  destination0: number;
  destination1: number;
  destination2: number;
  destination3: number;
  /** Source port in the upper half, destination port in the lower. */
  ports: number;
}

/** What can be put into a table. `key` must not change while it is in. */
export interface Keyed {
  readonly key: FlowKey;
  /** The secret hash of `key`. Belongs to the table. */
  hash: number;
  /** The next entry of the bucket. Belongs to the table. */
  next: Keyed | undefined;
}

/** A key of zeros, to be filled again and again. */
export function createFlowKey(): FlowKey {
  return {
    version: 4,
    source0: 0,
    source1: 0,
    source2: 0,
    source3: 0,
    destination0: 0,
    destination1: 0,
    destination2: 0,
    destination3: 0,
    ports: 0,
  };
}

/** Fills in the source of a packet: address from the frame, and port. */
export function setSource(key: FlowKey, {view}: Octets, ip: IpHeader): void {
  const at = ip.sourceAt;
  key.version = ip.version;
  if (ip.version === 4) {
    key.source0 = 0;
    key.source1 = 0;
    key.source2 = 0;
    key.source3 = view.getInt32(at);
  } else {
    key.source0 = view.getInt32(at);
    key.source1 = view.getInt32(at + 4);
    key.source2 = view.getInt32(at + 8);
    key.source3 = view.getInt32(at + 12);
  }
}

/** Fills in the destination of a packet. */
export function setDestination(key: FlowKey, {view}: Octets, ip: IpHeader): void {
  const at = ip.destinationAt;
  if (ip.version === 4) {
    key.destination0 = 0;
    key.destination1 = 0;
    key.destination2 = 0;
    key.destination3 = view.getInt32(at);
  } else {
    key.destination0 = view.getInt32(at);
    key.destination1 = view.getInt32(at + 4);
    key.destination2 = view.getInt32(at + 8);
    key.destination3 = view.getInt32(at + 12);
  }
}

/** Fills in both ports. */
export function setPorts(key: FlowKey, source: number, destination: number): void {
  key.ports = (source << 16) | destination;
}

function isSame(a: FlowKey, b: FlowKey): boolean {
  return (
    a.ports === b.ports &&
    a.source3 === b.source3 &&
    a.destination3 === b.destination3 &&
    a.version === b.version &&
    a.source0 === b.source0 &&
    a.source1 === b.source1 &&
    a.source2 === b.source2 &&
    a.destination0 === b.destination0 &&
    a.destination1 === b.destination1 &&
    a.destination2 === b.destination2
  );
}

/** Hashes a key under a secret: 32 bits, signed. */
export function hashKey(secret: HashKey, key: FlowKey): number {
  hashStart(secret);
  hashWord(key.ports);
  hashWord(key.source3);
  hashWord(key.destination3);
  if (key.version === 6) {
    hashWord(key.source0);
    hashWord(key.source1);
    hashWord(key.source2);
    hashWord(key.destination0);
    hashWord(key.destination1);
    hashWord(key.destination2);
  }
  return hashEnd();
}

export class FlowTable<T extends Keyed> {
  readonly #secret: HashKey;
  #buckets: Array<Keyed | undefined> = new Array(64).fill(undefined);
  #size = 0;

  constructor(random: () => number) {
    this.#secret = createHashKey(random);
  }

  get size(): number {
    return this.#size;
  }

  /** Finds the entry of a key. */
  get(key: FlowKey): T | undefined {
    const hash = hashKey(this.#secret, key);
    let entry = this.#buckets[hash & (this.#buckets.length - 1)];
    while (entry !== undefined && !(entry.hash === hash && isSame(entry.key, key))) {
      entry = entry.next;
    }
    return entry as T | undefined;
  }

  /** Adds an entry whose key is not in the table. */
  add(entry: T): void {
    entry.hash = hashKey(this.#secret, entry.key);
    if (this.#size >= this.#buckets.length) {
      this.#grow();
    }
    const at = entry.hash & (this.#buckets.length - 1);
    entry.next = this.#buckets[at];
    this.#buckets[at] = entry;
    this.#size += 1;
  }

  /** Takes an entry out; false: it was not in. */
  delete(entry: T): boolean {
    const at = entry.hash & (this.#buckets.length - 1);
    let before: Keyed | undefined;
    let here = this.#buckets[at];
    while (here !== undefined && here !== entry) {
      before = here;
      here = here.next;
    }
    if (here === undefined) {
      return false;
    }
    if (before === undefined) {
      this.#buckets[at] = entry.next;
    } else {
      before.next = entry.next;
    }
    entry.next = undefined;
    this.#size -= 1;
    return true;
  }

  /** All entries, in no order. The table must not change meanwhile. */
  *[Symbol.iterator](): Generator<T> {
    for (let entry of this.#buckets) {
      while (entry !== undefined) {
        yield entry as T;
        entry = entry.next;
      }
    }
  }

  /** Forgets all entries. */
  clear(): void {
    this.#buckets = new Array(64).fill(undefined);
    this.#size = 0;
  }

  #grow(): void {
    const old = this.#buckets;
    const buckets: Array<Keyed | undefined> = new Array(old.length * 2).fill(undefined);
    for (let entry of old) {
      while (entry !== undefined) {
        const next: Keyed | undefined = entry.next;
        const at = entry.hash & (buckets.length - 1);
        entry.next = buckets[at];
        buckets[at] = entry;
        entry = next;
      }
    }
    this.#buckets = buckets;
  }
}
