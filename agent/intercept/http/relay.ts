/**
 * A redirected connection that may carry requests for clients: finds out what it speaks, and relays it.
 *
 * Who says nothing may be waiting for the server's greeting (SMTP, MySQL): after the time of detection the
 * application is connected as if we were not there. So is a client that takes its time with a request line, or
 * ends without one.
 */

import type {StreamSocket} from '../../../sockets/types.ts';
import type {RelayContext} from './context.ts';
import {httpCounters} from './counters.ts';
import {detectProtocol, type Protocol} from './detect.ts';
import {Http2Relay} from './h2/relay.ts';
import {Http1Relay} from './http1.ts';
import {Leg} from './leg.ts';
import {HEAD_MS} from './request-reader.ts';
import {judge, router} from './shared-router.ts';
import {Signal} from './signal.ts';
import type {HttpOptions, RedirectedConnection} from './types.ts';

/** Read at once, to find out. */
const READ_BYTES = 65_536;

const NOTHING = Buffer.alloc(0);

/** Resolves when the connection is over; never rejects. */
export function relayRedirected(
  connection: RedirectedConnection,
  options: HttpOptions,
): Promise<void> {
  const {socket, lettingGo} = connection;
  const {promise, resolve} = Promise.withResolvers<void>();
  // Nobody has a filter any more: what lingers is to be small.
  const forget = lettingGo.onSaid(() => void judge.close());
  const onOver = (): void => {
    forget();
    resolve();
  };
  const onMistake = (): void => {
    // One of ours: it costs this connection, and is seen in the counter.
    httpCounters.internalErrors++;
    socket.destroy(true);
    onOver();
  };
  const context = {connection, options, router, counters: httpCounters};
  detect(socket, options.detectionTimeoutMs, (protocol, head) => {
    try {
      relay(context, protocol, head).then(onOver, onMistake);
    } catch {
      onMistake();
    }
  });
  return promise;
}

type Known = Exclude<Protocol, 'more'>;

/** `head`: what was read of it, which may be lent. Throws or rejects for a mistake of ours. */
function relay(context: RelayContext, protocol: Known, head: Buffer): Promise<void> {
  const {counters, connection} = context;
  const {socket} = connection;
  if (protocol === 'http2') {
    counters.http2Connections++;
    return new Http2Relay(context, socket).run(head);
  }
  if (protocol === 'http1') counters.http1Connections++;
  else counters.rawConnections++;
  const signal = new Signal();
  const client = new Leg(socket, signal);
  const over = new Http1Relay(context, client, signal).run(protocol !== 'http1');
  if (head.length > 0) client.receive(head);
  return over;
}

/** Finds out what a connection speaks; `onKnown` takes it over, with what was read of it: lent, if it is of this moment. */
function detect(
  socket: StreamSocket,
  timeoutMs: number,
  onKnown: (protocol: Known, head: Buffer) => void,
): void {
  const latest = performance.now() + HEAD_MS;
  let head: Buffer = NOTHING;
  let timer: NodeJS.Timeout | undefined;
  const settle = (protocol: Known): void => {
    clearTimeout(timer);
    socket.handler = undefined;
    onKnown(protocol, head);
  };
  const giveUp = (): void => settle('raw');
  const wait = (ms: number): void => {
    clearTimeout(timer);
    timer = setTimeout(giveUp, ms);
  };
  socket.handler = {
    onData(bytes) {
      const more = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
      head = head.length === 0 ? more : Buffer.concat([head, more]);
      const protocol = detectProtocol(head);
      if (protocol !== 'more') {
        settle(protocol);
        return;
      }
      if (head === more) head = Buffer.from(more);
      // Each part of the request line may take as long as the first.
      wait(Math.min(timeoutMs, latest - performance.now()));
    },
    onEnd() {
      giveUp();
      // Who has taken over is to hear of it, too.
      socket.handler?.onEnd();
    },
    onClose: giveUp,
  };
  wait(timeoutMs);
  socket.readBytes = READ_BYTES;
}
