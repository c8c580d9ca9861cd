/**
 * The shop's front: HTTP on port 80, both families, which asks the orders service. Besides, two servers
 * for the pod's own loopback only: an admin page and a statsd-like UDP port, which echoes.
 */

import {createSocket} from 'node:dgram';
import {once} from 'node:events';
import type {Server} from 'node:http';
import {jsonServer} from './answer.ts';

const ordersUrl = process.env['ORDERS_URL'] ?? 'http://orders';

/** A hanging upstream must not pile up requests, milliseconds. */
const upstreamTimeoutMs = 10_000;

async function listen(server: Server, port: number, host: string): Promise<void> {
  server.listen({port, host, ipv6Only: host.includes(':')});
  await once(server, 'listening');
}

const admin = () => jsonServer(({pod, path, client}) => ({pod, admin: true, path, client}));

// `/orders/…` asks the orders service; everything else the gateway answers itself.
const front = () =>
  jsonServer(async (seen) => {
    if (seen.path !== '/' && !seen.path.startsWith('/orders')) return seen;
    const path = seen.path.replace(/^\/orders/, '') || '/';
    const url = `${ordersUrl}${path}`;
    const upstream = await fetch(url, {signal: AbortSignal.timeout(upstreamTimeoutMs)});
    return {...seen, orders: await upstream.json()};
  });

const statsd = createSocket('udp4');
statsd.on('message', (message, from) => statsd.send(message, from.port, from.address));
statsd.on('error', () => undefined); // an answer that nobody waits for
statsd.bind(8125, '127.0.0.1');
await once(statsd, 'listening');
await listen(admin(), 9000, '127.0.0.1');
await listen(admin(), 9000, '::1');
// Last: whoever finds port 80 open may rely on the others.
await listen(front(), 80, '::');
await listen(front(), 80, '0.0.0.0');
