/**
 * Connections that the redirecting rules let pass, who is at the other end of a unix socket, which sockets there are, where
 * connections are led, whose an address is, and copies of packets: what Node can't do (layer/native/redirected.c,
 * socket-diagnostics.c, connection-tracking.c, own-address.c, capture.c). The only file that loads it.
 */

import {createRequire} from 'node:module';
import {machine} from 'node:os';
import {getSystemErrorName} from 'node:util';
import {lendEndpoint, packEndpoint, unpackEndpoint} from '../sockets/address.ts';
import type {TunnelEndpoint} from '../tunnel/messages.ts';

declare const captureBrand: unique symbol;
interface CaptureHandle {
  readonly [captureBrand]: true;
}

interface Addon {
  connectMarked(endpoint: Uint8Array, mark: number, source: Uint8Array): number;
  peerUser(fd: number): number;
  listening(isV6: number, protocol: number, state: number, endpoints: Uint8Array): number;
  connections(
    isV6: number,
    localPort: number,
    peerPort: number,
    states: number,
    records: Uint8Array,
  ): number;
  connection(isV6: number, id: Uint8Array, record: Uint8Array): number;
  destroyConnection(isV6: number, id: Uint8Array): number;
  destination(from: Uint8Array, to: Uint8Array, endpoint: Uint8Array): number;
  isOwnAddress(address: Uint8Array): number;
  openCapture(
    program: Uint8Array,
    notes: Uint8Array,
    callback: (count: number) => void,
  ): [CaptureHandle, ArrayBuffer] | number;
  filterCapture(handle: CaptureHandle, program: Uint8Array): number;
  captureLosses(handle: CaptureHandle, losses: Uint8Array): number;
  closeCapture(handle: CaptureHandle): number;
}

let loaded: Addon | undefined;

function addon(): Addon {
  const path = `../build/linux-${machine()}/redirected.node`;
  loaded ??= createRequire(import.meta.url)(path) as Addon;
  return loaded;
}

/** Throws an error with `code`, as Node's own, for a negative errno. */
function checked(syscall: string, result: number): number {
  if (result >= 0) return result;
  const code = getSystemErrorName(result);
  throw Object.assign(new Error(`${syscall}: ${code}`), {code, syscall});
}

/** Throws where the addon is missing, or is for another machine. */
export function loadNative(): void {
  addon();
}

const NO_SOURCE = new Uint8Array(0);

/**
 * Starts a connection whose packets have the mark; 0: none. `source`: the address of this machine's that it comes from,
 * else the kernel's choice. Returns its descriptor, the caller's to close. Throws what connect(2) fails with at once,
 * on loopback ECONNREFUSED too; EADDRNOTAVAIL for a source that is not here; EPERM without NET_ADMIN.
 */
export function connectMarked(to: TunnelEndpoint, mark: number, source?: Uint8Array): number {
  const from = source === undefined ? NO_SOURCE : lendEndpoint(source, 0, 1);
  return checked('connect', addon().connectMarked(lendEndpoint(to.address, to.port), mark, from));
}

/** The user at the other end of a connected unix socket when it connected, or listened, as this user namespace has it. */
export function peerUser(fd: number): number {
  return checked('getsockopt', addon().peerUser(fd));
}

/** Endpoints that are read at a time: 3,640 of IPv6. */
const endpointBytes = new Uint8Array(65_536);

/** By protocol: its number, and the state of a socket that takes what anybody sends (Linux include/net/tcp_states.h). */
const waiting = {tcp: {number: 6, state: 10}, udp: {number: 17, state: 7}} as const;

/**
 * The listening TCP sockets of this network namespace, or the UDP sockets that are not connected. Throws ENOENT where
 * the kernel has no sock_diag, EMSGSIZE where they are too many, or an Error without the addon.
 */
export function listeningSockets(family: 4 | 6, protocol: 'tcp' | 'udp'): TunnelEndpoint[] {
  const {number, state} = waiting[protocol];
  const isV6 = family === 6 ? 1 : 0;
  const length = checked('netlink', addon().listening(isV6, number, state, endpointBytes));
  const size = 2 + (family === 6 ? 16 : 4);
  const found: TunnelEndpoint[] = [];
  for (let at = 0; at + size <= length; at += size) {
    const port = ((endpointBytes[at] ?? 0) << 8) | (endpointBytes[at + 1] ?? 0);
    found.push({address: endpointBytes.slice(at + 2, at + size), port});
  }
  return found;
}

/** A TCP connection of this network namespace, whoever's it is. */
export interface Connection {
  readonly family: 4 | 6;
  readonly local: TunnelEndpoint;
  readonly peer: TunnelEndpoint;
  /** SO_MARK; 0 where we have no NET_ADMIN. */
  readonly mark: number;
  /** IP_TRANSPARENT: of a proxy that speaks with its client under an address that may not be its own. */
  readonly isTransparent: boolean;
  /** The kernel's name for it. */
  readonly id: Uint8Array;
}

/** Connections of a family that are read at a time: 18,724. */
const CONNECTION_BYTES = 1 << 20;
const RECORD_BYTES = 56;
const ID_BYTES = 48;

/**
 * "Linux include/net/tcp_states.h", as bits: ESTABLISHED; all but TIME_WAIT, CLOSE and LISTEN; FIN_WAIT1, LAST_ACK and
 * CLOSING, in which the other end has not got all; LISTEN, which has no other end.
 */
const states = {
  established: 1 << 1,
  open: 0b1011_0011_1110,
  sending: 0b1010_0001_0000,
  listening: 1 << 10,
} as const;
/** "Linux include/net/tcp_states.h". */
const TIME_WAIT = 6;
const LISTEN = 10;

/**
 * The TCP connections of a port, of those who have it as their own or of those who connected to it. Throws ENOENT
 * where the kernel has no sock_diag, EMSGSIZE where they are too many, or an Error without the addon.
 */
export function connections(
  family: 4 | 6,
  {localPort = 0, peerPort = 0}: {localPort?: number; peerPort?: number},
  state: keyof typeof states,
): Connection[] {
  const records = new Uint8Array(CONNECTION_BYTES);
  const isV6 = family === 6 ? 1 : 0;
  const length = checked(
    'netlink',
    addon().connections(isV6, localPort, peerPort, states[state], records),
  );
  const found: Connection[] = [];
  const view = new DataView(records.buffer);
  const size = family === 6 ? 16 : 4;
  for (let at = 0; at + RECORD_BYTES <= length; at += RECORD_BYTES) {
    found.push({
      family,
      local: {address: records.slice(at + 4, at + 4 + size), port: view.getUint16(at)},
      peer: {address: records.slice(at + 20, at + 20 + size), port: view.getUint16(at + 2)},
      mark: view.getUint32(at + ID_BYTES),
      isTransparent: records[at + ID_BYTES + 4] === 1,
      id: records.slice(at, at + ID_BYTES),
    });
  }
  return found;
}

/** The socket of a connection. */
export interface ConnectionSocket {
  /** IP_TRANSPARENT; not known of one that is over. */
  readonly isTransparent: boolean;
  /** Its port is kept, and nothing else (TIME_WAIT). */
  readonly isOver: boolean;
}

/** "Linux include/uapi/asm-generic/errno-base.h", as the addon says it. */
const ENOENT = -2;

const connectionId = new Uint8Array(ID_BYTES);
const connectionRecord = new Uint8Array(RECORD_BYTES);

/**
 * The socket of this network namespace that has the TCP connection with these ends, whoever's it is; undefined: there is none, or
 * not any more, or the kernel has no sock_diag. Throws an Error without the addon.
 */
export function socketOfConnection(
  local: TunnelEndpoint,
  peer: TunnelEndpoint,
): ConnectionSocket | undefined {
  const family = local.address.length === 16 ? 6 : 4;
  const view = new DataView(connectionId.buffer);
  connectionId.fill(0);
  view.setUint16(0, local.port);
  view.setUint16(2, peer.port);
  connectionId.set(local.address, 4);
  connectionId.set(peer.address, 20);
  const result = addon().connection(family === 6 ? 1 : 0, connectionId, connectionRecord);
  if (result === ENOENT) return undefined;
  checked('netlink', result);
  const [isTransparent, state] = connectionRecord.subarray(ID_BYTES + 4);
  if (state === LISTEN) return undefined; // what is there for connections to come
  return {isTransparent: isTransparent === 1, isOver: state === TIME_WAIT};
}

/**
 * Where the connection tracking of the kernel leads the TCP connection from `peer` to `local`: there, or elsewhere by a rule of NAT;
 * undefined: it is not tracked. Throws EPERM without NET_ADMIN, or what else the kernel says where it can't tell.
 */
export function trackedDestination(
  peer: TunnelEndpoint,
  local: TunnelEndpoint,
): TunnelEndpoint | undefined {
  const found = new Uint8Array(18);
  const result = addon().destination(packEndpoint(peer), packEndpoint(local), found);
  if (result === ENOENT) return undefined;
  return unpackEndpoint(found.subarray(0, checked('netlink', result)));
}

/**
 * Whether an address, of 4 or 16 bytes, is one of this network namespace's: what is sent there stays here. False, too, where the
 * kernel does not say, since there is no descriptor or no memory for the question: no connection is to break for that.
 */
export function isOwnAddress(address: Uint8Array): boolean {
  return addon().isOwnAddress(address) === 1;
}

/**
 * Resets a connection, whoever's it is: its owner meets ECONNABORTED. Throws ENOENT when it is over, EPERM without
 * NET_ADMIN, ENOTSUP where the kernel can't (it was built without CONFIG_INET_DIAG_DESTROY).
 */
export function destroyConnection({family, id}: Connection): void {
  checked('netlink', addon().destroyConnection(family === 6 ? 1 : 0, id));
}

/** Notes that a capture is told of at a time, and the words of each: layer/native/capture.c. */
const NOTES = 512;
const NOTE_WORDS = 4;

/** A packet that was captured. */
export interface CapturedPacket {
  /** Of its network header, in the ring. */
  readonly offset: number;
  /** From that on; what was cut off is not counted. */
  readonly length: number;
  readonly isWhole: boolean;
  /** It leaves the pod, or goes to somebody in it. */
  readonly isOutgoing: boolean;
  /** It is on `lo`. */
  readonly isLoopback: boolean;
}

/** "OUTGOING" and "LOOPBACK" of layer/native/capture.c. */
const OUTGOING = 1;
const LOOPBACK = 2;

/** Copies of the packets of this network namespace that a program of classic BPF lets through. */
export class PacketCapture {
  readonly #handle: CaptureHandle;
  readonly #notes = new Uint32Array(NOTES * NOTE_WORDS);
  readonly #losses = new Float64Array(2);
  /** Where packets are, until the callback returns. */
  readonly ring: Uint8Array;

  /**
   * `onPacket` is called for each, `onBatch` before some. Throws EPERM without NET_RAW, or what else the kernel says where
   * it can't.
   */
  constructor(
    program: Uint8Array,
    {onBatch, onPacket}: {onBatch(): void; onPacket(packet: CapturedPacket): void},
  ) {
    const notes = this.#notes;
    const packet = {offset: 0, length: 0, isWhole: false, isOutgoing: false, isLoopback: false};
    const opened = addon().openCapture(program, bytesOf(notes), (count) => {
      onBatch();
      for (let at = 0; at < count * NOTE_WORDS; at += NOTE_WORDS) {
        packet.offset = notes[at] ?? 0;
        packet.length = notes[at + 1] ?? 0;
        packet.isWhole = packet.length === notes[at + 2];
        const way = notes[at + 3] ?? 0;
        packet.isOutgoing = (way & OUTGOING) !== 0;
        packet.isLoopback = (way & LOOPBACK) !== 0;
        onPacket(packet);
      }
    });
    if (typeof opened === 'number') {
      checked('socket', opened);
      throw new Error('no capture');
    }
    const [handle, ring] = opened;
    this.#handle = handle;
    this.ring = new Uint8Array(ring);
  }

  /** Lets others through. Throws EINVAL for a program that the kernel does not take. */
  filter(program: Uint8Array): void {
    checked('setsockopt', addon().filterCapture(this.#handle, program));
  }

  /** Packets that found no room since the last call, and those with a wrong checksum since the first. */
  losses(): {readonly dropped: number; readonly broken: number} {
    checked('getsockopt', addon().captureLosses(this.#handle, bytesOf(this.#losses)));
    const [dropped = 0, broken = 0] = this.#losses;
    return {dropped, broken};
  }

  /** Once only; the ring is empty then. */
  close(): void {
    checked('close', addon().closeCapture(this.#handle));
  }
}

function bytesOf({buffer}: Uint32Array | Float64Array): Uint8Array {
  return new Uint8Array(buffer);
}
