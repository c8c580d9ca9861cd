import {once} from 'node:events';
import {createServer} from 'node:http';
import type {AddressInfo} from 'node:net';
import test from 'ava';
import {readBody, sendUpgrade} from '../../../cli/kube/request.ts';
import {UpgradeRefused} from '../../../tunnel/websocket/handshake.ts';

test('the body of a refused upgrade is waited for as long as the signal says', async (t) => {
  const server = createServer((_request, answer) => answer.writeHead(403).write('{"kind":'));
  await once(server.listen(0, '127.0.0.1'), 'listening');
  t.teardown(() => server.closeAllConnections());
  t.teardown(() => server.close());
  const url = new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
  const patience = new AbortController();
  const upgrade = {url, tls: {}, signal: patience.signal, protocols: ['v5.channel.k8s.io']};
  const {response} = (await t.throwsAsync(sendUpgrade(upgrade), {
    instanceOf: UpgradeRefused,
  })) as UpgradeRefused;
  response.once('data', () => patience.abort());
  await t.throwsAsync(readBody(response, patience.signal), {name: 'AbortError'});
  t.true(response.destroyed);
});
