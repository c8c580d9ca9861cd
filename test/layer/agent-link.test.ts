import {once} from 'node:events';
import {type AddressInfo, connect, createServer, type Socket} from 'node:net';
import test, {type ExecutionContext} from 'ava';
import {makeLog} from '../../agent/log.ts';
import {AgentServer} from '../../agent/server.ts';
import {linkAgent} from '../../layer/agent-link.ts';
import {callPing} from '../../tunnel/target.ts';
import {Tickets} from '../../tunnel/tickets.ts';
import {until} from '../helpers/agent.ts';
import {seeded, TOKEN} from '../helpers/tunnel.ts';

/** An agent in this process, a link to it, and what the person was told. */
async function start(t: ExecutionContext) {
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
    {reconnect, warn: tell, info: tell},
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

test('a lost connection that comes back at once is not worth a word', async (t) => {
  const {link, told, cut} = await start(t);
  cut(true);
  await until(() => link.mux.counters.resumed === 1);
  await callPing(link.mux);
  t.deepEqual(told, []);
});

test('a connection that is lost for a while is told about, and that it is back', async (t) => {
  const {link, told, cut, open} = await start(t);
  cut(false);
  await until(() => told.length > 0);
  open();
  await callPing(link.mux);
  t.deepEqual(told, [
    'the connection to the agent is lost; connecting again, the program waits',
    'the connection to the agent is back',
  ]);
});

test('an agent that is known to be gone is not waited for', async (t) => {
  const {link, cut, ended} = await start(t);
  cut(false);
  await until(() => link.mux.isSuspended);
  ended.resolve(new Error('its pod was deleted'));
  t.is(await link.closed, 'the connection under the tunnel ended');
});
