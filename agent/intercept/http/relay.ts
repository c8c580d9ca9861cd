/**
 * A redirected connection that may carry requests for clients: finds out what it speaks, and relays it.
 *
 * Who says nothing may be waiting for the server's greeting (SMTP, MySQL): after the time of detection the
 * application is connected as if we were not there. So is a client that takes its time with a request line, or
 * ends without one.
 */

import type {Socket} from 'node:net';
import {socketOf} from '../../../sockets/of-stream.ts';
import {resetSocket} from '../../../sockets/reset.ts';
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

/** A connection that nobody uses for so long is asked whether it is still there. */
const KEEPALIVE_MS = 60_000;

/** Resolves when the connection is over; never rejects. */
export async function relayRedirected(
  connection: RedirectedConnection,
  options: HttpOptions,
): Promise<void> {
  const {socket, lettingGo} = connection;
  // Nobody has a filter any more: what lingers is to be small.
  const forget = lettingGo.onSaid(() => void judge.close());
  try {
    socket.on('error', () => {}); // it closes, which everybody hears of
    socket.setKeepAlive(true, KEEPALIVE_MS);
    await relay({connection, options, router, counters: httpCounters});
  } catch {
    // A mistake of ours: it costs this connection, and is seen in the counter.
    httpCounters.internalErrors++;
    resetSocket(socket);
  } finally {
    forget();
  }
}

async function relay(context: RelayContext): Promise<void> {
  const {counters, connection, options} = context;
  const {socket} = connection;
  const {protocol, bytes} = await detect(socket, options.detectionTimeoutMs);
  if (protocol === 'http2') {
    counters.http2Connections++;
    const {socket: own, head} = socketOf(socket, bytes, true);
    await new Http2Relay(context, own).run(Buffer.from(head.buffer, head.byteOffset, head.length));
    socket.destroy();
    return;
  }
  if (protocol === 'http1') counters.http1Connections++;
  else counters.rawConnections++;
  const signal = new Signal();
  const {socket: own, head} = socketOf(socket, bytes, true);
  const client = new Leg(own, signal, () => socket.destroy());
  client.unread(Buffer.from(head.buffer, head.byteOffset, head.length));
  return new Http1Relay(context, client, signal).run(protocol !== 'http1');
}

/** What a connection speaks, and what was read of it to find out. Nobody reads it afterwards. */
async function detect(
  socket: Socket,
  timeoutMs: number,
): Promise<{protocol: Exclude<Protocol, 'more'>; bytes: Buffer}> {
  const {promise, resolve} = Promise.withResolvers<Exclude<Protocol, 'more'>>();
  const latest = performance.now() + HEAD_MS;
  let bytes: Buffer = Buffer.alloc(0);
  const giveUp = (): void => resolve('raw');
  let timer = setTimeout(giveUp, timeoutMs);
  const onData = (chunk: Buffer): void => {
    bytes = bytes.length === 0 ? chunk : Buffer.concat([bytes, chunk]);
    const protocol = detectProtocol(bytes);
    if (protocol !== 'more') {
      resolve(protocol);
      socket.pause();
      return;
    }
    // Each part of the request line may take as long as the first.
    clearTimeout(timer);
    timer = setTimeout(giveUp, Math.min(timeoutMs, latest - performance.now()));
  };
  socket.on('data', onData).on('end', giveUp).on('close', giveUp);
  socket.resume();
  const protocol = await promise;
  clearTimeout(timer);
  socket.pause();
  socket.off('data', onData).off('end', giveUp).off('close', giveUp);
  return {protocol, bytes};
}
