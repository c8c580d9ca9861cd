/** IP addresses: bytes on the tunnel, text for Node, with the port in front for the addon. */

import type {SocketEndpoint} from './types.ts';

/** Returns port and address as the addon has them: 6 or 18 bytes. */
export function packEndpoint({address, port}: SocketEndpoint): Uint8Array {
  const bytes = new Uint8Array(2 + address.length);
  bytes[0] = port >> 8;
  bytes[1] = port;
  bytes.set(address, 2);
  return bytes;
}

/** Two at a time: each of IPv4, and of IPv6. */
const lent = [0, 1].map(() => [new Uint8Array(6), new Uint8Array(18)] as const);

/**
 * As `packEndpoint`, in memory that the next one of this `slot` uses again: for a call that has read it when it returns. What
 * is new for each call costs more than the call, since the addon can't look into it where V8 has it.
 */
export function lendEndpoint(address: Uint8Array, port: number, slot: 0 | 1 = 0): Uint8Array {
  const bytes = lent[slot]?.[address.length === 4 ? 0 : 1] ?? new Uint8Array(18);
  bytes[0] = port >> 8;
  bytes[1] = port;
  bytes.set(address, 2);
  return bytes;
}

/** Reads what the addon has; the address is a copy. */
export function unpackEndpoint(bytes: Uint8Array): SocketEndpoint {
  return {address: bytes.slice(2), port: ((bytes[0] ?? 0) << 8) | (bytes[1] ?? 0)};
}

/** Returns the text of 4 or 16 bytes in network byte order. IPv6 comes without `::`. */
export function formatAddress(bytes: Uint8Array): string {
  if (bytes.length === 4) return bytes.join('.');
  const groups: string[] = [];
  for (let index = 0; index < 16; index += 2) {
    groups.push((((bytes[index] ?? 0) << 8) | (bytes[index + 1] ?? 0)).toString(16));
  }
  return groups.join(':');
}

/** Reads an address as the kernel or Node writes it; a scope (`%eth0`) is dropped. */
export function parseAddress(text: string): Uint8Array | undefined {
  const plain = text.split('%', 1)[0] ?? '';
  return plain.includes(':') ? parseIpv6(plain) : parseIpv4(plain);
}

function parseIpv4(text: string): Uint8Array | undefined {
  const parts = text.split('.');
  if (parts.length !== 4 || !parts.every((part) => /^\d{1,3}$/.test(part))) return undefined;
  const bytes = parts.map(Number);
  return bytes.every((byte) => byte <= 255) ? new Uint8Array(bytes) : undefined;
}

function parseIpv6(text: string): Uint8Array | undefined {
  const halves = text.split('::');
  if (halves.length > 2) return undefined;
  const head = parseGroups(halves[0] ?? '');
  const tail = parseGroups(halves[1] ?? '');
  if (head === undefined || tail === undefined) return undefined;
  const missing = 16 - head.length - tail.length;
  if (halves.length === 2 ? missing < 2 : missing !== 0) return undefined;
  const bytes = new Uint8Array(16);
  bytes.set(head);
  bytes.set(tail, 16 - tail.length);
  return bytes;
}

/** Returns the bytes of groups between colons; the last one may be an IPv4 address. */
function parseGroups(text: string): number[] | undefined {
  if (text === '') return [];
  const bytes: number[] = [];
  for (const group of text.split(':')) {
    if (group.includes('.')) {
      const ipv4 = parseIpv4(group);
      if (ipv4 === undefined) return undefined;
      bytes.push(...ipv4);
    } else {
      if (!/^[0-9a-f]{1,4}$/i.test(group)) return undefined;
      const value = Number.parseInt(group, 16);
      bytes.push(value >>> 8, value & 0xff);
    }
  }
  return bytes.length <= 16 ? bytes : undefined;
}
