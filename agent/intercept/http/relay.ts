/**
 * A redirected connection that may carry requests for clients: finds out what it speaks, and relays it.
 *
 * Who says nothing may be waiting for the server's greeting (SMTP, MySQL): after the time of detection the
 * application is connected as if we were not there. So is a client that takes its time with a request line, or
 * ends without one.
 */

import {httpCounters} from './counters.ts';
import {detectProtocol, type Protocol} from './detect.ts';
import {Judge} from './filter/judge.ts';
import {HEAD_MS, Http1Relay, type RelayContext} from './http1.ts';
import {relayHttp2} from './http2.ts';
import {Leg} from './leg.ts';
import {Router} from './route.ts';
import {Signal} from './signal.ts';
import type {HttpOptions, RedirectedConnection} from './types.ts';

/** A connection that nobody uses for so long is asked whether it is still there. */
const KEEPALIVE_MS = 60_000;

/** All connections share the worker, and what is compiled. */
const router = new Router(new Judge(httpCounters));

/** Resolves when the connection is over; never rejects. */
export async function relayRedirected(
  connection: RedirectedConnection,
  options: HttpOptions,
): Promise<void> {
  const {socket} = connection;
  try {
    socket.setKeepAlive(true, KEEPALIVE_MS);
    const signal = new Signal();
    const client = new Leg(socket, signal);
    const counters = httpCounters;
    await relay({connection, options, client, signal, router, counters});
  } catch {
    // A mistake of ours: it costs this connection, and is seen in the counter.
    httpCounters.internalErrors++;
    socket.resetAndDestroy();
  }
}

async function relay(context: RelayContext): Promise<void> {
  const {counters} = context;
  const protocol = await detect(context);
  if (protocol === 'http2') {
    counters.http2Connections++;
    return relayHttp2(context);
  }
  const http1 = new Http1Relay(context);
  if (protocol === 'http1') {
    counters.http1Connections++;
    return http1.run();
  }
  counters.rawConnections++;
  return http1.relayRest();
}

async function detect({client, signal, options}: RelayContext): Promise<Protocol> {
  const {detectionTimeoutMs} = options;
  const latest = performance.now() + HEAD_MS;
  let deadline = performance.now() + detectionTimeoutMs;
  let bytes: Buffer = Buffer.alloc(0);
  for (;;) {
    const chunk = client.read();
    if (chunk !== undefined) {
      bytes = bytes.length === 0 ? chunk : Buffer.concat([bytes, chunk]);
      const protocol = detectProtocol(bytes);
      if (protocol !== 'more') {
        client.unread(bytes);
        return protocol;
      }
      // Each part of the request line may take as long as the first.
      deadline = Math.min(latest, performance.now() + detectionTimeoutMs);
      continue;
    }
    const leftMs = deadline - performance.now();
    if (client.isBroken || client.isAtEnd || leftMs <= 0) {
      client.unread(bytes);
      return 'raw';
    }
    const cancel = signal.notifyIn(leftMs + 1);
    await signal.wait();
    cancel();
  }
}
