import dgram from 'node:dgram';
import {once} from 'node:events';
import {writeFileSync} from 'node:fs';
import {createServer} from 'node:http';
import net, {type AddressInfo} from 'node:net';
import os from 'node:os';
import {join} from 'node:path';
import test from 'ava';
import {type ExecOptions, type Result, useDemo, waitFor} from '../helpers/e2e.ts';

const demo = useDemo(test);

/** An address of this machine that no pod of the demo can reach. */
const hostAddress = Object.values(os.networkInterfaces())
  .flat()
  .find((address) => address?.family === 'IPv4' && !address.internal)?.address;

/** Tells who asks. */
const server = createServer((request, response) => {
  response.end(`host says: ${request.socket.remoteAddress}\n`);
});
const loopbackServer = createServer((request, response) => {
  response.end(`host's localhost says: ${request.socket.remoteAddress}\n`);
});
const datagrams = dgram.createSocket('udp4');
datagrams.on('message', (message, {port, address}) =>
  datagrams.send(`host says: ${message}`, port, address),
);
let host = '';
let port = 0;
let localPort = 0;
let udpPort = 0;

test.serial.before('servers on this machine', async () => {
  if (hostAddress === undefined) throw new Error('this machine has no address but loopback');
  host = hostAddress;
  await once(server.listen(0, host), 'listening');
  await once(loopbackServer.listen(0, '127.0.0.1'), 'listening');
  datagrams.bind(0, '127.0.0.1');
  await once(datagrams, 'listening');
  port = (server.address() as AddressInfo).port;
  localPort = (loopbackServer.address() as AddressInfo).port;
  udpPort = datagrams.address().port;
});

test.after.always('the servers end', () => {
  for (const each of [server, loopbackServer]) {
    each.closeAllConnections();
    each.close();
  }
  datagrams.close();
});

let configurations = 0;

/** Runs a program with these settings of the network. */
async function exec(
  network: object,
  argv: readonly string[],
  {flags = [], ...options}: ExecOptions = {},
): Promise<Result> {
  const path = join(demo.directory, `network-${configurations++}.json`);
  writeFileSync(path, JSON.stringify({feature: {network}}), {mode: 0o644});
  return await demo.startExec(argv, {input: '', ...options, flags: ['-f', path, ...flags]}).ended;
}

/** Fetches pages, one after another; what it can't have is told by curl's status. */
async function fetchAll(outgoing: object, ...urls: string[]): Promise<string[]> {
  const script = urls.map(
    (url) => `curl -sS --connect-timeout 4 --max-time 8 '${url}' 2>&1 || echo "status $?"`,
  );
  const {stdout} = await exec({outgoing}, ['sh', '-c', script.join('\necho ----\n')]);
  return stdout.split('----\n').map((text) => text.trim());
}

const pod = (name: string): RegExp => new RegExp(`"pod":"${name}.*"client":"10\\.244\\.0\\.10"`);
const isOfPod = (text = ''): boolean => text.includes('"pod"');

test.serial('without a filter this machine is not reached', async (t) => {
  const [one, other] = await fetchAll(
    {},
    `http://${host}:${port}/`,
    `http://127.0.0.1:${localPort}/`,
  );
  t.regex(one ?? '', /status (7|28)/);
  t.regex(other ?? '', /status 7/);
});

const lists: [rule: string, url: () => string][] = [
  ['an address', () => host],
  ['a subnet', () => `${host}/31`],
  ['a port', () => `:${port}`],
  ['a protocol and an address', () => `tcp://${host}:${port}`],
];

for (const [what, rule] of lists) {
  test.serial(`local: ${what}: dialled from this machine, all else from the pod`, async (t) => {
    const urls = [`http://${host}:${port}/`, 'http://orders/'];
    const [local, remote] = await fetchAll({filter: {local: [rule()]}}, ...urls);
    t.is(local, `host says: ${host}`);
    t.regex(remote ?? '', pod('orders'));
  });
}

test.serial('local: a rule of the other protocol or of another port does not fit', async (t) => {
  const filter = {local: [`udp://${host}`, `${host}:${port ^ 1}`]};
  const [text] = await fetchAll({filter}, `http://${host}:${port}/`);
  t.regex(text ?? '', /status (7|28)/);
});

/** Not `gateway`, which the pod's hosts file has as its own name. */
const outsider = 'http://gateway.default.svc.cluster.local/';

const remotes: [rule: string, fits: string, other: string][] = [
  ['orders', 'http://orders/', outsider],
  ['orders.default.svc', 'http://orders.default.svc.cluster.local/', outsider],
  ['ORDERS.default.svc.cluster.local', 'http://orders/', outsider],
  ['shop', 'http://shop/', 'http://orders/'],
  // The name of an alias stands for what has another name too: the address is the same.
  ['gateway.default.svc.cluster.local', 'http://shop/', 'http://orders/'],
  ['10.96.0.21', 'http://orders/', outsider],
  ['10.244.0.0/16', 'http://orders-headless:8080/', outsider],
  ['tcp://:8080', 'http://orders-headless:8080/', 'http://orders/'],
  ['[fd00:10:96::]/48', 'http://v6/', 'http://orders/'],
];

for (const [rule, fits, other] of remotes) {
  test.serial(`remote: ${rule}: ${fits} is reached from the pod, ${other} is not`, async (t) => {
    const urls = [fits, other, `http://${host}:${port}/`];
    const [remote, not, local] = await fetchAll({filter: {remote: [rule]}}, ...urls);
    t.true(isOfPod(remote), remote);
    t.false(isOfPod(not), not);
    t.is(local, `host says: ${host}`);
  });
}

test.serial('remote: what is not named leaves localhost to this machine', async (t) => {
  const filter = {remote: ['orders', '127.0.0.1:9000']};
  const [local, remote] = await fetchAll(
    {filter},
    `http://localhost:${localPort}/`,
    'http://127.0.0.1:9000/x',
  );
  t.is(local, "host's localhost says: 127.0.0.1");
  t.true(isOfPod(remote), remote);
});

for (const rule of ['localhost', '127.0.0.1', '127.0.0.0/8', 'tcp://']) {
  test.serial(`local: ${rule}: localhost is this machine's`, async (t) => {
    const urls = [
      `http://127.0.0.1:${localPort}/`,
      'http://127.0.0.1:9000/',
      'http://127.0.0.1:1/',
    ];
    const [open, podsPort, closed] = await fetchAll({filter: {local: [rule]}}, ...urls);
    t.is(open, "host's localhost says: 127.0.0.1");
    t.regex(podsPort ?? '', /status 7/, 'what only the pod has open');
    t.regex(closed ?? '', /status 7/);
  });
}

test.serial("ignore_localhost: this machine's localhost, the pod's network", async (t) => {
  const [local, podsPort, own, remote] = await fetchAll(
    {ignore_localhost: true},
    `http://127.0.0.1:${localPort}/`,
    'http://127.0.0.1:9000/',
    'http://10.244.0.10/x',
    'http://orders/',
  );
  t.is(local, "host's localhost says: 127.0.0.1");
  t.regex(podsPort ?? '', /status 7/);
  t.true(isOfPod(own), "the pod's own address stays the pod's");
  t.regex(remote ?? '', pod('orders'));
});

test.serial(
  "ignore_localhost: a server that starts later is reached, and the program's own wins",
  async (t) => {
    const script = `
import socket, sys
port = int(sys.argv[1])
def ask():
    try:
        with socket.create_connection(('127.0.0.1', port), timeout=20) as s:
            s.sendall(b'GET / HTTP/1.0\\r\\n\\r\\n')
            return b''.join(iter(lambda: s.recv(4096), b'')).decode().splitlines()[-1]
    except OSError as e:
        return e.strerror
print(ask(), flush=True)
sys.stdin.readline()
answer = ask()
while answer == 'Connection refused': answer = ask()
print(answer, flush=True)
own = socket.create_server(('127.0.0.1', port))
c = socket.create_connection(('127.0.0.1', port), timeout=20)
own.accept()[0].sendall(b'own')
print(c.recv(9).decode(), flush=True)
`;
    const later = createServer((_, response) => response.end('later'));
    await once(later.listen(0, '127.0.0.1'), 'listening');
    const {port: free} = later.address() as AddressInfo;
    await new Promise((resolve) => later.close(resolve));
    const path = join(demo.directory, 'later.json');
    writeFileSync(path, '{"feature": {"network": {"outgoing": {"ignore_localhost": true}}}}');
    const running = demo.startExec(['python3', '-c', script, `${free}`], {flags: ['-f', path]});
    await running.said(/^Connection refused\n/);
    const again = createServer((_, response) => response.end('later'));
    await once(again.listen(free, '127.0.0.1'), 'listening');
    running.child.stdin?.write('\n');
    await running.said(/refused\nlater\nown\n/);
    t.is((await running.ended).status, 0);
    await new Promise((resolve) => again.close(resolve));
  },
);

test.serial(
  'ignore_localhost: a port of the program that is published here does not lead back to it',
  async (t) => {
    const script = `
import socket, sys
own = socket.create_server(('10.244.0.10', 0))
port = own.getsockname()[1]
print(port, flush=True)
later = int(sys.stdin.readline())
while True: # until this machine's ports have been looked at again
    try:
        socket.create_connection(('127.0.0.1', later), timeout=20)
        break
    except OSError: pass
try:
    with socket.create_connection(('127.0.0.1', port), timeout=20) as s:
        print('connected', s.recv(1))
except OSError as e:
    print(e.strerror)
`;
    const path = join(demo.directory, 'published.json');
    writeFileSync(path, '{"feature": {"network": {"outgoing": {"ignore_localhost": true}}}}');
    const running = demo.startExec(['python3', '-c', script], {flags: ['-f', path]});
    const [own = ''] = await running.said(/^\d+(?=\n)/);
    await waitFor('the port to be published', async () => {
      const socket = net.connect(Number(own), '127.0.0.1');
      const isOpen = await once(socket, 'connect').then(
        () => true,
        () => false,
      );
      socket.destroy();
      return isOpen;
    });
    const later = net.createServer().listen(0, '127.0.0.1');
    await once(later, 'listening');
    running.child.stdin?.end(`${(later.address() as AddressInfo).port}\n`);
    t.regex((await running.ended).stdout, /\nConnection refused\n$/);
    later.close();
  },
);

test.serial('ignore_localhost: datagrams too', async (t) => {
  const script = `
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(20)
s.connect(('127.0.0.1', int(sys.argv[1])))
s.send(b'hello')
print(s.recv(99).decode())
`;
  const argv = ['python3', '-c', script, `${udpPort}`];
  const {stdout, stderr} = await exec({outgoing: {ignore_localhost: true}}, argv);
  t.is(stdout, 'host says: hello\n', stderr);
});

test.serial('tcp off: connections leave from this machine, datagrams from the pod', async (t) => {
  const script = `
curl -sS http://${host}:${port}/
curl -sS --connect-timeout 4 --max-time 8 http://orders/ 2>/dev/null
python3 ${demo.program('client.py')} udp_peers 10.96.0.22,7`;
  const {stdout, stderr} = await exec({outgoing: {tcp: false}}, ['sh', '-c', script]);
  t.true(stdout.startsWith(`host says: ${host}\n`), stdout + stderr);
  t.false(isOfPod(stdout));
  t.true(stdout.endsWith('10.96.0.22,7 to 10.96.0.22,7\n'), stdout + stderr);
});

for (const flag of ['--no-tcp-outgoing', '--no-outgoing']) {
  test.serial(`${flag}: connections leave from this machine`, async (t) => {
    const {stdout, stderr} = await exec({}, ['curl', '-sS', `http://${host}:${port}/`], {
      flags: [flag],
    });
    t.is(stdout, `host says: ${host}\n`, stderr);
  });
}

test.serial(
  '--no-udp-outgoing: connections still leave from the pod, and names are the pod’s',
  async (t) => {
    const {stdout, stderr} = await exec({}, ['curl', '-sS', 'http://orders/'], {
      flags: ['--no-udp-outgoing'],
    });
    t.regex(stdout, pod('orders'), stderr);
  },
);

test.serial('ping leaves from the pod, whatever the filter says', async (t) => {
  const {status, stdout, stderr} = await exec({outgoing: {filter: {local: ['0.0.0.0']}}}, [
    'ping',
    '-c1',
    '-W5',
    '10.244.0.11',
  ]);
  t.is(status, 0, stdout + stderr);
});

/** A program that connects out as pydevd does, and says what it heard. */
const connectOut = `
import socket, sys
port = int(sys.argv[sys.argv.index('--port') + 1])
with socket.create_connection(('127.0.0.1', port), timeout=20) as s:
    print(s.recv(99).decode(), end='')
`;

for (const [what, env] of [
  ['found in the command line', {MIRRORD_DETECT_DEBUGGER_PORT: 'pydevd'}],
  ['told', undefined],
] as const) {
  test.serial(`a debugger's port that is ${what} is this machine's`, async (t) => {
    const ide = net.createServer((socket) => socket.end('hello from the IDE\n'));
    await once(ide.listen(0, '127.0.0.1'), 'listening');
    const {port: idePort} = ide.address() as AddressInfo;
    const argv = ['python3', '-c', connectOut, '/x/pydevd.py', '--port', `${idePort}`];
    const variables = env ?? {MIRRORD_IGNORE_DEBUGGER_PORTS: `1,${idePort}-${idePort}`};
    const {stdout, stderr} = await exec({}, argv, {env: variables});
    t.is(stdout, 'hello from the IDE\n', stderr);
    const without = await exec({}, argv);
    t.regex(without.stderr, /ConnectionRefusedError/);
    ide.close();
  });
}

test.serial('a debugger variable that makes no sense is told', async (t) => {
  const env = {MIRRORD_IGNORE_DEBUGGER_PORTS: '80,x', MIRRORD_DETECT_DEBUGGER_PORT: 'gdbx'};
  const {status, stderr} = await exec({}, ['true'], {env});
  t.is(status, 0);
  t.regex(stderr, /MIRRORD_IGNORE_DEBUGGER_PORTS: x: neither a port nor/);
  t.regex(stderr, /MIRRORD_DETECT_DEBUGGER_PORT: gdbx is no debugger/);
});

const families = `
import socket, json, os
def attempt(f):
    try:
        f()
        return 0
    except OSError as e:
        return e.errno
print(json.dumps({
    'six': attempt(lambda: socket.socket(socket.AF_INET6, socket.SOCK_STREAM)),
    'sixDatagrams': attempt(lambda: socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)),
    'four': attempt(lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM)),
    'unix': attempt(lambda: socket.socketpair()),
    'addresses': open('/proc/net/if_inet6').read() if os.path.exists('/proc/net/if_inet6') else '',
    'noNewPrivileges': [l for l in open('/proc/self/status') if l.startswith('NoNewPrivs')][0].split()[1],
}))
`;

test.serial(
  'without ipv6 the family is not supported, and there are no addresses of it',
  async (t) => {
    const {stdout, stderr} = await exec({ipv6: false}, ['python3', '-c', families]);
    t.deepEqual(
      JSON.parse(stdout),
      {six: 97, sixDatagrams: 97, four: 0, unix: 0, addresses: '', noNewPrivileges: '0'},
      stderr,
    );
  },
);

test.serial(
  'without ipv6, a name with addresses of both families is reached by IPv4',
  async (t) => {
    const {stdout, stderr} = await exec({ipv6: false}, ['curl', '-sS', 'http://gateway/']);
    t.true(isOfPod(stdout), stderr);
  },
);

test.serial('a program that joins a session without ipv6 has none either', async (t) => {
  const path = join(demo.directory, 'four.json');
  writeFileSync(path, '{"feature": {"network": {"ipv6": false}}}');
  const running = demo.startExec(['cat'], {flags: ['-f', path]});
  running.child.stdin?.write('up\n');
  await running.said(/up/);
  const {stdout: list} = await demo.mirrord(['session', 'list', '-o', 'json']);
  const [session] = JSON.parse(list) as {id: string}[];
  const joined = await demo.mirrord([
    'exec',
    '--join',
    session?.id ?? '',
    '--',
    'python3',
    '-c',
    families,
  ]);
  t.is(joined.status, 0, joined.stderr);
  t.is((JSON.parse(joined.stdout) as {six: number}).six, 97);
  running.child.stdin?.end();
  t.is((await running.ended).status, 0);
});
