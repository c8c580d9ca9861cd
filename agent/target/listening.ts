/**
 * Which ports something in the pod listens at, and when that changes.
 *
 * Asked of sock_diag, which takes 0.1 ms; where the kernel hasn't that, read from the tables of `/proc/net`, which take
 * 5 ms on a machine of 24 GiB, and more on larger ones.
 *
 * A socket bound to `::` usually takes IPv4 too, and the table does not say whether: it is counted
 * for both. If it does not, a connect will be refused, which is the truth as well.
 */

import {readFile} from 'node:fs/promises';
import type {ListeningPorts} from '../../tunnel/target.ts';
import {listeningSockets} from '../native.ts';
import {watchChanges} from './changes.ts';

/** "Linux include/net/tcp_states.h": a listening TCP socket, and a UDP socket that is not connected. */
const TCP_LISTEN = '0A';
const TCP_CLOSE = '07';
const ANY4 = '00000000';
const ANY6 = '0'.repeat(32);
const LOOPBACK6 = '00000000000000000000000001000000';
const MAPPED_PREFIX = '0000000000000000FFFF0000';

/** Ports of one protocol, by what they can be reached at, while they are collected. */
export interface Found {
  readonly loopback4: Set<number>;
  readonly loopback6: Set<number>;
  readonly own4: Set<number>;
  readonly own6: Set<number>;
}

/** Returns empty sets. */
export function nothingFound(): Found {
  return {loopback4: new Set(), loopback6: new Set(), own4: new Set(), own6: new Set()};
}

/** Returns the ports that are open now. `ownPorts`: of UDP, the agent's own. */
export async function readListening(ownPorts: ReadonlySet<number>): Promise<ListeningPorts> {
  const forTcp = nothingFound();
  const forUdp = nothingFound();
  await Promise.all([look('tcp', TCP_LISTEN, forTcp), look('udp', TCP_CLOSE, forUdp)]);
  return {
    tcp4: sorted(forTcp.loopback4),
    tcp6: sorted(forTcp.loopback6),
    udp4: sorted(forUdp.loopback4.difference(ownPorts)),
    udp6: sorted(forUdp.loopback6.difference(ownPorts)),
    ownTcp4: sorted(forTcp.own4),
    ownTcp6: sorted(forTcp.own6),
    ownUdp4: sorted(forUdp.own4.difference(ownPorts)),
    ownUdp6: sorted(forUdp.own6.difference(ownPorts)),
  };
}

/** Finds the sockets of a protocol. */
async function look(protocol: 'tcp' | 'udp', state: string, found: Found): Promise<void> {
  try {
    const both = [listeningSockets(4, protocol), listeningSockets(6, protocol)];
    for (const {address, port} of both.flat()) if (port > 0) add(found, wordsOf(address), port);
  } catch {
    // Without sock_diag or the addon, or with thousands of them.
    const tables = await Promise.all([protocol, `${protocol}6`].map(readTable));
    for (const table of tables) collect(table, state, found);
  }
}

/** An address as the tables of /proc/net have it. */
function wordsOf(address: Uint8Array): string {
  const bytes = Buffer.from(address);
  const words = bytes.swap32().toString('hex').toUpperCase();
  return words.startsWith(MAPPED_PREFIX) ? words.slice(24) : words;
}

/** Calls `onPorts` with the full sets, first at once and then after each change; returns the stop. */
export function watchListening(
  ownPorts: ReadonlySet<number>,
  onPorts: (ports: ListeningPorts) => void,
): () => void {
  return watchChanges(() => readListening(ownPorts), onPorts);
}

/**
 * Reads a table of /proc/net: `sl local_address rem_address st …`, addresses as hex words in the
 * byte order of the machine (little-endian on every machine we run on), ports as hex numbers.
 */
export function collect(table: string, state: string, found: Found): void {
  for (const line of table.split('\n').slice(1)) {
    const [, bound, , lineState] = line.trim().split(/\s+/, 4);
    if (bound === undefined || lineState !== state) continue;
    const [address = '', portText = ''] = bound.split(':');
    const port = Number.parseInt(portText, 16);
    if (!(port > 0)) continue;
    add(found, address.startsWith(MAPPED_PREFIX) ? address.slice(24) : address, port);
  }
}

function add(found: Found, address: string, port: number): void {
  const isFour = address.length === 8;
  const isAny4 = address === ANY4 || address === ANY6;
  const isLoopback = isFour ? address.endsWith('7F') : address === LOOPBACK6;
  if (isAny4 || (isFour && isLoopback)) found.loopback4.add(port);
  if (isAny4 || (isFour && !isLoopback)) found.own4.add(port);
  if (isFour) return;
  if (address === ANY6 || isLoopback) found.loopback6.add(port);
  if (!isLoopback) found.own6.add(port);
}

function sorted(ports: ReadonlySet<number>): number[] {
  return [...ports].sort((one, other) => one - other);
}

/** A kernel without IPv6 has no such table. */
async function readTable(name: string): Promise<string> {
  try {
    return await readFile(`/proc/self/net/${name}`, 'latin1');
  } catch {
    return '';
  }
}
