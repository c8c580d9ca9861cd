import test from 'ava';
import {useDemo} from '../helpers/e2e.ts';
import {useSession} from '../helpers/session.ts';

const demo = useDemo(test);
const session = useSession(test, demo);

interface Answer {
  pod: string;
  client: string;
}

async function curl(url: string, ...flags: string[]): Promise<Answer> {
  return JSON.parse(await session.exec(['curl', '-sS', '--fail', ...flags, url])) as Answer;
}

test.serial('a service is reached by its short name', async (t) => {
  t.regex((await curl('http://orders/')).pod, /^orders-[01]$/);
});

test.serial('a service is reached by its full name', async (t) => {
  t.regex((await curl('http://orders.default.svc.cluster.local/')).pod, /^orders-[01]$/);
});

test.serial('a service is reached by its virtual address', async (t) => {
  t.regex((await curl('http://10.96.0.21/')).pod, /^orders-[01]$/);
});

test.serial('a pod is reached by its address, by which it knows the client too', async (t) => {
  const gateway = await demo.pod('gateway');
  const orders = await demo.pod('orders-1');
  const answer = await curl(`http://${orders.addresses.v4}:8080/`);
  t.is(answer.pod, 'orders-1');
  t.is(answer.client, gateway.addresses.v4);
});

test.serial('repeated calls of a service reach all its replicas', async (t) => {
  const calls = 'for i in $(seq 40); do curl -sS --fail http://orders/; done';
  const answers = (await session.exec(['sh', '-c', calls])).trim().split('\n');
  const replicas = answers.map((line) => (JSON.parse(line) as Answer).pod);
  t.is(replicas.length, 40);
  t.deepEqual([...new Set(replicas)].sort(), ['orders-0', 'orders-1']);
});

test.serial('a POST of 300 kB arrives whole', async (t) => {
  const body = 'x'.repeat(300_000);
  const argv = ['curl', '-sS', '--fail', '-H', 'Expect:', '--data-binary', '@-', 'http://chat/'];
  const answer = JSON.parse(await session.exec(argv, body)) as {
    method: string;
    headers: Record<string, string>;
    body: string;
  };
  t.is(answer.method, 'POST');
  t.is(answer.headers['content-length'], '300000');
  t.is(answer.body, body.slice(0, 65_536));
});

test.serial('a service with IPv6 only is reached by its name', async (t) => {
  const gateway = await demo.pod('gateway');
  const answer = await curl('http://v6/');
  t.is(answer.pod, 'v6');
  t.is(answer.client, gateway.addresses.v6);
});

test.serial('a service is reached by its IPv6 address', async (t) => {
  t.is((await curl('http://[fd00:10:96::24]/')).pod, 'v6');
});

test.serial('a pod is reached by its IPv6 address', async (t) => {
  const {addresses} = await demo.pod('v6');
  t.is((await curl(`http://[${addresses.v6}]:8080/`)).pod, 'v6');
});

test.serial('a name of both families is reached by either', async (t) => {
  const {addresses} = await demo.pod('orders-0');
  const script = 'for flag in -4 -6; do curl -sS --fail $flag http://gateway/who; echo; done';
  const said = await demo.exec(['sh', '-c', script], {target: 'demo/orders-0'});
  const answers = said.split('\n').filter((line) => line !== '');
  t.deepEqual(
    answers.map((line) => JSON.parse(line) as Answer).map(({pod, client}) => [pod, client]),
    [addresses.v4, addresses.v6].map((address) => ['gateway', address]),
  );
});

test.serial('another pod answers ping over IPv4', async (t) => {
  const {addresses} = await demo.pod('echo');
  const output = await session.exec(['ping', '-n', '-c', '2', '-i', '0.2', addresses.v4]);
  t.regex(output, new RegExp(`64 bytes from ${addresses.v4}: icmp_seq=2`));
  t.regex(output, /2 packets transmitted, 2 received/);
});

test.serial('another pod answers ping over IPv6', async (t) => {
  const {addresses} = await demo.pod('echo');
  const output = await session.exec(['ping', '-6', '-n', '-c', '2', '-i', '0.2', addresses.v6]);
  t.regex(output, new RegExp(`64 bytes from ${addresses.v6}: icmp_seq=2`));
  t.regex(output, /2 packets transmitted, 2 received/);
});

test.serial('nobody answers ping at an address where nobody is', async (t) => {
  const ping = ['ping', '-n', '-c', '1', '-W', '1', '10.244.0.250'];
  const {status, stdout} = await session.run(ping);
  t.is(status, 1);
  t.regex(stdout, /1 packets transmitted, 0 received/);
});

test.serial('programs in two sandboxes listen on the same port at once', async (t) => {
  const client = demo.program('client.py');
  const listen = () => demo.startExec(['python3', client, 'listen', '10.244.0.10', '8080']);
  const both = [listen(), listen()];
  for (const each of both) await each.said(/^listening$/m);
  for (const each of both) each.child.stdin?.end();
  for (const {ended} of both) {
    const {status, stdout} = await ended;
    t.is(stdout, 'listening\nTrue 10.244.0.10\n');
    t.is(status, 0);
  }
});
