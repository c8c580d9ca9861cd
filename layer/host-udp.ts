/**
 * Datagrams of one port of the program, sent from this machine: one connected socket for each peer, so that
 * an ICMP error of that peer is told and datagrams of others aren't taken.
 *
 * The program's flow has a time limit (`netstack/`), and this ends with it; between, the oldest peer makes
 * room for a new one.
 */

import {createSocket, type Socket} from 'node:dgram';
import {lookup} from 'node:dns/promises';
import {EventEmitter} from 'node:events';
import {isIP, isIPv6} from 'node:net';
import {
  emitUdpFailure,
  emitUdpHead,
  parseEndpoint,
  type TunnelEndpoint,
} from '../tunnel/messages.ts';
import type {StreamHandler} from '../tunnel/types.ts';
import type {Candidates} from './host-dialer.ts';
import type {OutgoingStream} from './streams.ts';

/** Peers of one port at a time. */
const peerLimit = 64;
/** Datagrams that wait for their socket, which takes a turn of the loop; more are dropped. */
const waitingLimit = 64;

/** A peer. Its datagrams wait until its socket is connected, which is made once the address is known. */
interface Peer {
  socket: Socket | undefined;
  waiting: Uint8Array[] | undefined;
}

/** The first of the candidates that is an address, or resolves to one. */
async function firstAddress(candidates: readonly string[]): Promise<string> {
  for (const candidate of candidates) {
    if (isIP(candidate) !== 0) return candidate;
    const found = await lookup(candidate).catch(() => undefined);
    if (found !== undefined) return found.address;
  }
  return candidates.at(-1) ?? '';
}

/** A stream of kind `udp`. Emits `close` when it is over. */
export class HostUdp extends EventEmitter<{close: []}> implements OutgoingStream {
  readonly writable = 0;
  readonly #candidates: Candidates;
  readonly #handler: StreamHandler;
  readonly #peers = new Map<string, Peer>();

  constructor(candidates: Candidates, handler: StreamHandler) {
    super();
    this.#candidates = candidates;
    this.#handler = handler;
  }

  /** `head` names the peer (`emitEndpoint`). */
  sendDatagram(payload: Uint8Array, head: Uint8Array = new Uint8Array()): void {
    const key = Buffer.from(head).toString('latin1');
    const peer = this.#peers.get(key) ?? this.#addPeer(key, parseEndpoint(head.slice()));
    if (peer.waiting === undefined) peer.socket?.send(Uint8Array.from(payload));
    else if (peer.waiting.length < waitingLimit) peer.waiting.push(Uint8Array.from(payload));
  }

  reset(): void {
    this.destroy();
  }

  /** Closes all sockets; no handler is called afterwards. */
  destroy(): void {
    for (const {socket} of this.#peers.values()) socket?.close();
    this.#peers.clear();
    this.emit('close');
  }

  // Of streams of bytes; a udp stream has none.
  write(): void {}
  end(): void {}
  consumed(): void {}

  #addPeer(key: string, to: TunnelEndpoint): Peer {
    this.#makeRoom();
    const candidates = this.#candidates(to.address);
    const peer: Peer = {socket: undefined, waiting: []};
    this.#peers.set(key, peer);
    const [first = ''] = candidates;
    if (isIP(first) !== 0) this.#connect(key, peer, to, first);
    else void firstAddress(candidates).then((address) => this.#connect(key, peer, to, address));
    return peer;
  }

  #connect(key: string, peer: Peer, to: TunnelEndpoint, address: string): void {
    const isOurs = (): boolean => this.#peers.get(key) === peer;
    if (!isOurs()) return; // gone while its name was looked up
    const socket = createSocket(isIPv6(address) ? 'udp6' : 'udp4');
    peer.socket = socket;
    const head = emitUdpHead(to);
    socket.on('message', (payload) => {
      if (isOurs()) this.#handler.onDatagram?.(Buffer.concat([head, payload]));
    });
    socket.on('error', (error: NodeJS.ErrnoException) => {
      if (isOurs()) this.#handler.onDatagram?.(emitUdpFailure(to, error.code ?? 'EHOSTUNREACH'));
    });
    socket.once('connect', () => {
      if (!isOurs()) return;
      for (const payload of peer.waiting ?? []) socket.send(payload);
      peer.waiting = undefined;
    });
    socket.connect(to.port, address);
  }

  #makeRoom(): void {
    if (this.#peers.size < peerLimit) return;
    const [oldest] = this.#peers;
    if (oldest === undefined) return;
    this.#peers.delete(oldest[0]);
    oldest[1].socket?.close();
  }
}
