/**
 * Plain TCP and UDP servers, for what a transport must get right:
 *
 *   7/tcp, 7/udp  echo; TCP is half-closed only after all has been sent back
 *   5001/tcp      sink: after FIN it answers with `{"bytes": …, "sha256": …}`
 *   5002/tcp      source: a first line with a number gets so many bytes of `pattern.ts`, then FIN
 *   7001/udp      answers from another port, 7002: a connected client must not see it
 */

import {createHash} from 'node:crypto';
import {createSocket, type Socket as UdpSocket} from 'node:dgram';
import {createServer, type Socket} from 'node:net';
import {Readable} from 'node:stream';
import {pipeline} from 'node:stream/promises';
import {blockLength, patternBlock} from './pattern.ts';

/** The source's longest answer, bytes. */
const sourceLimit = 64 * 1024 ** 3;
/** A number has no more digits than this. */
const firstLineLimit = 32;

const block = patternBlock();

/** Serves TCP connections, each until `serve` is done with it. */
function listen(port: number, serve: (socket: Socket) => Promise<void>): void {
  createServer({allowHalfOpen: true}, (socket) => {
    // A client that goes away is no error of ours.
    serve(socket).catch(() => socket.destroy());
  }).listen(port, '::');
}

async function sink(socket: Socket): Promise<void> {
  const hash = createHash('sha256');
  let bytes = 0;
  for await (const chunk of socket.iterator({destroyOnReturn: false}) as AsyncIterable<Buffer>) {
    hash.update(chunk);
    bytes += chunk.length;
  }
  socket.end(`${JSON.stringify({bytes, sha256: hash.digest('hex')})}\n`);
}

/** Reads up to the first line feed. */
async function readLine(socket: Socket): Promise<string> {
  let line = '';
  for await (const chunk of socket.iterator({destroyOnReturn: false}) as AsyncIterable<Buffer>) {
    line += chunk.toString('latin1');
    if (line.includes('\n') || line.length > firstLineLimit) break;
  }
  return line.split('\n', 1)[0] ?? '';
}

function* pattern(count: number): Generator<Uint8Array> {
  for (let sent = 0; sent < count; sent += blockLength) {
    yield count - sent < blockLength ? block.subarray(0, count - sent) : block;
  }
}

async function source(socket: Socket): Promise<void> {
  const count = Number(await readLine(socket));
  if (!Number.isSafeInteger(count) || count < 0 || count > sourceLimit) {
    socket.destroy();
    return;
  }
  await pipeline(Readable.from(pattern(count), {objectMode: false}), socket);
}

/** Answers datagrams on both families, from the socket they came to or from another. */
function answerDatagrams(port: number, answerPort = port): void {
  for (const [type, address] of [
    ['udp4', '0.0.0.0'],
    ['udp6', '::'],
  ] as const) {
    const bind = (number: number): UdpSocket => {
      const socket = createSocket({type, ipv6Only: type === 'udp6'});
      socket.on('error', () => undefined); // an answer that nobody waits for
      return socket.bind(number, address);
    };
    const socket = bind(port);
    const answers = answerPort === port ? socket : bind(answerPort);
    socket.on('message', (message, from) => answers.send(message, from.port, from.address));
  }
}

answerDatagrams(7);
answerDatagrams(7001, 7002);
listen(7, (socket) => pipeline(socket, socket));
listen(5001, sink);
listen(5002, source);
