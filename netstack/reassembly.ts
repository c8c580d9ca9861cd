/**
 * Puts fragments of IPv4 (RFC 791) and IPv6 (RFC 8200, section 4.5) packets together. A program's
 * datagram that exceeds the MTU of the device arrives in fragments, or ones that a path MTU
 * exception makes the kernel cut.
 *
 * Fragments are kept as copies until the packet is whole, then joined behind a new header without
 * options or extensions. A fragment that repeats one is ignored; one that overlaps another in part
 * spoils the packet: RFC 5722 asks for it in IPv6, Linux does it in IPv4 too. A spoiled packet is
 * forgotten, and its late fragments begin one that never becomes whole and times out.
 */
import type {Counters} from './counters.ts';
import type {Limits} from './limits.ts';
import {checksum, sumWords} from './wire/checksum.ts';
import {type IpHeader, ipHeaderLength, maxPayload} from './wire/ip.ts';
import {type Octets, octets} from './wire/octets.ts';

interface Fragment {
  readonly offset: number;
  readonly data: Uint8Array;
}

interface Incomplete {
  readonly version: 4 | 6;
  /** IPv6: of the fragment at offset 0, once it is here (RFC 8200, section 4.5). */
  protocol: number;
  readonly id: number;
  /** Source and destination, as they stand in the header. */
  readonly addresses: Uint8Array;
  readonly expiresAt: number;
  /** Sorted by offset, without overlaps. */
  readonly fragments: Fragment[];
  bytes: number;
  /** Payload bytes of the whole, once the last fragment is here. */
  total: number | undefined;
}

export class Reassembly {
  readonly #counters: Counters;
  readonly #limits: Limits;
  /** Oldest first: all have the same time to live. */
  readonly #partials: Incomplete[] = [];
  #bytes = 0;

  constructor(counters: Counters, limits: Limits) {
    this.#counters = counters;
    this.#limits = limits;
  }

  /** Packets that lack fragments. */
  get size(): number {
    return this.#partials.length;
  }

  /** Bytes of them. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Takes in a fragment. Returns the packet when it is whole: an IP packet in memory of its own. */
  add(frame: Octets, ip: IpHeader, now: number): Octets | undefined {
    this.#counters.fragments += 1;
    const end = ip.fragmentOffset + ip.payloadLength;
    const isRagged = ip.moreFragments && (ip.payloadLength & 7) !== 0;
    if (ip.payloadLength === 0 || isRagged || end > maxPayload(ip.version)) {
      this.#counters.malformed += 1;
      return undefined;
    }
    const partial = this.#find(frame, ip) ?? this.#begin(frame, ip, now);
    if (!this.#insert(partial, frame, ip)) {
      this.#counters.reassemblyFailed += 1;
      this.#forget(partial);
      return undefined;
    }
    if (partial.bytes === partial.total) {
      this.#forget(partial);
      this.#counters.reassembled += 1;
      return join(partial, partial.total);
    }
    this.#makeRoom();
    return undefined;
  }

  /** Forgets what has waited for too long. */
  expire(now: number): void {
    for (let oldest = this.#partials[0]; oldest !== undefined; oldest = this.#partials[0]) {
      if (oldest.expiresAt > now) {
        return;
      }
      this.#counters.reassemblyFailed += 1;
      this.#forget(oldest);
    }
  }

  /** When the oldest packet expires. */
  pollAt(): number {
    return this.#partials[0]?.expiresAt ?? Number.POSITIVE_INFINITY;
  }

  /** Forgets everything. */
  clear(): void {
    this.#partials.length = 0;
    this.#bytes = 0;
  }

  #find(frame: Octets, ip: IpHeader): Incomplete | undefined {
    // Few at any time: the limit bounds the search.
    return this.#partials.find(
      (partial) =>
        partial.id === ip.fragmentId &&
        partial.version === ip.version &&
        // RFC 8200 leaves the protocol out of the key; RFC 791 has it.
        (ip.version === 6 || partial.protocol === ip.protocol) &&
        isEqual(partial.addresses, frame.bytes, ip.sourceAt),
    );
  }

  #begin(frame: Octets, ip: IpHeader, now: number): Incomplete {
    const length = ip.version === 4 ? 8 : 32;
    const partial: Incomplete = {
      version: ip.version,
      protocol: ip.protocol,
      id: ip.fragmentId,
      addresses: frame.bytes.slice(ip.sourceAt, ip.sourceAt + length),
      expiresAt: now + this.#limits.reassemblyMs,
      fragments: [],
      bytes: 0,
      total: undefined,
    };
    this.#partials.push(partial);
    return partial;
  }

  /** False: the fragment contradicts the others. */
  #insert(partial: Incomplete, frame: Octets, ip: IpHeader): boolean {
    const offset = ip.fragmentOffset;
    const end = offset + ip.payloadLength;
    const {fragments} = partial;
    let index = fragments.length;
    while (index > 0 && (fragments[index - 1]?.offset ?? 0) >= offset) {
      index -= 1;
    }
    const same = fragments[index];
    if (same?.offset === offset && same.data.length === ip.payloadLength) {
      return true;
    }
    const before = fragments[index - 1];
    const overlaps =
      (before !== undefined && before.offset + before.data.length > offset) ||
      (same !== undefined && same.offset < end);
    const last = fragments.at(-1);
    const lastEnd = last === undefined ? 0 : last.offset + last.data.length;
    if (overlaps || end > (partial.total ?? end) || (!ip.moreFragments && lastEnd > end)) {
      return false;
    }
    if (!ip.moreFragments) {
      partial.total = end;
    }
    if (offset === 0) {
      partial.protocol = ip.protocol;
    }
    const data = frame.bytes.slice(ip.payloadAt, ip.payloadAt + ip.payloadLength);
    fragments.splice(index, 0, {offset, data});
    partial.bytes += data.length;
    this.#bytes += data.length;
    return true;
  }

  #makeRoom(): void {
    while (
      this.#partials.length > this.#limits.reassemblyPackets ||
      this.#bytes > this.#limits.reassemblyBytes
    ) {
      const [oldest] = this.#partials;
      if (oldest === undefined) {
        return;
      }
      this.#counters.reassemblyLimit += 1;
      this.#forget(oldest);
    }
  }

  #forget(partial: Incomplete): void {
    const index = this.#partials.indexOf(partial);
    if (index >= 0) {
      this.#partials.splice(index, 1);
      this.#bytes -= partial.bytes;
    }
  }
}

function isEqual(addresses: Uint8Array, bytes: Uint8Array, at: number): boolean {
  for (let index = 0; index < addresses.length; index += 1) {
    if (addresses[index] !== bytes[at + index]) {
      return false;
    }
  }
  return true;
}

/** Joins the fragments behind a plain header. */
function join(partial: Incomplete, length: number): Octets {
  const headerLength = ipHeaderLength(partial.version);
  const whole = octets(new Uint8Array(headerLength + length));
  const {view, bytes} = whole;
  if (partial.version === 4) {
    view.setUint16(0, 0x4500);
    view.setUint16(2, headerLength + length);
    view.setUint8(8, 64);
    view.setUint8(9, partial.protocol);
    bytes.set(partial.addresses, 12);
    view.setUint16(10, checksum(sumWords(whole, 0, headerLength)));
  } else {
    view.setUint8(0, 0x60);
    view.setUint16(4, length);
    view.setUint8(6, partial.protocol);
    view.setUint8(7, 64);
    bytes.set(partial.addresses, 8);
  }
  for (const {offset, data} of partial.fragments) {
    bytes.set(data, headerLength + offset);
  }
  return whole;
}
