import test from 'ava';
import {useDemo} from '../helpers/e2e.ts';
import {useSession} from '../helpers/session.ts';

const demo = useDemo(test);
const session = useSession(test, demo);

const echo = {v4: '10.244.0.13', v6: 'fd00:10:244::13', service: '10.96.0.22'};

async function client(...args: string[]): Promise<string[]> {
  const output = await session.exec(['python3', demo.program('client.py'), ...args]);
  return output.trim().split('\n');
}

test.serial('a connected socket gets every size of datagram back over IPv4', async (t) => {
  const sizes = ['0', '1', '1472', '1473', '9000', '65507'];
  t.deepEqual(
    await client('udp_sizes', echo.v4, '7', ...sizes),
    sizes.map((size) => `${size} True`),
  );
});

test.serial('a connected socket gets every size of datagram back over IPv6', async (t) => {
  const sizes = ['0', '1', '1452', '1453', '9000', '65487', '65488', '65527'];
  t.deepEqual(
    await client('udp_sizes', echo.v6, '7', ...sizes),
    sizes.map((size) => `${size} True`),
  );
});

test.serial('a datagram to a service is answered by the address of the service', async (t) => {
  t.deepEqual(await client('udp_peers', `${echo.service},7`), [
    `${echo.service},7 to ${echo.service},7`,
  ]);
});

test.serial('one unconnected socket talks to several peers', async (t) => {
  const peers = [`${echo.v4},7`, `${echo.service},7`, '127.0.0.1,8125', `${echo.v4},7`];
  t.deepEqual(
    await client('udp_peers', ...peers),
    peers.map((peer) => `${peer} to ${peer}`),
  );
});

test.serial('one unconnected socket talks to several peers over IPv6', async (t) => {
  const peers = [`${echo.v6},7`, `${echo.v6},7`];
  t.deepEqual(
    await client('udp_peers', ...peers),
    peers.map((peer) => `${peer} to ${peer}`),
  );
});

test.serial('an answer from another port is received by an unconnected socket', async (t) => {
  for (const address of [echo.v4, echo.v6]) {
    t.deepEqual(await client('udp_peers', `${address},7001`), [
      `${address},7002 to ${address},7001`,
    ]);
  }
});

test.serial('an answer from another port is not received by a connected socket', async (t) => {
  t.deepEqual(await client('udp_strict', echo.v4, '7001', '7'), ['7002', 'answered']);
});

test.serial('a flood of more than the tunnel takes stops nothing for good', async (t) => {
  t.deepEqual(await client('udp_flood', echo.v4, '7', '100000'), ['still there?']);
});

test.serial('400 sockets each get their own answers', async (t) => {
  t.deepEqual(await client('udp_sockets', echo.v4, '7', '400'), ['[]']);
});
