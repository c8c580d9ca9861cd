/**
 * Dials from this machine instead of from the pod, with the interface of the tunnel: streams, credit,
 * errnos. Who uses it decides which destinations come here, and which addresses they mean here.
 *
 * A destination may stand for several addresses. TCP tries them in order until one accepts; UDP takes
 * the first: a connected socket for each peer, so that the kernel tells when nobody listens there. A name may
 * stand in the place of an address: it counts if it resolves here, and is then the last one tried.
 */

import {connect, isIP, type Socket} from 'node:net';
import {parseEndpoint} from '../tunnel/messages.ts';
import type {StreamHandler} from '../tunnel/types.ts';
import {addressText} from './address.ts';
import {HostUdp} from './host-udp.ts';
import {streamOfSocket} from './socket-stream.ts';
import type {ByteStream, OpenStream, OutgoingStream} from './streams.ts';

/** Sockets at a time; more are refused with EMFILE, which the program sees as EHOSTUNREACH. */
const socketLimit = 4_096;

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
    sendDatagram: nothing,
  };
}

/** Connects to the first of the addresses that accepts. */
function openTcp(
  dial: (address: string) => Socket,
  addresses: readonly string[],
  handler: StreamHandler,
): OutgoingStream {
  let socket: Socket;
  let connected: ByteStream | undefined;
  let isOver = false;
  const attempt = ([address = '', ...others]: readonly string[]): Socket => {
    const dialled = dial(address);
    const onFailure = (error: NodeJS.ErrnoException): void => {
      if (isOver) return;
      const isResolved = isIP(address) === 0 && error.syscall !== 'getaddrinfo';
      if (others.length > 0 && !isResolved) socket = attempt(others);
      else handler.onRefused?.(error.code ?? 'EHOSTUNREACH');
    };
    dialled.once('error', onFailure);
    dialled.once('connect', () => {
      dialled.off('error', onFailure);
      connected = streamOfSocket(dialled, handler);
      handler.onOpened?.(new Uint8Array());
    });
    return dialled;
  };
  socket = attempt(addresses);
  return {
    get writable() {
      return connected?.writable ?? 0;
    },
    write: (chunk) => connected?.write(chunk),
    end: () => connected?.end(),
    consumed: (offset) => connected?.consumed(offset),
    sendDatagram: () => undefined,
    reset(errno) {
      isOver = true;
      if (connected === undefined) socket.destroy();
      else connected.reset(errno);
    },
  };
}

/** Makes a dialer, whose sockets end with it. By default a destination stands for itself. */
export function createHostDialer(
  candidates: Candidates = (address) => [addressText(address)],
): HostDialer {
  const counters = {opened: 0, refused: 0};
  const running = new Set<Socket | HostUdp>();
  /** Keeps what ends with us, until it has ended. */
  const keep = <T extends Socket | HostUdp>(made: T): T => {
    counters.opened++;
    running.add(made);
    made.once('close', () => running.delete(made));
    return made;
  };

  return {
    counters,
    open(kind, body, handler) {
      if (running.size >= socketLimit) {
        counters.refused++;
        return refusedStream(handler, 'EMFILE');
      }
      if (kind === 'udp') return keep(new HostUdp(candidates, handler));
      if (kind !== 'tcp') return refusedStream(handler, 'EOPNOTSUPP');
      const {address, port} = parseEndpoint(body);
      const dial = (host: string): Socket => keep(connect({host, port, allowHalfOpen: true}));
      return openTcp(dial, candidates(address), handler);
    },
    [Symbol.dispose]() {
      for (const each of running) each.destroy();
    },
  };
}
