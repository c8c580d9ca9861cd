import {lookup} from 'node:dns/promises';
import {once} from 'node:events';
import {writeFileSync} from 'node:fs';
import {createServer} from 'node:http';
import type {AddressInfo} from 'node:net';
import os from 'node:os';
import {join} from 'node:path';
import test from 'ava';
import {type Result, useDemo} from '../helpers/e2e.ts';
import {Session} from '../helpers/session.ts';

const demo = useDemo(test);

/** A name that this machine knows and the cluster doesn't: its own. */
const hostName = os.hostname();
const orders = 'orders.default.svc.cluster.local';
let hostAddress = '';

const server = createServer((_, response) => response.end('this machine\n'));

test.serial.before('a server on this machine, and its name', async (t) => {
  const [first] = await lookup(hostName, {all: true, family: 4}).catch(() => []);
  if (first === undefined) throw new Error(`this machine doesn't know its own name, ${hostName}`);
  hostAddress = first.address;
  await once(server.listen(0, hostAddress), 'listening');
  t.pass();
});

test.after.always('the server ends', () => {
  server.closeAllConnections();
  server.close();
});

/** A session for each configuration and its flags. */
const sessions = new Map<string, Session>();

test.after.always('the sessions are over', async () => {
  for (const session of sessions.values()) await session[Symbol.asyncDispose]();
});

async function exec(
  network: object,
  argv: readonly string[],
  flags: string[] = [],
): Promise<Result> {
  const key = JSON.stringify([network, flags]);
  let session = sessions.get(key);
  if (session === undefined) {
    const path = join(demo.directory, `dns-${sessions.size}.json`);
    writeFileSync(path, JSON.stringify({feature: {network}}), {mode: 0o644});
    session = new Session(demo, {flags: ['-f', path, ...flags]});
    sessions.set(key, session);
  }
  return await session.run(argv);
}

/** Asks for A records, each by a query of its own; `none` for what has no answer. */
async function dig(network: object, names: string[], ...options: string[]): Promise<string[]> {
  const script = names.map(
    (name) => `dig +short +time=6 +tries=1 ${options.join(' ')} ${name} A | grep . || echo none`,
  );
  const {stdout} = await exec(network, ['sh', '-c', script.join('\necho ----\n')]);
  return stdout.split('----\n').map((text) => text.trim());
}

const isNone = (text = ''): boolean => text === 'none' || text.startsWith(';;');

for (const transport of ['+notcp', '+tcp']) {
  const name = transport === '+tcp' ? 'TCP' : 'UDP';

  test.serial(`over ${name}, by default this machine's name is not known`, async (t) => {
    const answers = await dig({}, [hostName, orders], transport);
    t.deepEqual(answers, ['none', '10.96.0.21']);
  });

  test.serial(
    `over ${name}, local: a name is resolved by this machine, all others by the pod`,
    async (t) => {
      const network = {dns: {filter: {local: [hostName]}}};
      const answers = await dig(network, [hostName, orders], transport);
      t.deepEqual(answers, [hostAddress, '10.96.0.21']);
    },
  );

  test.serial(`over ${name}, local: a name that was completed by a search domain`, async (t) => {
    const network = {dns: {filter: {local: [hostName]}}};
    const completed = `${hostName}.default.svc.cluster.local`;
    t.deepEqual(await dig(network, [completed], transport), [hostAddress]);
  });

  test.serial(
    `over ${name}, remote: a name is resolved by the pod, all others by this machine`,
    async (t) => {
      const network = {dns: {filter: {remote: ['orders']}}};
      const [own, listed, other] = await dig(
        network,
        [hostName, orders, 'gateway.default.svc.cluster.local'],
        transport,
      );
      t.deepEqual([own, listed], [hostAddress, '10.96.0.21']);
      t.not(other, '10.96.0.20');
    },
  );

  test.serial(`over ${name}, with DNS off all names are this machine's`, async (t) => {
    const [own, other] = await dig({dns: false}, [hostName, orders], transport);
    t.is(own, hostAddress);
    t.true(isNone(other), other);
  });
}

test.serial('local: a name without dots is found through the search domains', async (t) => {
  const network = {dns: {filter: {local: [hostName]}}};
  const {stdout, stderr} = await exec(network, ['getent', 'ahostsv4', hostName]);
  t.true(stdout.startsWith(`${hostAddress} `), stderr);
  const remote = await exec(network, ['getent', 'ahostsv4', 'orders']);
  t.regex(remote.stdout, /^10\.96\.0\.21 /);
});

test.serial('local: several queries of one socket go each to its own side', async (t) => {
  const script = `
import socket
def ask(name):
    q = b'\\0\\x01\\1\\0\\0\\1\\0\\0\\0\\0\\0\\0'
    q += b''.join(bytes([len(l)]) + l.encode() for l in name.split('.')) + b'\\0\\0\\1\\0\\1'
    return q
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(20)
for name in ['${hostName}', '${orders}', '${hostName}']:
    s.sendto(ask(name), ('10.96.0.10', 53))
    answer, peer = s.recvfrom(2000)
    print(socket.inet_ntoa(answer[-4:]) if answer[7] == 1 and answer[11] == 0 else 'many', *peer)
`;
  const network = {dns: {filter: {local: [hostName]}}};
  const {stdout, stderr} = await exec(network, ['python3', '-c', script]);
  const from = '10.96.0.10 53';
  const [first, , third] = stdout.split('\n');
  t.deepEqual([first, third], [`${hostAddress} ${from}`, `${hostAddress} ${from}`], stderr);
  t.regex(stdout, /\n(10\.96\.0\.21|many) 10\.96\.0\.10 53\n/);
});

test.serial('outgoing.filter: a local name resolves here, and is reached here', async (t) => {
  const {port} = server.address() as AddressInfo;
  const network = {outgoing: {filter: {local: [`${hostName}:${port}`]}}};
  const url = `http://${hostName}:${port}/`;
  const {stdout, stderr} = await exec(network, ['curl', '-sS', url]);
  t.is(stdout, 'this machine\n', stderr);
  const remote = await exec(network, ['curl', '-sS', 'http://orders/']);
  t.regex(remote.stdout, /"pod":"orders/, remote.stderr);
});

test.serial('with DNS off, connections still leave from the pod', async (t) => {
  const argv = ['curl', '-sS', 'http://10.96.0.21/'];
  const {stdout, stderr} = await exec({}, argv, ['--no-remote-dns']);
  t.regex(stdout, /"pod":"orders.*"client":"10\.244\.0\.10"/, stderr);
});

test.serial('with DNS off, the pod’s own name and that of this machine are known', async (t) => {
  const argv = ['getent', 'ahostsv4', 'gateway', 'host.mirrord.internal', hostName];
  const {stdout, stderr} = await exec({dns: {enabled: false}}, argv);
  t.regex(stdout, /^10\.244\.0\.10 /m, stderr);
  t.regex(stdout, /^192\.0\.0\.8 /m);
  t.true(stdout.includes(`${hostAddress} `));
});
