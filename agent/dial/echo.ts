/**
 * ICMP echo from the pod, by *ping sockets* (SOCK_DGRAM, IPPROTO_ICMP or IPPROTO_ICMPV6) that the
 * agent inherits: Node cannot make them, but adopts a datagram socket by its fd.
 *
 * The kernel puts its own id and the checksum into what is sent, and delivers only replies with that
 * id, starting at the ICMP header. So all requests of all sessions share one sequence of 16 bits,
 * and a table of its latest numbers tells whose reply it is. A late reply finds its place taken by
 * another request and is dropped. Without a socket there is no answer, never a made-up one.
 *
 *     uint8 type   uint8 code   uint16 checksum   uint16 id   uint16 seq   payload
 */

import {createSocket, type Socket} from 'node:dgram';
import {formatAddress, parseAddress} from '../../sockets/address.ts';
import {
  type EchoMessage,
  emitEchoReplyHead,
  type Family,
  parseEcho,
  parseFamily,
} from '../../tunnel/messages.ts';
import type {MuxStream} from '../../tunnel/types.ts';
import type {Log} from '../log.ts';

/** Requests that may be waiting for their reply; a power of two, so that the sequence wraps on it. */
const PENDING_ECHOES = 4096;
const HEADER_BYTES = 8;
const TYPES = {4: {request: 8, reply: 0}, 6: {request: 128, reply: 129}} as const;

interface Pending {
  readonly seq: number;
  readonly stream: MuxStream;
  readonly echo: {readonly id: number; readonly seq: number};
}

/** One ping socket, for all sessions. */
export class EchoSocket {
  readonly #family: Family;
  readonly #socket: Socket;
  readonly #pending: (Pending | undefined)[] = new Array(PENDING_ECHOES).fill(undefined);
  #seq = 0;

  /** Adopts the ping socket `fd`, and closes it by `close`. */
  constructor(family: Family, fd: number, log: Log) {
    this.#family = family;
    this.#socket = createSocket({
      type: family === 4 ? 'udp4' : 'udp6',
      lookup: (host, _options, callback) => callback(null, host, family),
    });
    // What fails here is one ping, and to the app that is silence, as on any network.
    this.#socket.on('error', (error) => log.debug('echo', {error: error.message}));
    this.#socket.on('message', (bytes, from) => this.#onReply(bytes, from.address));
    this.#socket.bind({fd});
    this.#socket.unref();
  }

  /** Sends a request; its reply goes to `stream`. */
  send(stream: MuxStream, echo: EchoMessage): void {
    this.#seq = (this.#seq + 1) & 0xffff;
    const {id, seq} = echo;
    this.#pending[this.#seq % PENDING_ECHOES] = {seq: this.#seq, stream, echo: {id, seq}};
    const bytes = new Uint8Array(HEADER_BYTES + echo.payload.length);
    bytes[0] = TYPES[this.#family].request;
    bytes[6] = this.#seq >>> 8;
    bytes[7] = this.#seq;
    bytes.set(echo.payload, HEADER_BYTES);
    // Ping sockets have no ports, but Node asks for one.
    this.#socket.send(bytes, 1, formatAddress(echo.address), () => {});
  }

  close(): void {
    this.#socket.close();
  }

  #onReply(bytes: Uint8Array, from: string): void {
    const address = parseAddress(from);
    if (bytes.length < HEADER_BYTES || address === undefined) return;
    if (bytes[0] !== TYPES[this.#family].reply) return;
    const seq = ((bytes[6] ?? 0) << 8) | (bytes[7] ?? 0);
    const pending = this.#pending[seq % PENDING_ECHOES];
    if (pending === undefined || pending.seq !== seq) return;
    this.#pending[seq % PENDING_ECHOES] = undefined;
    // The kernel tells the TTL only in a control message, which Node does not show.
    const head = emitEchoReplyHead({address, ...pending.echo, ttl: undefined});
    pending.stream.sendDatagram(bytes.subarray(HEADER_BYTES), head);
  }
}

/** The ping sockets that the agent was given, by family. */
export type EchoSockets = Readonly<Partial<Record<Family, EchoSocket>>>;

/** Accepts the stream and sends its requests. Throws ProtocolError BODY_MALFORMED. */
export function dialEcho(
  stream: MuxStream,
  body: Uint8Array,
  {sockets, onClosed}: {readonly sockets: EchoSockets; readonly onClosed: () => void},
): void {
  const family = parseFamily(body);
  const socket = sockets[family];
  stream.handler = {
    onDatagram: (payload) => socket?.send(stream, parseEcho(payload, family)),
    onEnd: () => stream.end(),
    onReset: onClosed,
    onClose: onClosed,
  };
  stream.accept(new Uint8Array(0));
}
