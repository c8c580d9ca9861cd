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

import {createSocket, type RemoteInfo, type Socket} from 'node:dgram';
import {formatAddress, parseAddress} from '../../sockets/address.ts';
import {
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
/** Datagrams that wait for a socket to be bound; the kernel's queue is not longer for bursts. */
const WAITING_DATAGRAMS = 64;
/** Addresses whose bytes are remembered, for senders without a connected socket. */
const KNOWN_SENDERS = 256;

/** A destination, and its connected socket once that is there. */
interface Peer {
  readonly key: string;
  readonly endpoint: TunnelEndpoint;
  readonly address: string;
  socket: Socket | undefined;
  isConnected: boolean;
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
  new UdpMapping(stream, {family: parseFamily(body), ownPorts, onClosed}).start();
}

class UdpMapping {
  readonly #stream: MuxStream;
  readonly #family: Family;
  readonly #ownPorts: OwnPorts;
  readonly #onClosed: () => void;
  readonly #socket: Socket;
  /** In the order of their last use. */
  readonly #peers = new Map<string, Peer>();
  /** By `address port`: what goes in front of a datagram from there. */
  readonly #heads = new Map<string, Uint8Array>();
  readonly #waiting: {peer: Peer; payload: Uint8Array}[] = [];
  #reserved: number | undefined;
  #port: number | undefined;
  #isClosed = false;

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
    this.#socket = this.#newSocket();
  }

  start(): void {
    this.#stream.handler = {
      onDatagram: (payload) => this.#onDatagram(payload),
      onEnd: () => this.#finish(() => this.#stream.end()),
      onReset: () => this.#finish(() => {}),
    };
    this.#stream.accept(new Uint8Array(0));
    this.#socket.on('error', (error) => {
      // Only binding can fail here: an unconnected socket hears of no ICMP error.
      if (this.#port === undefined) this.#finish(() => this.#stream.reset(errnoOf(error)));
    });
    this.#bind();
  }

  /**
   * Binds to a port that nobody has, as a socket of its own tells: one that shares its port may get one
   * that others share too, the target's or another mapping's, and with it their datagrams.
   */
  #bind(): void {
    const probe = this.#newSocket({reuseAddr: false});
    probe.on('error', (error) => {
      probe.close();
      this.#finish(() => this.#stream.reset(errnoOf(error)));
    });
    probe.bind(0, () => {
      const {port} = probe.address();
      probe.close();
      if (this.#isClosed) return;
      if (this.#ownPorts.has(port)) {
        this.#bind(); // another mapping has found it just now
        return;
      }
      this.#reserved = port;
      this.#ownPorts.add(port);
      this.#socket.bind(port, () => this.#onBound());
    });
  }

  // ---- from the layer ----

  #onDatagram(bytes: Uint8Array): void {
    const {to, payload} = parseUdpSend(bytes);
    const peer = this.#peerFor(to);
    if (peer === undefined) return;
    if (this.#port !== undefined && (peer.isConnected || peer.socket === undefined)) {
      this.#send(peer, payload);
    } else if (this.#waiting.length < WAITING_DATAGRAMS) {
      this.#waiting.push({peer, payload: new Uint8Array(payload)});
    }
  }

  #send(peer: Peer, payload: Uint8Array): void {
    const done = (error: Error | null): void => {
      if (error !== null) this.#fail(peer, error);
    };
    if (peer.isConnected) peer.socket?.send(payload, done);
    else this.#socket.send(payload, peer.endpoint.port, peer.address, done);
  }

  #onBound(): void {
    if (this.#isClosed) return;
    this.#port = this.#socket.address().port;
    for (const peer of this.#peers.values()) this.#connect(peer);
    this.#flush();
  }

  /** Sends what waits for sockets that are ready by now. */
  #flush(): void {
    for (const {peer, payload} of this.#waiting.splice(0)) {
      if (peer.isConnected || peer.socket === undefined) this.#send(peer, payload);
      else this.#waiting.push({peer, payload});
    }
  }

  // ---- destinations ----

  #peerFor(to: TunnelEndpoint): Peer | undefined {
    if (to.port === 0 || (to.address.length === 4 ? 4 : 6) !== this.#family) return undefined;
    // Any one-to-one text will do as a key, and this one costs no formatting.
    const key = String.fromCharCode(...to.address, to.port);
    const known = this.#peers.get(key);
    if (known !== undefined) {
      this.#peers.delete(key);
      this.#peers.set(key, known);
      return known;
    }
    const endpoint = {address: new Uint8Array(to.address), port: to.port};
    const address = formatAddress(endpoint.address);
    const peer: Peer = {key, endpoint, address, socket: undefined, isConnected: false};
    this.#peers.set(key, peer);
    if (this.#peers.size > CONNECTED_SOCKETS) this.#evict();
    if (this.#port !== undefined) this.#connect(peer);
    return peer;
  }

  #evict(): void {
    const [oldest] = this.#peers.values();
    if (oldest === undefined) return;
    this.#peers.delete(oldest.key);
    this.#drop(oldest);
  }

  #connect(peer: Peer): void {
    const socket = this.#newSocket();
    peer.socket = socket;
    socket.on('error', (error) => {
      // After the connect: an ICMP error. Before: this destination goes without a socket.
      if (peer.isConnected) this.#fail(peer, error);
      else this.#drop(peer);
    });
    socket.bind(this.#port ?? 0, () => {
      if (peer.socket !== socket) return;
      socket.connect(peer.endpoint.port, peer.address, (error?: Error) => {
        if (peer.socket !== socket) return;
        peer.isConnected = error === undefined;
        if (error === undefined) this.#flush();
        else this.#drop(peer);
      });
    });
  }

  #drop(peer: Peer): void {
    const {socket} = peer;
    peer.socket = undefined;
    peer.isConnected = false;
    socket?.close();
    if (!this.#isClosed && this.#port !== undefined) this.#flush();
  }

  #fail(peer: Peer, error: Error): void {
    if (this.#isClosed) return;
    this.#stream.sendDatagram(emitUdpFailure(peer.endpoint, errnoOf(error)));
  }

  // ---- from the pod's network ----

  #newSocket({reuseAddr} = {reuseAddr: true}): Socket {
    const type = this.#family === 4 ? 'udp4' : 'udp6';
    const socket = createSocket({
      type,
      reuseAddr,
      ipv6Only: this.#family === 6,
      // Addresses are never names here, and looking them up would cost a turn of the event loop.
      lookup: (host, _options, callback) => callback(null, host, this.#family),
    });
    socket.on('message', (payload, from) => this.#onMessage(payload, from));
    return socket;
  }

  #onMessage(payload: Uint8Array, from: RemoteInfo): void {
    const head = this.#headFor(from);
    if (head !== undefined && !this.#isClosed) this.#stream.sendDatagram(payload, head);
  }

  #headFor(from: RemoteInfo): Uint8Array | undefined {
    const key = `${from.address} ${from.port}`;
    const known = this.#heads.get(key);
    if (known !== undefined) return known;
    const address = parseAddress(from.address);
    if (address === undefined) return undefined;
    if (this.#heads.size >= KNOWN_SENDERS) this.#heads.clear();
    const head = emitUdpHead({address, port: from.port});
    this.#heads.set(key, head);
    return head;
  }

  #finish(leave: () => void): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    if (this.#reserved !== undefined) this.#ownPorts.delete(this.#reserved);
    for (const peer of this.#peers.values()) this.#drop(peer);
    this.#peers.clear();
    this.#socket.close();
    leave();
    this.#onClosed();
  }
}
