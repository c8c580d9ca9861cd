/**
 * The sockets of the cluster's name server: UDP and TCP on port 53 of its cluster IP.
 *
 * Bounded against pods that misbehave: connections in number, idle time and length of a query. A TCP
 * query is preceded by its length (RFC 1035, section 4.2.2); many may come on one connection (RFC 7766).
 */

import {createSocket, type Socket as UdpSocket} from 'node:dgram';
import {once} from 'node:events';
import {createServer, type Server, type Socket} from 'node:net';
import {answerQuery} from './dns.ts';
import type {Zone} from './zone.ts';

/** Simultaneous TCP clients; more are closed at once. */
const connectionLimit = 64;
/** A silent TCP client is closed after this, milliseconds (RFC 7766 asks for "a few seconds"). */
const idleMs = 10_000;
/** No query is longer: a name and an OPT record, bytes. */
const queryLimit = 4_096;

export class DnsServer implements Disposable {
  /** Messages that were dropped because they weren't queries. */
  malformed = 0;
  #zone: Zone = new Map();
  #turn = 0;
  #udp: UdpSocket;
  #tcp: Server;

  constructor() {
    this.#udp = createSocket('udp4');
    this.#udp.on('message', (message, from) => {
      const answer = this.#answer(message, 'udp');
      if (answer !== undefined) this.#udp.send(answer, from.port, from.address);
    });
    // The client's port may be closed by now: nothing to do about it.
    this.#udp.on('error', () => undefined);
    this.#tcp = createServer((socket) => this.#serve(socket));
    this.#tcp.maxConnections = connectionLimit;
  }

  /** Starts to listen. Throws Node's error when an address is taken. */
  async listen(address: string, port: number): Promise<void> {
    const bound = once(this.#udp, 'listening');
    this.#udp.bind(port, address);
    await bound;
    const listening = once(this.#tcp, 'listening');
    this.#tcp.listen(port, address);
    await listening;
  }

  /** Replaces the records from the next query on. */
  setZone(zone: Zone): void {
    this.#zone = zone;
  }

  [Symbol.dispose](): void {
    this.#udp.close();
    this.#tcp.close();
  }

  #answer(message: Uint8Array, transport: 'udp' | 'tcp'): Buffer | undefined {
    const answer = answerQuery(message, {zone: this.#zone, transport, turn: this.#turn++});
    if (answer === undefined) this.malformed++;
    return answer;
  }

  #serve(socket: Socket): void {
    let pending = Buffer.alloc(0);
    socket.setTimeout(idleMs, () => socket.destroy());
    socket.on('error', () => socket.destroy());
    socket.on('data', (chunk) => {
      pending = Buffer.concat([pending, chunk]);
      while (pending.length >= 2) {
        const length = pending.readUInt16BE(0);
        if (length > queryLimit) {
          this.malformed++;
          socket.destroy();
          return;
        }
        if (pending.length < 2 + length) return;
        const answer = this.#answer(pending.subarray(2, 2 + length), 'tcp');
        pending = pending.subarray(2 + length);
        if (answer === undefined || !this.#send(socket, answer)) {
          socket.destroy();
          return;
        }
      }
    });
  }

  /** Sends one answer. Returns whether the client still reads: one that doesn't isn't waited for. */
  #send(socket: Socket, answer: Buffer): boolean {
    const length = Buffer.alloc(2);
    length.writeUInt16BE(answer.length);
    socket.write(Buffer.concat([length, answer]));
    return socket.writableLength < 256 * 1024;
  }
}
