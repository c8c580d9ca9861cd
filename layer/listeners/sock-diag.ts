/**
 * Asks the kernel for the listening TCP sockets of a network namespace, or the UDP sockets that take datagrams
 * of anybody, by sock_diag(7). Pure.
 *
 * Of TCP only the table of listeners is walked, while /proc/net/tcp walks that of all connections of all
 * namespaces, which is hundreds of thousands of buckets on a machine with much memory.
 *
 *     nlmsghdr          u32 length, u16 type, u16 flags, u32 sequence, u32 port
 *     inet_diag_req_v2  u8 family, u8 protocol, u8 extensions, u8, u32 states, inet_diag_sockid
 *     inet_diag_msg     u8 family, u8 state, u8 timer, u8 retransmits, inet_diag_sockid, …
 *     inet_diag_sockid  be16 source port, be16 destination port, 16 bytes source address, 16 bytes
 *                       destination address, u32 interface, 2 × u32 cookie
 *
 * Numbers are in the byte order of the machine, which is little-endian wherever we run.
 */

import {type Listener, listenerAt} from './listener.ts';

const headerLength = 16;
const NLMSG_ERROR = 2;
const SOCK_DIAG_BY_FAMILY = 20;
const NLM_F_REQUEST = 0x1;
const NLM_F_DUMP = 0x300;
/** By protocol: its number, and the state of a socket that isn't connected. */
const protocols = {
  tcp: {number: 6, state: 10 /* TCP_LISTEN */},
  udp: {number: 17, state: 7 /* TCP_CLOSE */},
} as const;
const familyNumbers = {4: 2, 6: 10} as const;

/** Returns the request for the listeners of one family. */
export function emitListenersRequest(family: 4 | 6, protocol: 'tcp' | 'udp' = 'tcp'): Uint8Array {
  const {number, state} = protocols[protocol];
  const bytes = new Uint8Array(headerLength + 8 + 48);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, bytes.length, true);
  view.setUint16(4, SOCK_DIAG_BY_FAMILY, true);
  view.setUint16(6, NLM_F_REQUEST | NLM_F_DUMP, true);
  bytes[headerLength] = familyNumbers[family];
  bytes[headerLength + 1] = number;
  view.setUint32(headerLength + 4, 1 << state, true);
  return bytes;
}

/**
 * Reads the messages of an answer. Returns undefined when the kernel answers with an error: it has no
 * sock_diag for TCP, for instance.
 */
export function parseListeners(bytes: Uint8Array): Listener[] | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const listeners: Listener[] = [];
  for (let at = 0; at + headerLength <= bytes.length; ) {
    const length = view.getUint32(at, true);
    const type = view.getUint16(at + 4, true);
    if (length < headerLength || at + length > bytes.length || type === NLMSG_ERROR)
      return undefined;
    const body = at + headerLength;
    if (type === SOCK_DIAG_BY_FAMILY && length >= headerLength + 4 + 48) {
      const size = bytes[body] === familyNumbers[4] ? 4 : 16;
      const address = bytes.subarray(body + 8, body + 8 + size);
      listeners.push(listenerAt(address, view.getUint16(body + 4)));
    }
    at += (length + 3) & ~3;
  }
  return listeners;
}
