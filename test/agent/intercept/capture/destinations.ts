/** Run in a network namespace of its own (`destination.test.ts`): where connections are led, and whose sockets they have. */

import {execFileSync} from 'node:child_process';
import {once} from 'node:events';
import {connect, createServer, type Socket} from 'node:net';
import {setTimeout as delay} from 'node:timers/promises';
import {canTell, Destinations} from '../../../../agent/intercept/capture/destination.ts';
import {isOwnAddress, socketOfConnection, trackedDestination} from '../../../../agent/native.ts';
import {parseAddress} from '../../../../sockets/address.ts';

const [PORT, LED, AGENTS] = [8_080, 9_999, 4_000];
const sh = (script: string): string => execFileSync('sh', ['-ec', script], {encoding: 'utf8'});

async function connected(host: string, port: number): Promise<Socket> {
  const socket = connect(port, host);
  await once(socket, 'connect');
  return socket;
}

sh('ip link set lo up');
for (const port of [PORT, AGENTS]) {
  const server = createServer({allowHalfOpen: true}, (socket) => {
    socket.on('error', () => undefined).on('data', () => socket.end());
  });
  await once(server.listen(port, '::'), 'listening');
}
const destinations = new Destinations(() => [AGENTS]);
const seen = [];
for (const host of ['127.0.0.1', '::1']) {
  const address = parseAddress(host) as Uint8Array;
  const end = (port: number) => ({address, port});
  const ask = (socket: Socket, port: number): string => {
    const ends = {peer: end(socket.localPort ?? 0), local: end(port)};
    const led = trackedDestination(ends.peer, ends.local)?.port;
    return `${led} ${destinations.of(ends, false, performance.now())}`;
  };
  sh('nft flush ruleset');
  const untracked = ask(await connected(host, PORT), PORT);
  sh(`nft 'table inet t { chain c { type nat hook output priority -100
    tcp dport ${LED} redirect to :${PORT}; tcp dport ${LED + 1} redirect to :${AGENTS}; }; }'`);
  const own = await connected(host, PORT);
  const led = await connected(host, LED);
  const peer = end(led.localPort ?? 0);
  const over = await connected(host, PORT);
  const overPeer = end(over.localPort ?? 0);
  over.resume().write('bye');
  await once(over, 'end');
  over.end();
  while (socketOfConnection(end(PORT), overPeer)?.isOver !== true) await delay(5);
  seen.push({
    untracked,
    own: ask(own, PORT),
    led: ask(led, LED),
    // Where it ends, as it is seen behind the rules; and its answers, which look the same the other way round.
    behind: ask(led, PORT),
    answers: trackedDestination(end(PORT), peer),
    byAgent: ask(await connected(host, LED + 1), LED + 1),
    sockets: [
      socketOfConnection(end(PORT), peer),
      socketOfConnection(peer, end(LED)),
      socketOfConnection(end(LED), peer),
      socketOfConnection(end(PORT), end(1)),
    ],
  });
}
// An interface whose other end is down has no carrier, as one that has just come up.
sh(`ip link add eth0 type veth peer name other; ip link set eth0 up
  ip addr add 10.9.0.2/24 dev eth0; ip addr add fd09::2/64 dev eth0 nodad`);
const isOwn = (host: string): boolean => isOwnAddress(parseAddress(host) as Uint8Array);
// The kernel makes the route of an address of IPv6 some time later.
while (!isOwn('fd09::2')) await delay(5);
const own = ['10.9.0.2', 'fd09::2', '127.9.9.9', '::1'].map(isOwn);
const others = ['10.9.0.1', 'fd09::1', '192.0.2.1', '2001:db8::1', '::'].map(isOwn);
const isSomebodyElses = destinations.of(
  {
    peer: {address: Uint8Array.of(10, 0, 0, 1), port: 1},
    local: {address: Uint8Array.of(10, 0, 0, 2), port: PORT},
  },
  false,
  performance.now(),
);
process.stdout.write(JSON.stringify({canTell: canTell(), seen, own, others, isSomebodyElses}));
process.exit();
