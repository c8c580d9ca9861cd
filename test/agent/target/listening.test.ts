import {createSocket} from 'node:dgram';
import {once} from 'node:events';
import {readFileSync} from 'node:fs';
import {createServer} from 'node:net';
import test from 'ava';
import {listeningSockets} from '../../../agent/native.ts';
import {collect, nothingFound, readListening} from '../../../agent/target/listening.ts';

/** What the tables of /proc/net say, by the same rules. */
function tabled(protocol: 'tcp' | 'udp', state: string) {
  const found = nothingFound();
  for (const name of [protocol, `${protocol}6`]) {
    collect(readFileSync(`/proc/self/net/${name}`, 'latin1'), state, found);
  }
  return found;
}

test('sock_diag finds what the tables of /proc/net have, at every kind of address', async (t) => {
  const ports: number[] = [];
  for (const host of ['127.0.0.1', '0.0.0.0', '::1', '::', '::ffff:127.0.0.1']) {
    const server = createServer().listen(0, host);
    await once(server, 'listening');
    t.teardown(() => server.close());
    const address = server.address();
    if (typeof address === 'object' && address !== null) ports.push(address.port);
    const udp = createSocket(host.includes(':') ? 'udp6' : 'udp4').bind(0, host);
    await once(udp, 'listening');
    t.teardown(() => udp.close());
    ports.push(udp.address().port);
  }
  t.true(listeningSockets(4, 'tcp').length > 0, 'sock_diag answers here');
  const found = await readListening(new Set());
  // Other tests open and close ports meanwhile.
  const ours = (set: Iterable<number>): number[] =>
    [...set].filter((port) => ports.includes(port)).sort((one, other) => one - other);
  const [tcp, udp] = [tabled('tcp', '0A'), tabled('udp', '07')];
  t.deepEqual(
    [found.tcp4, found.tcp6, found.ownTcp4, found.ownTcp6].map(ours),
    [tcp.loopback4, tcp.loopback6, tcp.own4, tcp.own6].map(ours),
  );
  t.deepEqual(
    [found.udp4, found.udp6, found.ownUdp4, found.ownUdp6].map(ours),
    [udp.loopback4, udp.loopback6, udp.own4, udp.own6].map(ours),
  );
  t.is(ours([...found.tcp4, ...found.tcp6, ...found.udp4, ...found.udp6]).length > 8, true);
});

test('more listeners than one answer of the kernel holds are all found', async (t) => {
  const servers = await Promise.all(
    Array.from({length: 600}, async () => {
      const server = createServer().listen(0, '127.0.0.1');
      await once(server, 'listening');
      return server;
    }),
  );
  const found = new Set(listeningSockets(4, 'tcp').map(({port}) => port));
  for (const server of servers) {
    const address = server.address();
    t.true(typeof address === 'object' && address !== null && found.has(address.port));
    server.close();
  }
});
