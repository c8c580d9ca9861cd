/** Connections by their ends, found by a packet without making anything. Sans-IO. */

import type {Ends} from '../tunnel-socket.ts';
import type {Segment} from './segment.ts';

/** Numbers that the engine keeps without an object. */
const HASH_BITS = 0x3fff_ffff;
const MULTIPLIER = 0x9e37_79b1;

interface Entry<F> {
  readonly flow: F;
  next: Entry<F> | undefined;
}

export class FlowTable<F extends {readonly ends: Ends}> {
  readonly #buckets = new Map<number, Entry<F>>();
  /** So that nobody can choose ports and addresses that meet. */
  readonly #seed = Math.floor(Math.random() * HASH_BITS);

  /** The connection that a segment is of. `isOutgoing`: it goes to the client. */
  find(segment: Segment, bytes: Uint8Array, isOutgoing: boolean): F | undefined {
    const {addressBytes, sourceAt, destinationAt, sourcePort, destinationPort} = segment;
    const peerAt = isOutgoing ? destinationAt : sourceAt;
    const localAt = isOutgoing ? sourceAt : destinationAt;
    const peerPort = isOutgoing ? destinationPort : sourcePort;
    const localPort = isOutgoing ? sourcePort : destinationPort;
    let hash = this.#hash(bytes, peerAt, addressBytes, peerPort ^ (localPort << 16));
    hash &= HASH_BITS;
    for (let entry = this.#buckets.get(hash); entry !== undefined; entry = entry.next) {
      const {peer, local} = entry.flow.ends;
      if (
        peer.port === peerPort &&
        local.port === localPort &&
        isSame(peer.address, bytes, peerAt, addressBytes) &&
        isSame(local.address, bytes, localAt, addressBytes)
      ) {
        return entry.flow;
      }
    }
    return undefined;
  }

  /** Adds one that is not there. */
  add(flow: F): void {
    const hash = this.#hashOf(flow);
    this.#buckets.set(hash, {flow, next: this.#buckets.get(hash)});
  }

  hasEnds({peer, local}: Ends): boolean {
    let entry = this.#buckets.get(this.#hashOf({ends: {peer, local}}));
    for (; entry !== undefined; entry = entry.next) {
      const {ends} = entry.flow;
      if (isSameEnd(ends.peer, peer) && isSameEnd(ends.local, local)) return true;
    }
    return false;
  }

  has(flow: F): boolean {
    let entry = this.#buckets.get(this.#hashOf(flow));
    while (entry !== undefined && entry.flow !== flow) entry = entry.next;
    return entry !== undefined;
  }

  delete(flow: F): void {
    const hash = this.#hashOf(flow);
    const first = this.#buckets.get(hash);
    if (first?.flow === flow) {
      if (first.next === undefined) this.#buckets.delete(hash);
      else this.#buckets.set(hash, first.next);
      return;
    }
    for (let entry = first; entry !== undefined; entry = entry.next) {
      if (entry.next?.flow === flow) entry.next = entry.next.next;
    }
  }

  /** All of them; may be deleted meanwhile. */
  *all(): Iterable<F> {
    for (const first of this.#buckets.values()) {
      for (let entry: Entry<F> | undefined = first; entry !== undefined; entry = entry.next) {
        yield entry.flow;
      }
    }
  }

  #hashOf({ends: {peer, local}}: {readonly ends: Ends}): number {
    const {address, port} = peer;
    return this.#hash(address, 0, address.length, port ^ (local.port << 16)) & HASH_BITS;
  }

  /** Of the client's address and both ports: its own ports differ, where much comes from one place. */
  #hash(bytes: Uint8Array, at: number, length: number, ports: number): number {
    let hash = Math.imul(this.#seed ^ ports, MULTIPLIER);
    for (let index = at; index < at + length; index++) {
      hash = Math.imul((hash ^ (hash >>> 15)) + (bytes[index] ?? 0), MULTIPLIER);
    }
    return hash ^ (hash >>> 15);
  }
}

function isSameEnd(one: Ends['peer'], other: Ends['peer']): boolean {
  const {address, port} = other;
  return one.port === port && isSame(one.address, address, 0, address.length);
}

function isSame(address: Uint8Array, bytes: Uint8Array, at: number, length: number): boolean {
  if (address.length !== length) return false;
  for (let index = 0; index < length; index++) {
    if (address[index] !== bytes[at + index]) return false;
  }
  return true;
}
