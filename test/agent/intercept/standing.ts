/**
 * Run in a network namespace of its own (`standing.test.ts`): connections to applications of before a steal, which it
 * cuts or not. Writes what became of each as JSON.
 */

import {spawn} from 'node:child_process';
import {once} from 'node:events';
import {type AddressInfo, connect, createServer, type Socket} from 'node:net';
import {Interceptor} from '../../../agent/intercept/interceptor.ts';
import {makeLog} from '../../../agent/log.ts';
import type {InterceptParams} from '../../../tunnel/intercept.ts';
import {until} from '../../helpers/until.ts';

/** Echoes. */
async function listen(host: string): Promise<number> {
  const server = createServer((socket) => {
    socket.on('error', () => undefined);
    socket.pipe(socket);
  }).listen(0, host);
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}

/** The same by a socket that is transparent, as a proxy's behind TPROXY. */
async function listenTransparently(host: string, port: number): Promise<void> {
  const script = `
import socket, sys
s = socket.socket()
s.setsockopt(socket.SOL_IP, 19, 1)
s.bind((sys.argv[1], int(sys.argv[2])))
s.listen()
print("listening", flush=True)
c, _ = s.accept()
while data := c.recv(100):
    c.sendall(data)`;
  const child = spawn('/usr/bin/python3', ['-c', script, host, `${port}`], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(child.stdout, 'data');
}

async function dial(host: string, port: number): Promise<Socket> {
  const socket = connect({host, port});
  socket.on('error', () => undefined);
  await once(socket, 'connect');
  await isAlive(socket); // so it is accepted, and passed on where it is
  return socket;
}

/** Whether it still echoes. */
async function isAlive(socket: Socket): Promise<boolean> {
  if (socket.destroyed) return false;
  socket.write('.');
  return await Promise.race([
    once(socket, 'data').then(() => true),
    once(socket, 'close').then(() => false),
  ]);
}

const log = makeLog('error', (line) => process.stderr.write(line));
const interceptor = new Interceptor({id: '0123abcd', log});
const told: string[] = [];

/** A client whose program takes nothing: what is for it is the application's. */
async function subscribe(params: Partial<InterceptParams> & {port: number}): Promise<void> {
  const active = Promise.withResolvers<void>();
  interceptor.subscribe(
    {id: 1, mode: 'steal', onConcurrentSteal: 'continue', ...params},
    {
      open(_body, handler) {
        queueMicrotask(() => handler.onRefused?.('ECONNREFUSED'));
        return {reset: () => undefined} as never;
      },
      isAway: false,
    },
    (event) => {
      if (event.event === 'active') active.resolve();
      else told.push(JSON.stringify(event).replaceAll(`${params.port}`, 'PORT'));
    },
  );
  await active.promise;
}

const both = await listen('::');
const proxied = await listen('127.0.0.1');
await listenTransparently('127.0.0.3', proxied);
const kept = await listen('127.0.0.1');

const sockets: Record<string, Socket> = {
  four: await dial('127.0.0.1', both),
  six: await dial('::1', both),
  ofProxy: await dial('127.0.0.3', proxied),
  behindProxy: await dial('127.0.0.1', proxied),
  kept: await dial('127.0.0.1', kept),
};
await subscribe({port: both, mode: 'mirror', flushConnections: true});
sockets['passed'] = await dial('127.0.0.1', both);
const {cut: cutByMirror} = interceptor.counters;

await subscribe({port: both, flushConnections: true});
await subscribe({port: proxied, flushConnections: true});
await subscribe({port: kept});
await until(() => interceptor.counters.cut >= 3 && told.length > 0);
const alive: string[] = [];
for (const [name, socket] of Object.entries(sockets)) {
  if (await isAlive(socket)) alive.push(name);
}
const again = await isAlive(await dial('127.0.0.1', both));
interceptor.close();
process.stdout.write(
  JSON.stringify({cutByMirror, cut: interceptor.counters.cut, alive, again, told}),
);
process.exit();
