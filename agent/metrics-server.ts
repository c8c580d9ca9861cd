/**
 * Answers `GET /metrics`, to whoever can reach the address that `agent.metrics` names.
 *
 * Nobody shows a token here, so a connection gets as little as will do: one short request, one answer, few
 * at a time, and each for a few seconds only. None of that touches the tunnel's own server.
 */

import {readFileSync} from 'node:fs';
import {createServer, type Server} from 'node:http';
import type {Log} from './log.ts';
import type {Metrics} from './metrics.ts';
import {METRICS_TYPE} from './metrics-text.ts';

/** A scraper needs one. */
const MAX_CONNECTIONS = 8;
/** What a scraper sends is some 300 bytes. */
const MAX_HEADER_BYTES = 8192;
/** From the connection to the whole request, and without a sign of life at all, ms. */
const PATIENCE_MS = 5000;

/** Serves at an inherited listening socket, for as long as the process lives. */
export function serveMetrics(fd: number, metrics: Metrics, log: Log): Server {
  const version = ownVersion();
  const server = createServer(
    {
      maxHeaderSize: MAX_HEADER_BYTES,
      headersTimeout: PATIENCE_MS,
      requestTimeout: PATIENCE_MS,
      connectionsCheckingInterval: PATIENCE_MS / 5,
    },
    ({method, url}, response) => {
      // The connection ends with its answer, whatever else was sent on it.
      response.setHeader('connection', 'close');
      if (url?.split('?', 1)[0] !== '/metrics') response.writeHead(404).end();
      else if (method !== 'GET') response.writeHead(405, {allow: 'GET'}).end();
      else {
        const text = metrics.render({
          version,
          node: process.version,
          arch: process.arch,
          uptimeSeconds: process.uptime(),
          cpuSeconds: cpuSeconds(),
          residentBytes: process.memoryUsage.rss(),
        });
        response.writeHead(200, {'content-type': METRICS_TYPE}).end(text);
      }
    },
  );
  server.maxConnections = MAX_CONNECTIONS;
  server.timeout = PATIENCE_MS;
  server.on('drop', () => metrics.scrapesRefused++);
  // An upgrade nobody answers would keep its connection.
  server.on('upgrade', (_request, socket) => socket.destroy());
  server.on('error', (error) => log.error('metrics', {error: error.message}));
  return server.listen({fd});
}

function cpuSeconds(): number {
  const {user, system} = process.cpuUsage();
  return (user + system) / 1e6;
}

function ownVersion(): string {
  const file = new URL('../package.json', import.meta.url);
  return (JSON.parse(readFileSync(file, 'utf8')) as {version?: string}).version ?? 'unknown';
}
