/**
 * A udp stream: all datagrams of one port of the app, from one port of the pod.
 *
 * Theory of operation. Two wishes that one socket cannot grant: replies may come from any address
 * (STUN, TFTP, a load balancer that answers from another port), and an ICMP error must reach the
 * app as the errno it would have got, which the kernel only tells to *connected* sockets. So there
 * is one unconnected socket, and for each destination a connected one that shares its port by
 * SO_REUSEADDR. The kernel hands a datagram to the socket that fits best, and every socket here
 * treats what it receives alike (platform test: udp-reuse-connected).
 *
 * At most 64 destinations have a connected socket, the least recently used makes room; one that
 * cannot be connected is served by the unconnected socket.
 */

import {packEndpoint} from '../../sockets/address.ts';
import {DatagramSocket} from '../../sockets/datagram-socket.ts';
import {
  addressBytes,
  emitUdpFailure,
  emitUdpHead,
  type Family,
  parseFamily,
  parseUdpSend,
  type TunnelEndpoint,
} from '../../tunnel/messages.ts';
import type {MuxStream} from '../../tunnel/types.ts';
import {errnoOf} from '../errno.ts';

const CONNECTED_SOCKETS = 64;
/** Ports that are found taken by another mapping, before it is given up. */
const PORT_ATTEMPTS = 64;

/** A destination. */
interface Peer {
  readonly key: string;
  readonly endpoint: TunnelEndpoint;
  /** The same, as datagrams to it begin. */
  readonly head: Uint8Array;
  /** The same, for the socket that is not connected. */
  readonly packed: Uint8Array;
  socket: DatagramSocket | undefined;
}

/** Ports of the pod that the agent itself uses: they are not the target's. */
export type OwnPorts = Set<number>;

/**
 * Accepts the stream and relays its datagrams until it ends. Calls `onClosed` once. Throws
 * ProtocolError BODY_MALFORMED.
 */
export function dialUdp(
  stream: MuxStream,
  body: Uint8Array,
  {ownPorts, onClosed}: {readonly ownPorts: OwnPorts; readonly onClosed: () => void},
): void {
  const family = parseFamily(body);
  try {
    const mapping = new UdpMapping(stream, {family, ownPorts, onClosed});
    stream.accept(new Uint8Array(0));
    mapping.start();
  } catch (error) {
    stream.refuse(errnoOf(error));
    onClosed();
  }
}

class UdpMapping {
  readonly #stream: MuxStream;
  readonly #family: Family;
  readonly #ownPorts: OwnPorts;
  readonly #onClosed: () => void;
  readonly #any: Uint8Array;
  readonly #port: number;
  readonly #socket: DatagramSocket;
  /** In the order of their last use. */
  readonly #peers = new Map<string, Peer>();
  /** Where the last datagram went, and where one came from that no connected socket stands for. */
  #last: Peer | undefined;
  #sender: Uint8Array = new Uint8Array(0);
  #senderHead: Uint8Array = new Uint8Array(0);
  #isClosed = false;

  /** Throws what the kernel says against the sockets. */
  constructor(
    stream: MuxStream,
    options: {
      readonly family: Family;
      readonly ownPorts: OwnPorts;
      readonly onClosed: () => void;
    },
  ) {
    this.#stream = stream;
    this.#family = options.family;
    this.#ownPorts = options.ownPorts;
    this.#onClosed = options.onClosed;
    this.#any = new Uint8Array(addressBytes(options.family));
    this.#port = this.#freePort();
    this.#socket = this.#newSocket(undefined);
    this.#ownPorts.add(this.#port);
  }

  start(): void {
    this.#stream.handler = {
      onDatagram: (payload) => this.#onDatagram(payload),
      onEnd: () => this.#finish(() => this.#stream.end()),
      onReset: () => this.#finish(() => {}),
    };
  }

  /**
   * A port that nobody has, as a socket of its own tells: one that shares its port may get one that others share too,
   * the target's or another mapping's, and with it their datagrams.
   */
  #freePort(): number {
    for (let attempt = 0; attempt < PORT_ATTEMPTS; attempt++) {
      const probe = new DatagramSocket(this.#family, {onDatagram() {}, onError() {}});
      try {
        probe.bind({address: this.#any, port: 0});
        if (!this.#ownPorts.has(probe.port)) return probe.port;
      } finally {
        probe.close();
      }
    }
    throw Object.assign(new Error('no port is free'), {code: 'EADDRINUSE'});
  }

  // ---- from the layer ----

  #onDatagram(bytes: Uint8Array): void {
    const peer = this.#peerOf(bytes);
    if (peer === undefined) return;
    const payload = bytes.subarray(peer.head.length);
    if (peer.socket === undefined) this.#socket.send(payload, peer.packed);
    else peer.socket.send(payload);
  }

  /** Most datagrams go where the one before went. */
  #peerOf(bytes: Uint8Array): Peer | undefined {
    const last = this.#last;
    if (last !== undefined && startsWith(bytes, last.head)) return last;
    this.#last = this.#peerFor(bytes);
    return this.#last;
  }

  #peerFor(bytes: Uint8Array): Peer | undefined {
    const {to} = parseUdpSend(bytes);
    if (to.port === 0 || to.address.length !== this.#any.length) return undefined;
    const head = bytes.slice(0, 3 + to.address.length);
    const key = String.fromCharCode(...head);
    const known = this.#peers.get(key);
    if (known !== undefined) {
      this.#peers.delete(key);
      this.#peers.set(key, known);
      return known;
    }
    const endpoint = {address: new Uint8Array(to.address), port: to.port};
    const peer: Peer = {key, endpoint, head, packed: packEndpoint(endpoint), socket: undefined};
    this.#peers.set(key, peer);
    if (this.#peers.size > CONNECTED_SOCKETS) this.#evict();
    this.#connect(peer);
    return peer;
  }

  #evict(): void {
    const [oldest] = this.#peers.values();
    if (oldest === undefined) return;
    this.#peers.delete(oldest.key);
    this.#drop(oldest);
  }

  /** Gives it a socket of its own, unless the kernel is against it. */
  #connect(peer: Peer): void {
    try {
      peer.socket = this.#newSocket(peer);
      peer.socket.connect(peer.endpoint);
    } catch {
      this.#drop(peer);
    }
  }

  #drop(peer: Peer): void {
    peer.socket?.close();
    peer.socket = undefined;
  }

  // ---- from the pod's network ----

  /** Throws what the kernel says. */
  #newSocket(peer: Peer | undefined): DatagramSocket {
    const known = peer && emitUdpHead(peer.endpoint);
    const socket = new DatagramSocket(
      this.#family,
      {
        onDatagram: (payload, from) =>
          this.#stream.sendDatagram(payload, known ?? this.#headOf(from)),
        onError: (error, to) => this.#fail(peer ?? this.#peerAt(to), error),
      },
      {isShared: true},
    );
    try {
      socket.bind({address: this.#any, port: this.#port});
    } catch (error) {
      socket.close();
      throw error;
    }
    return socket;
  }

  #headOf(from: Uint8Array): Uint8Array {
    if (from.length !== this.#sender.length || !startsWith(from, this.#sender)) {
      this.#sender = from.slice();
      const port = ((from[0] ?? 0) << 8) | (from[1] ?? 0);
      this.#senderHead = emitUdpHead({address: this.#sender.subarray(2), port});
    }
    return this.#senderHead;
  }

  /** The socket that is not connected hears of no ICMP error, but of what the kernel refuses at once. */
  #peerAt(to: Uint8Array | undefined): Peer | undefined {
    for (const peer of this.#peers.values()) if (peer.packed === to) return peer;
    return undefined;
  }

  #fail(peer: Peer | undefined, error: Error): void {
    if (this.#isClosed || peer === undefined) return;
    this.#stream.sendDatagram(emitUdpFailure(peer.endpoint, errnoOf(error)));
  }

  #finish(leave: () => void): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#ownPorts.delete(this.#port);
    for (const peer of this.#peers.values()) this.#drop(peer);
    this.#peers.clear();
    this.#socket.close();
    leave();
    this.#onClosed();
  }
}

function startsWith(bytes: Uint8Array, beginning: Uint8Array): boolean {
  if (bytes.length < beginning.length) return false;
  for (let i = 0; i < beginning.length; i++) if (bytes[i] !== beginning[i]) return false;
  return true;
}
