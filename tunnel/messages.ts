/**
 * What is inside OPEN, OPENED and DATAGRAM, by kind of stream.
 *
 *     endpoint        uint8 family (4 or 6), address (4 or 16 bytes), uint16 port
 *
 *     tcp   OPEN      endpoint of the destination
 *           OPENED    endpoint of the agent's socket
 *     tcp   opened by the agent: a connection of the target, for a client's program
 *           OPEN      uint32 subscription, endpoint of the peer, endpoint that it connected to
 *           OPENED    nothing
 *     udp   OPEN      uint8 family
 *           to agent  endpoint of the destination, payload
 *           to layer  uint8 0, endpoint of the sender, payload
 *                     uint8 1, endpoint of the destination, uint16 mtu or 0, errno
 *     echo  OPEN      uint8 family
 *           to agent  address, uint16 id, uint16 seq, payload
 *           to layer  address of who answers, uint16 id, uint16 seq, uint8 ttl or 0, payload
 *     unix  OPEN      uint8 type (1 stream, 2 seqpacket), name: UTF-8, a path or, after a zero byte, an
 *                     abstract name
 *           OPENED    nothing
 *           seqpacket: records, each after its length as uint32; 0xffffffff instead says that the sender has
 *           shut its direction down, without which an end means that the connection broke
 *     call  OPEN      MessagePack {method, params}       (calls.ts)
 *
 * Numbers are big-endian. Every `parse` throws ProtocolError BODY_MALFORMED; addresses and payloads
 * that it returns are views of its input.
 */

import {ProtocolError} from './errors.ts';
import {parseErrno, readUint16, readUint32, writeUint16, writeUint32} from './frames.ts';
import type {ErrnoName} from './types.ts';

/** An address family, as a number on the wire. */
export type Family = 4 | 6;

/** An address in network byte order (4 or 16 bytes) and a port. */
export interface TunnelEndpoint {
  readonly address: Uint8Array;
  readonly port: number;
}

/** A connection of the target that is for a client's program, or whose copy is. */
export interface IncomingConnection {
  /** By which it is meant: `InterceptParams.id`. */
  readonly subscription: number;
  /** The true client. */
  readonly peer: TunnelEndpoint;
  /** Where it connected to. */
  readonly local: TunnelEndpoint;
}

/** What kind of unix socket. */
export type UnixType = 'stream' | 'seqpacket';

/** A unix socket of the pod. */
export interface UnixSocket {
  readonly type: UnixType;
  /** A path, or an abstract name with its zero byte in front. */
  readonly name: string;
}

/** What the agent says on a udp stream. */
export type UdpReport =
  | {readonly type: 'datagram'; readonly from: TunnelEndpoint; readonly payload: Uint8Array}
  | {
      readonly type: 'failure';
      readonly to: TunnelEndpoint;
      readonly errno: ErrnoName;
      /** With EMSGSIZE, where known. */
      readonly mtu: number | undefined;
    };

/** An echo request, or its reply: then `address` is who answers. */
export interface EchoMessage {
  readonly address: Uint8Array;
  readonly id: number;
  readonly seq: number;
  readonly payload: Uint8Array;
}

/** `ttl`: as it arrived at the pod; undefined where the kernel does not tell. */
export interface EchoReply extends EchoMessage {
  readonly ttl: number | undefined;
}

const UNIX_TYPES: readonly (UnixType | undefined)[] = [undefined, 'stream', 'seqpacket'];
/** "Linux include/uapi/linux/un.h: UNIX_PATH_MAX". */
const UNIX_NAME_BYTES = 108;

const REPORT = {datagram: 0, failure: 1} as const;

/** Returns the length of an address of a family, in bytes. */
export function addressBytes(family: Family): number {
  return family === 4 ? 4 : 16;
}

/** Returns a new body of one endpoint; also the head of a udp datagram to the agent. */
export function emitEndpoint({address, port}: TunnelEndpoint): Uint8Array {
  const bytes = new Uint8Array(3 + address.length);
  writeEndpoint(bytes, 0, {address, port});
  return bytes;
}

/** Reads a body of exactly one endpoint. */
export function parseEndpoint(bytes: Uint8Array): TunnelEndpoint {
  const {endpoint, end} = readEndpoint(bytes, 0);
  if (end !== bytes.length) throw new ProtocolError('BODY_MALFORMED');
  return endpoint;
}

/** Returns the body of an OPEN of tcp by the agent. */
export function emitIncoming({subscription, peer, local}: IncomingConnection): Uint8Array {
  const from = emitEndpoint(peer);
  const to = emitEndpoint(local);
  const bytes = new Uint8Array(4 + from.length + to.length);
  writeUint32(bytes, 0, subscription);
  bytes.set(from, 4);
  bytes.set(to, 4 + from.length);
  return bytes;
}

/** Reads the body of an OPEN of tcp by the agent. */
export function parseIncoming(bytes: Uint8Array): IncomingConnection {
  const from = readEndpoint(bytes, 4);
  const to = readEndpoint(bytes, from.end);
  if (to.end !== bytes.length) throw new ProtocolError('BODY_MALFORMED');
  return {subscription: readUint32(bytes, 0), peer: from.endpoint, local: to.endpoint};
}

/** Returns the body of an OPEN of udp or echo. */
export function emitFamily(family: Family): Uint8Array {
  return new Uint8Array([family]);
}

/** Reads the body of an OPEN of udp or echo. */
export function parseFamily(bytes: Uint8Array): Family {
  const family = bytes[0];
  if (bytes.length !== 1 || (family !== 4 && family !== 6)) {
    throw new ProtocolError('BODY_MALFORMED');
  }
  return family;
}

/** Returns the body of an OPEN of unix. Throws RangeError when the name is longer than the kernel takes. */
export function emitUnix({type, name}: UnixSocket): Uint8Array {
  const bytes = new TextEncoder().encode(`\0${name}`);
  if (bytes.length > 1 + UNIX_NAME_BYTES)
    throw new RangeError('the name of the socket is too long');
  bytes[0] = UNIX_TYPES.indexOf(type);
  return bytes;
}

/** Reads the body of an OPEN of unix. */
export function parseUnix(bytes: Uint8Array): UnixSocket {
  const type = UNIX_TYPES[bytes[0] ?? 0];
  if (type === undefined || bytes.length < 2 || bytes.length > 1 + UNIX_NAME_BYTES) {
    throw new ProtocolError('BODY_MALFORMED');
  }
  try {
    return {type, name: new TextDecoder('utf-8', {fatal: true}).decode(bytes.subarray(1))};
  } catch {
    throw new ProtocolError('BODY_MALFORMED');
  }
}

/** Reads a datagram for the agent. */
export function parseUdpSend(bytes: Uint8Array): {to: TunnelEndpoint; payload: Uint8Array} {
  const {endpoint, end} = readEndpoint(bytes, 0);
  return {to: endpoint, payload: bytes.subarray(end)};
}

/** Returns what goes in front of the payload of a datagram from `from` to the layer. */
export function emitUdpHead(from: TunnelEndpoint): Uint8Array {
  const bytes = new Uint8Array(4 + from.address.length);
  bytes[0] = REPORT.datagram;
  writeEndpoint(bytes, 1, from);
  return bytes;
}

/** Returns a failure of the datagrams to `to`. */
export function emitUdpFailure(to: TunnelEndpoint, errno: ErrnoName, mtu = 0): Uint8Array {
  const end = 4 + to.address.length;
  const bytes = new Uint8Array(end + 2 + errno.length);
  bytes[0] = REPORT.failure;
  writeEndpoint(bytes, 1, to);
  writeUint16(bytes, end, mtu);
  for (let index = 0; index < errno.length; index++) {
    bytes[end + 2 + index] = errno.charCodeAt(index);
  }
  return bytes;
}

/** Reads a datagram for the layer. */
export function parseUdpReport(bytes: Uint8Array): UdpReport {
  const {endpoint, end} = readEndpoint(bytes, 1);
  if (bytes[0] === REPORT.datagram) {
    return {type: 'datagram', from: endpoint, payload: bytes.subarray(end)};
  }
  if (bytes[0] !== REPORT.failure || bytes.length < end + 4) {
    throw new ProtocolError('BODY_MALFORMED');
  }
  const mtu = readUint16(bytes, end);
  const errno = parseErrno(bytes, end + 2, bytes.length);
  return {type: 'failure', to: endpoint, errno, mtu: mtu === 0 ? undefined : mtu};
}

/** Returns what goes in front of the payload of an echo request. */
export function emitEchoHead({address, id, seq}: Omit<EchoMessage, 'payload'>): Uint8Array {
  const bytes = new Uint8Array(address.length + 4);
  bytes.set(address);
  writeUint16(bytes, address.length, id);
  writeUint16(bytes, address.length + 2, seq);
  return bytes;
}

/** Reads an echo request. */
export function parseEcho(bytes: Uint8Array, family: Family): EchoMessage {
  const end = addressBytes(family);
  if (bytes.length < end + 4) throw new ProtocolError('BODY_MALFORMED');
  return {
    address: bytes.subarray(0, end),
    id: readUint16(bytes, end),
    seq: readUint16(bytes, end + 2),
    payload: bytes.subarray(end + 4),
  };
}

/** Returns what goes in front of the payload of an echo reply. */
export function emitEchoReplyHead(reply: Omit<EchoReply, 'payload'>): Uint8Array {
  const head = emitEchoHead(reply);
  const bytes = new Uint8Array(head.length + 1);
  bytes.set(head);
  bytes[head.length] = reply.ttl ?? 0;
  return bytes;
}

/** Reads an echo reply. */
export function parseEchoReply(bytes: Uint8Array, family: Family): EchoReply {
  const {address, id, seq, payload} = parseEcho(bytes, family);
  const ttl = payload[0];
  if (ttl === undefined) throw new ProtocolError('BODY_MALFORMED');
  return {address, id, seq, ttl: ttl === 0 ? undefined : ttl, payload: payload.subarray(1)};
}

function writeEndpoint(bytes: Uint8Array, offset: number, endpoint: TunnelEndpoint): void {
  const {address, port} = endpoint;
  if (address.length !== 4 && address.length !== 16) throw new RangeError('not an IP address');
  bytes[offset] = address.length === 4 ? 4 : 6;
  bytes.set(address, offset + 1);
  writeUint16(bytes, offset + 1 + address.length, port);
}

function readEndpoint(bytes: Uint8Array, offset: number): {endpoint: TunnelEndpoint; end: number} {
  const family = bytes[offset];
  if (family !== 4 && family !== 6) throw new ProtocolError('BODY_MALFORMED');
  const portAt = offset + 1 + addressBytes(family);
  if (bytes.length < portAt + 2) throw new ProtocolError('BODY_MALFORMED');
  const address = bytes.subarray(offset + 1, portAt);
  return {endpoint: {address, port: readUint16(bytes, portAt)}, end: portAt + 2};
}
