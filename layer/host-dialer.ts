/**
 * Dials from this machine instead of from the pod, with the interface of the tunnel: streams, credit,
 * errnos. Who uses it decides which destinations come here, and which addresses they mean here.
 *
 * A destination may stand for several addresses. TCP tries them in order until one accepts; UDP takes
 * the first: a connected socket for each peer, so that the kernel tells when nobody listens there. A name may
 * stand in the place of an address: it counts if it resolves here, and is then the last one tried.
 */

import {lookup} from 'node:dns/promises';
import {isIP} from 'node:net';
import {connectSocket, type OutgoingSocket} from '../sockets/connect.ts';
import {parseEndpoint} from '../tunnel/messages.ts';
import type {StreamHandler} from '../tunnel/types.ts';
import {addressBytes, addressText} from './address.ts';
import {HostUdp} from './host-udp.ts';
import {streamOf} from './socket-stream.ts';
import type {ByteStream, OpenStream, OutgoingStream} from './streams.ts';

/** Sockets at a time; more are refused with EMFILE, which the program sees as EHOSTUNREACH. */
const socketLimit = 4_096;
/** A dead flow should not hold a socket for the two hours of Linux net.ipv4.tcp_keepalive_time. */
const keepAliveMs = 60_000;

/** The addresses here that a destination stands for, or names of such, the best first. */
export type Candidates = (address: Uint8Array) => readonly string[];

export interface HostDialer extends Disposable {
  /** Opens a stream of kind `tcp` or `udp`. */
  readonly open: OpenStream;
  readonly counters: {readonly opened: number; readonly refused: number};
}

/** A stream that is refused, though not before it was returned. */
export function refusedStream(handler: StreamHandler, errno: string): OutgoingStream {
  queueMicrotask(() => handler.onRefused?.(errno));
  const nothing = (): void => undefined;
  return {
    writable: 0,
    write: nothing,
    end: nothing,
    reset: nothing,
    consumed: nothing,
    sendDatagram: () => true,
  };
}

/** Connects to the first of the addresses that accepts. `keep` has what ends with the dialer. */
function openTcp(
  to: {readonly addresses: readonly string[]; readonly port: number},
  handler: StreamHandler,
  keep: (socket: OutgoingSocket) => () => void,
): OutgoingStream {
  let dialled: OutgoingSocket | undefined;
  let connected: ByteStream | undefined;
  let isOver = false;

  /** Tries them in order; `errno` tells what the last one met. */
  const attempt = ([address, ...others]: readonly string[], errno: string): void => {
    if (isOver) return;
    if (address === undefined) queueMicrotask(() => handler.onRefused?.(errno));
    else if (isIP(address) === 0 || address.includes('%')) void resolve(address, others);
    else dial(address, others);
  };
  const resolve = async (name: string, others: readonly string[]): Promise<void> => {
    const found = await lookup(name, {all: true}).catch(() => []);
    // A name that resolves here counts, and is the last one tried.
    if (found.length > 0)
      attempt(
        found.map((each) => each.address),
        'ECONNREFUSED',
      );
    else attempt(others, 'EHOSTUNREACH');
  };
  const dial = (address: string, others: readonly string[]): void => {
    let socket: OutgoingSocket;
    try {
      socket = connectSocket({address: addressBytes(address), port: to.port}, keepAliveMs);
    } catch (error) {
      const {code = 'EHOSTUNREACH'} = error as NodeJS.ErrnoException;
      queueMicrotask(() => attempt(others, code));
      return;
    }
    const forget = keep(socket);
    dialled = socket;
    socket.handler = {
      onConnect() {
        connected = streamOf(socket, handler, forget);
        handler.onOpened?.(new Uint8Array());
      },
      onData: () => undefined,
      onEnd: () => undefined,
      onClose(error) {
        forget();
        if (error !== undefined) attempt(others, error.code ?? 'EHOSTUNREACH');
      },
    };
  };

  attempt(to.addresses, 'EHOSTUNREACH');
  return {
    get writable() {
      return connected?.writable ?? 0;
    },
    write: (chunk) => connected?.write(chunk),
    end: () => connected?.end(),
    consumed: (offset) => connected?.consumed(offset),
    sendDatagram: () => true,
    reset(errno) {
      isOver = true;
      if (connected === undefined) dialled?.destroy();
      else connected.reset(errno);
    },
  };
}

/** Makes a dialer, whose sockets end with it. By default a destination stands for itself. */
export function createHostDialer(
  candidates: Candidates = (address) => [addressText(address)],
): HostDialer {
  const counters = {opened: 0, refused: 0};
  const running = new Set<{destroy(): void}>();
  /** Keeps what ends with us; returns how to forget it, when it has ended. */
  const keep = (made: {destroy(): void}): (() => void) => {
    counters.opened++;
    running.add(made);
    return () => running.delete(made);
  };

  return {
    counters,
    open(kind, body, handler) {
      if (running.size >= socketLimit) {
        counters.refused++;
        return refusedStream(handler, 'EMFILE');
      }
      if (kind === 'udp') {
        const made = new HostUdp(candidates, handler);
        made.once('close', keep(made));
        return made;
      }
      if (kind !== 'tcp') return refusedStream(handler, 'EOPNOTSUPP');
      const {address, port} = parseEndpoint(body);
      return openTcp({addresses: candidates(address), port}, handler, keep);
    },
    [Symbol.dispose]() {
      for (const each of running) each.destroy();
    },
  };
}
