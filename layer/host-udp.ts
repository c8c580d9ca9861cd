/**
 * Datagrams of one port of the program, sent from this machine: one connected socket for each peer, so that
 * an ICMP error of that peer is told and datagrams of others aren't taken.
 *
 * The program's flow has a time limit (`netstack/`), and this ends with it; between, the oldest peer makes
 * room for a new one.
 */

import {lookup} from 'node:dns/promises';
import {EventEmitter} from 'node:events';
import {isIP} from 'node:net';
import {parseAddress} from '../sockets/address.ts';
import {DatagramSocket} from '../sockets/datagram-socket.ts';
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
/** Datagrams that wait until a name is looked up; more are dropped. */
const waitingLimit = 64;

/** A peer. Its datagrams wait until its address is known. */
interface Peer {
  readonly key: string;
  /** Its endpoint, as it was named last: whoever sends to it names it by the same object. */
  head: Uint8Array;
  socket: DatagramSocket | undefined;
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
  #last: Peer | undefined;

  constructor(candidates: Candidates, handler: StreamHandler) {
    super();
    this.#candidates = candidates;
    this.#handler = handler;
  }

  /** `head` names the peer (`emitEndpoint`). */
  sendDatagram(payload: Uint8Array, head: Uint8Array = new Uint8Array()): boolean {
    const last = this.#last;
    const peer = last?.head === head ? last : this.#peerAt(head);
    if (peer.waiting === undefined) peer.socket?.send(payload);
    else if (peer.waiting.length < waitingLimit) peer.waiting.push(Uint8Array.from(payload));
    return true;
  }

  reset(): void {
    this.destroy();
  }

  /** Closes all sockets; no handler is called afterwards. */
  destroy(): void {
    for (const {socket} of this.#peers.values()) socket?.close();
    this.#peers.clear();
    this.#last = undefined;
    this.emit('close');
  }

  // Of streams of bytes; a udp stream has none.
  write(): void {}
  end(): void {}
  consumed(): void {}

  #peerAt(head: Uint8Array): Peer {
    const key = Buffer.from(head).toString('latin1');
    const peer = this.#peers.get(key) ?? this.#addPeer(key, head);
    peer.head = head;
    this.#last = peer;
    return peer;
  }

  #addPeer(key: string, head: Uint8Array): Peer {
    this.#makeRoom();
    const to = parseEndpoint(head.slice());
    const candidates = this.#candidates(to.address);
    const peer: Peer = {key, head, socket: undefined, waiting: []};
    this.#peers.set(key, peer);
    const [first = ''] = candidates;
    if (isIP(first) !== 0) this.#connect(peer, to, first);
    else void firstAddress(candidates).then((address) => this.#connect(peer, to, address));
    return peer;
  }

  #connect(peer: Peer, to: TunnelEndpoint, text: string): void {
    const isOurs = (): boolean => this.#peers.get(peer.key) === peer;
    if (!isOurs()) return; // gone while its name was looked up
    const head = emitUdpHead(to);
    const fail = (error: NodeJS.ErrnoException): void => {
      if (isOurs()) this.#handler.onDatagram?.(emitUdpFailure(to, error.code ?? 'EHOSTUNREACH'));
    };
    const address = parseAddress(text);
    try {
      if (address === undefined) throw Object.assign(new Error(), {code: 'EHOSTUNREACH'});
      peer.socket = new DatagramSocket(address.length === 4 ? 4 : 6, {
        onDatagram: (payload) => this.#handler.onDatagram?.(Buffer.concat([head, payload])),
        onError: fail,
      });
      peer.socket.connect({address, port: to.port});
    } catch (error) {
      // Not in the call of whoever sends. The next datagram tries again.
      queueMicrotask(() => {
        fail(error as NodeJS.ErrnoException);
        this.#drop(peer);
      });
      return;
    }
    const waiting = peer.waiting ?? [];
    peer.waiting = undefined;
    for (const payload of waiting) peer.socket.send(payload);
  }

  #makeRoom(): void {
    const [oldest] = this.#peers.values();
    if (this.#peers.size >= peerLimit && oldest !== undefined) this.#drop(oldest);
  }

  #drop(peer: Peer): void {
    if (this.#peers.get(peer.key) === peer) this.#peers.delete(peer.key);
    if (this.#last === peer) this.#last = undefined;
    peer.socket?.close();
  }
}
