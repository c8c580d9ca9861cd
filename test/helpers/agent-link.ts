/** A link of the layer's to an agent in this process, whose connection the test cuts. */

import {once} from 'node:events';
import {type AddressInfo, connect, createServer, type Socket} from 'node:net';
import type {ExecutionContext} from 'ava';
import {makeLog} from '../../agent/log.ts';
import {AgentServer} from '../../agent/server.ts';
import {linkAgent} from '../../layer/agent-link.ts';
import {Tickets} from '../../tunnel/tickets.ts';
import {seeded, TOKEN} from './tunnel.ts';

/** An agent in this process, a link to it, and what the person was told. */
export async function startLink(t: ExecutionContext, windowSeconds = 60) {
  const agent = new AgentServer({
    targetPid: process.pid,
    isHome: false,
    token: TOKEN,
    handshakeTimeoutMs: 10_000,
    resume: {windowMs: 60_000, tickets: new Tickets()},
    echoSockets: {},
    ownPorts: new Set(),
    log: makeLog('error', (line) => t.log(line)),
    random: seeded(2),
  });
  const sockets = new Set<Socket>();
  let isOpen = true;
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    if (isOpen) agent.serve(socket);
    else socket.resetAndDestroy();
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const reconnect = async (): Promise<Socket> => {
    const socket = connect((server.address() as AddressInfo).port, '127.0.0.1');
    await once(socket, 'connect');
    return socket;
  };
  const told: string[] = [];
  const ended = Promise.withResolvers<Error>();
  const tell = (message: string): void => void told.push(message);
  const link = await linkAgent(
    await reconnect(),
    Buffer.from(TOKEN).toString('hex'),
    ended.promise,
    {reconnect, windowSeconds, warn: tell, info: tell},
  );
  t.teardown(() => {
    link[Symbol.dispose]();
    agent.close();
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  const cut = (staysOpen: boolean): void => {
    isOpen = staysOpen;
    for (const socket of sockets) socket.resetAndDestroy();
  };
  return {link, told, cut, open: () => (isOpen = true), ended};
}
