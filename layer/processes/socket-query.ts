/**
 * Asks the kernel for one socket of a network namespace by its addresses, by sock_diag(7). Pure.
 *
 * Theory of operation. A query without NLM_F_DUMP is answered from the very tables that packets are
 * delivered by: for TCP the table of connections, where a socket is from its SYN on, for UDP whoever would
 * get a datagram from the destination, connected or not, and of either family where an IPv6 socket takes
 * IPv4. Its cost doesn't depend on how many sockets there are. The query asks for an acknowledgement, which
 * ends the answer as the last message of a dump does.
 *
 *     inet_diag_msg     u8 family, u8 state, u8 timer, u8 retransmits, inet_diag_sockid, u32 expires,
 *                       u32 receive queue, u32 send queue, u32 uid, u32 inode
 *
 * The other structures are told in `listeners/sock-diag.ts`.
 */

import type {Endpoint} from '../../netstack/types.ts';

const headerLength = 16;
const queryLength = headerLength + 8 + 48;
const answerLength = 4 + 48 + 5 * 4;
const SOCK_DIAG_BY_FAMILY = 20;
const NLM_F_REQUEST = 0x1;
const NLM_F_ACK = 0x4;
const AF_INET = 2;
const AF_INET6 = 10;
const protocolNumbers = {tcp: 6, udp: 17} as const;
/** Linux include/net/tcp_states.h */
const TCP_LISTEN = 10;

/** What is asked about: a flow, seen from the program. */
export type SocketKind = keyof typeof protocolNumbers;

/** A socket that the kernel has named. */
export interface Socket {
  /** Its number in sockfs, as in the link `socket:[INODE]` of /proc/PID/fd. */
  readonly inode: number;
  /** No connection: the listener that would get one. */
  readonly isListener: boolean;
}

/** Returns the query for the socket at `local` whose peer is `peer`, both of one family. */
export function emitSocketQuery(kind: SocketKind, local: Endpoint, peer: Endpoint): Uint8Array {
  const bytes = new Uint8Array(queryLength);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, bytes.length, true);
  view.setUint16(4, SOCK_DIAG_BY_FAMILY, true);
  view.setUint16(6, NLM_F_REQUEST | NLM_F_ACK, true);
  bytes[headerLength] = local.address.length === 4 ? AF_INET : AF_INET6;
  bytes[headerLength + 1] = protocolNumbers[kind];
  const id = headerLength + 8;
  // The kernel takes the two the other way round for UDP, "for historical reasons" (net/ipv4/udp_diag.c).
  const [first, second] = kind === 'tcp' ? [local, peer] : [peer, local];
  view.setUint16(id, first.port);
  view.setUint16(id + 2, second.port);
  bytes.set(first.address, id + 4);
  bytes.set(second.address, id + 20);
  bytes.fill(0xff, id + 40); // INET_DIAG_NOCOOKIE
  return bytes;
}

/** Reads the answer. Returns undefined when there is no such socket, or none that a process holds. */
export function parseSocketAnswer(bytes: Uint8Array): Socket | undefined {
  if (bytes.length < headerLength + answerLength) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (view.getUint16(4, true) !== SOCK_DIAG_BY_FAMILY) return undefined;
  if (view.getUint32(0, true) < headerLength + answerLength) return undefined;
  const inode = view.getUint32(headerLength + answerLength - 4, true);
  if (inode === 0) return undefined; // closed by all, though the kernel isn't done with it
  return {inode, isListener: bytes[headerLength + 1] === TCP_LISTEN};
}
