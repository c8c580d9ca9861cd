/**
 * Ports for servers that tests start by their number. They are below those that the kernel hands out
 * (ip_local_port_range), so that no client's connection takes one before its server has it, and each test process has
 * some of its own: files may run side by side.
 */

import {once} from 'node:events';
import {connect, createServer} from 'node:net';

const first = 10_000;
const perProcess = 100;
const processes = 200;

let next = 0;

async function isFree(port: number): Promise<boolean> {
  const server = createServer().listen(port, '127.0.0.1');
  try {
    await once(server, 'listening');
    return true;
  } catch {
    return false;
  } finally {
    server.close();
  }
}

/** Whether somebody listens at a port of the loopback. */
export async function isListening(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1');
  try {
    await once(socket, 'connect');
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}

/** A port of the loopback that nobody uses now; each time another one. Throws if all are taken. */
export async function freePort(): Promise<number> {
  const own = first + (process.pid % processes) * perProcess;
  for (let tries = 0; tries < perProcess; tries++) {
    const port = own + (next++ % perProcess);
    if (await isFree(port)) return port;
  }
  throw new Error(`no port from ${own} on is free`);
}
