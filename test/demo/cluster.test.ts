import {createHash} from 'node:crypto';
import anyTest, {type ExecutionContext, type TestFn} from 'ava';
import {patternBlock} from '../../cli/demo/servers/pattern.ts';
import {TestDemo} from '../helpers/demo.ts';
import type {RunOptions} from '../helpers/user.ts';

const test = anyTest as TestFn;
const demo = new TestDemo();

test.before('the demo is up', async () => {
  await demo.up();
});

test.after.always('the demo is down', () => demo[Symbol.asyncDispose]());

/** Runs a program in the gateway's pod; fails unless its status is 0. Returns its output. */
async function run(
  t: ExecutionContext,
  argv: readonly string[],
  options?: RunOptions & {pod?: string},
): Promise<string> {
  const {status, stdout, stderr} = await demo.inside(options?.pod ?? 'gateway', argv, options);
  t.is(status, 0, `${argv.join(' ')}: ${stderr}`);
  return stdout;
}

/** Runs a script in a pod's own Node. `script` writes its result to the standard output. */
const script = (t: ExecutionContext, text: string) =>
  run(t, ['/app/node', '--input-type=module', '-e', text]);

const curl = (t: ExecutionContext, ...args: string[]) =>
  run(t, ['curl', '--silent', '--show-error', '--max-time', '10', ...args]);

const curlJson = async (t: ExecutionContext, ...args: string[]) =>
  JSON.parse(await curl(t, ...args)) as {pod: string; client: string; admin?: boolean};

const dig = async (t: ExecutionContext, ...args: string[]) =>
  (await run(t, ['dig', '+time=5', '+tries=1', ...args])).trim();

/** The code of the error with which a connection fails. */
const failure = (t: ExecutionContext, host: string, port: number, timeoutMs = 5000) =>
  script(
    t,
    `import {connect} from 'node:net';
     const socket = connect({host: '${host}', port: ${port}, timeout: ${timeoutMs}});
     const end = (text) => { process.stdout.write(text); process.exit(); };
     socket.on('error', (error) => end(error.code)).on('timeout', () => end('timeout'));
     socket.on('connect', () => end('connected'));`,
  );

test('a service spreads its connections over its replicas', async (t) => {
  const pods = new Set<string>();
  const urls = Array.from({length: 20}, () => 'http://orders/');
  // One connection each: curl would keep it.
  const output = await curl(t, '--header', 'connection: close', ...urls);
  for (const line of output.trim().split('\n')) pods.add((JSON.parse(line) as {pod: string}).pod);
  t.deepEqual([...pods].sort(), ['orders-0', 'orders-1']);
});

test('a server sees the address of the pod that asks, through a service too', async (t) => {
  t.is((await curlJson(t, 'http://orders/')).client, '10.244.0.10');
  t.is((await curlJson(t, 'http://10.244.0.12:8080/')).client, '10.244.0.10');
  t.is((await curlJson(t, 'http://v6/')).client, 'fd00:10:244::10');
});

test('a pod reaches itself by its own service', async (t) => {
  // By a name that isn't in /etc/hosts. The node's address shows that the node was in between.
  const url = 'http://gateway.default/self';
  t.like(await curlJson(t, '-4', url), {pod: 'gateway', client: '10.244.0.1'});
  t.like(await curlJson(t, '-6', url), {pod: 'gateway', client: 'fd00:10:244::1'});
});

test('the gateway asks the orders service', async (t) => {
  const answer = await curlJson(t, 'http://shop/orders/7');
  t.like(answer, {pod: 'gateway', orders: {path: '/7', client: '10.244.0.10'}});
});

test('the admin page and statsd answer on the loopback of their pod, in both families', async (t) => {
  for (const host of ['127.0.0.1', '[::1]', 'localhost']) {
    t.true((await curlJson(t, `http://${host}:9000/`)).admin);
  }
  t.is(await run(t, ['nc', '-u', '-w1', '127.0.0.1', '8125'], {input: 'x:1|c'}), 'x:1|c');
});

test('the admin page can not be reached from outside of its pod', async (t) => {
  const {status, stderr} = await demo.inside('echo', ['curl', '-sS', 'http://10.244.0.10:9000/']);
  t.is(status, 7, stderr);
});

test('the orders pods listen on their IPv4 address only', async (t) => {
  const {status} = await demo.inside('orders-0', ['curl', '-sS', 'http://127.0.0.1:8080/']);
  t.is(status, 7);
});

test('TCP echo returns everything before it closes its half', async (t) => {
  const input = Buffer.alloc(1_000_003, 'mirrord ').toString();
  t.is(await run(t, ['nc', '-N', 'echo', '7'], {input}), input);
});

test('UDP echo answers through the service', async (t) => {
  t.is(await run(t, ['nc', '-u', '-w1', 'echo', '7'], {input: 'hello'}), 'hello');
});

test('the sink tells number and hash of what it got, after FIN', async (t) => {
  const input = Buffer.alloc(5_000_000, 'z').toString();
  const sha256 = createHash('sha256').update(input).digest('hex');
  t.deepEqual(JSON.parse(await run(t, ['nc', '-N', 'echo', '5001'], {input})), {
    bytes: input.length,
    sha256,
  });
});

test('the source sends as many bytes of the pattern as asked for', async (t) => {
  const count = 3_000_001;
  const block = patternBlock();
  const hash = createHash('sha256');
  for (let left = count; left > 0; left -= block.length) hash.update(block.subarray(0, left));
  const output = await run(t, ['sh', '-c', `echo ${count} | nc echo 5002 | sha256sum`]);
  t.is(output.split(' ')[0], hash.digest('hex'));
});

test('the crooked UDP server answers from another port', async (t) => {
  const output = await script(
    t,
    `import {createSocket} from 'node:dgram';
     const socket = createSocket('udp4');
     socket.on('message', (data, from) => {
       process.stdout.write(data + ' ' + from.port);
       process.exit();
     });
     socket.send('hello', 7001, '10.244.0.13');`,
  );
  t.is(output, 'hello 7002');
});

test('the chat repeats text and binary messages', async (t) => {
  const output = await script(
    t,
    `const socket = new WebSocket('ws://chat/');
     socket.binaryType = 'arraybuffer';
     const seen = [];
     socket.onopen = () => { socket.send('hi'); socket.send(new Uint8Array([1, 2, 3])); };
     socket.onmessage = ({data}) => {
       seen.push(typeof data === 'string' ? data : [...new Uint8Array(data)]);
       if (seen.length === 2) { process.stdout.write(JSON.stringify(seen)); process.exit(); }
     };`,
  );
  t.is(output, '["hi",[1,2,3]]');
});

for (const [name, host, port] of [
  ['a service without endpoints', 'payments', 80],
  ['a service port that there is not', 'orders', 81],
  ['a cluster IP that nobody has', '10.96.77.77', 80],
  ['an IPv6 cluster IP that nobody has', 'fd00:10:96::77', 80],
  ['a port on which a pod does not listen', '10.244.0.11', 81],
] as const) {
  test(`${name} refuses connections`, async (t) => {
    t.is(await failure(t, host, port), 'ECONNREFUSED');
  });
}

for (const [host, code] of [
  ['10.244.0.251', 'EHOSTUNREACH'],
  ['10.244.0.252', 'EHOSTUNREACH'],
  ['10.244.0.253', 'ENETUNREACH'],
  ['fd00:10:244::251', 'EHOSTUNREACH'],
  ['fd00:10:244::252', 'EACCES'],
  ['fd00:10:244::253', 'ENETUNREACH'],
] as const) {
  test(`a connection to ${host} fails with ${code}`, async (t) => {
    t.is(await failure(t, host, 80), code);
  });
}

test('a connection to the black hole gets no answer at all', async (t) => {
  t.is(await failure(t, 'blackhole', 80, 500), 'timeout');
});

test('a UDP datagram to a service without endpoints is refused', async (t) => {
  const output = await script(
    t,
    `import {createSocket} from 'node:dgram';
     const socket = createSocket('udp4');
     socket.on('error', (error) => { process.stdout.write(error.code); process.exit(); });
     socket.connect(80, '10.96.0.25', () => socket.send('x'));`,
  );
  t.is(output, 'ECONNREFUSED');
});

test('names are completed by the search domains, over UDP and TCP', async (t) => {
  t.is(await dig(t, '+short', '+search', 'orders'), '10.96.0.21');
  t.is(await dig(t, '+short', '+search', '+tcp', 'kube-dns.kube-system'), '10.96.0.10');
  t.regex(await run(t, ['getent', 'ahosts', 'orders-headless']), /10\.244\.0\.1[12] +STREAM/);
});

test('dig sees SRV records, NXDOMAIN and NODATA', async (t) => {
  const srv = await dig(t, '+short', 'SRV', '_http._tcp.orders.default.svc.cluster.local');
  t.is(srv, '0 100 80 orders.default.svc.cluster.local.');
  t.regex(await dig(t, 'nobody.default.svc.cluster.local'), /status: NXDOMAIN/);
  const none = await dig(t, 'AAAA', 'orders.default.svc.cluster.local');
  t.regex(none, /status: NOERROR.*\n.*ANSWER: 0, AUTHORITY: 1/);
});

test('what is no query is dropped, counted, and harms nobody', async (t) => {
  const malformed = async () => {
    const status = await demo.status();
    return status.running ? status.dns.malformed : 0;
  };
  const before = await malformed();
  await run(t, ['nc', '-u', '-w1', '10.96.0.10', '53'], {input: 'nonsense'});
  await run(t, ['nc', '-N', '10.96.0.10', '53'], {input: '\0\u0004junk'});
  t.is(await malformed(), before + 2);
  t.is(await dig(t, '+short', '+search', 'orders'), '10.96.0.21');
});

test('each pod has a name, an address and an environment of its own, and nothing of the machine', async (t) => {
  const {addresses, env} = await demo.pod('orders-1');
  const output = await run(t, ['sh', '-c', 'hostname; hostname -i; cat /etc/hostname; env'], {
    pod: 'orders-1',
  });
  const [hostname, address, inFile, ...variables] = output.trim().split('\n');
  t.deepEqual([hostname, inFile], ['orders-1', 'orders-1']);
  t.true(address?.split(' ').includes(addresses.v4));
  const seen = Object.fromEntries(variables.map((line) => [line.split('=', 1)[0], line]));
  t.is(seen['POD_NAME'], 'POD_NAME=orders-1');
  t.is(seen['ORDERS_SERVICE_HOST'], 'ORDERS_SERVICE_HOST=10.96.0.21');
  t.true(env['DB_HOST']?.startsWith('orders-db'));
  t.is(seen['XDG_RUNTIME_DIR'], undefined);
});

test('each pod has files of its own, and the machine’s programs read-only', async (t) => {
  const files = ['/etc/os-release', '/app/config.json'];
  const account = '/var/run/secrets/kubernetes.io/serviceaccount';
  const output = await run(t, ['cat', ...files, `${account}/namespace`, `${account}/token`]);
  t.regex(output, /ID=mirrord-demo.*"upstream": "http:\/\/orders".*default.*\..*\./s);
  const {stderr} = await demo.inside('gateway', ['sh', '-c', 'echo >/tmp/x && echo >/usr/x']);
  t.regex(stderr, /\/usr\/x: Read-only file system/);
  t.is((await demo.inside('echo', ['cat', '/tmp/x'])).status, 1);
  t.is((await demo.inside('gateway', ['ls', '/home'])).status, 2);
});

test('a pod sees its own interface in /sys', async (t) => {
  t.deepEqual((await run(t, ['ls', '/sys/class/net'])).split('\n').sort(), ['', 'eth0', 'lo']);
});

test('pods can be pinged, by the ordinary user of a pod', async (t) => {
  t.regex(await run(t, ['ping', '-c1', '-W5', '10.244.0.13']), /1 received/);
  t.regex(await run(t, ['ping', '-6', '-c1', '-W5', 'fd00:10:244::15']), /1 received/);
});

test('a pod of run has this machine’s programs, /data, and a name by which others find it', async (t) => {
  const serve = 'touch /data/x && while true; do nc -N -l -p 4000 </data/x; done';
  const {status, stderr} = await demo.command(
    'run',
    'extra',
    '--port',
    '4000',
    '--env',
    'A=b c',
    '--',
    'sh',
    '-c',
    serve,
  );
  t.is(status, 0, stderr);
  const env = await demo.inside('extra', ['sh', '-c', 'echo $A; cat /etc/hostname; ls /data']);
  t.is(env.stdout, 'b c\nextra\nx\n');
  t.is(await dig(t, '+short', '+search', 'extra'), '10.244.0.100');
  t.is(await failure(t, 'extra', 4000), 'connected');
  t.is((await demo.command('run', 'extra', '--', 'true')).status, 1);
  t.is((await demo.command('stop', 'extra')).status, 0);
  t.is(await dig(t, '+short', '+search', 'extra'), '');
});

test('a pod of run that can not start is reported and not kept', async (t) => {
  const {status, stderr} = await demo.command('run', 'broken', '--', '/no/such/program');
  t.is(status, 1);
  t.regex(stderr, /execve: ENOENT.*MIRRORD_DEMO_POD_FAILED/);
  await t.throwsAsync(demo.pod('broken'));
});

test('a command in a pod ends with its own status', async (t) => {
  t.is((await demo.command('enter', 'orders', 'sh', '-c', 'exit 7')).status, 7);
  t.is((await demo.command('enter', 'nobody', 'true')).status, 1);
});
