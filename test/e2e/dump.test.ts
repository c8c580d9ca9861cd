/** `mirrord dump` on the embedded cluster: what `demo/gateway` is asked from another pod. */

import test, {type ExecutionContext} from 'ava';
import {type Running, useDemo, waitFor} from '../helpers/e2e.ts';
import {Gateway, gatewayAddress} from '../helpers/gateway.ts';
import {allProcesses} from '../helpers/processes.ts';

const demo = useDemo(test);
const gateway = new Gateway(demo);

/** Starts it, and waits until traffic comes. */
async function start(t: ExecutionContext, ...flags: string[]): Promise<Running> {
  const running = demo.start([demo.mirrordPath, 'dump', '-t', 'demo/gateway', ...flags]);
  t.teardown(() => running.child.kill('SIGKILL'));
  await waitFor('dump to be ready', () => {
    if (running.child.exitCode !== null) throw new Error(running.output.stderr);
    return running.output.stderr.includes('new connections to demo/gateway');
  });
  return running;
}

/** Has a client in the other pod send bytes (in Python's notation), and end. */
async function send(bytes: string): Promise<void> {
  const script = `
import socket
s = socket.create_connection(("${gatewayAddress}", 80))
s.sendall(b"${bytes}")
s.shutdown(socket.SHUT_WR)
while s.recv(65536): pass`;
  const {status, stderr} = await gateway.byClient('python3', '-c', script);
  if (status !== 0) throw new Error(stderr);
}

test.serial('requests are shown as they come, and Ctrl-C ends it with nothing left', async (t) => {
  const running = await start(t, '-p', '80');
  t.is(await gateway.captures(), 1);
  t.is(await gateway.rules(), '', 'nothing is redirected');
  const {stdout} = await gateway.byClient(
    'curl',
    '-s',
    '-m',
    '5',
    `http://${gatewayAddress}/asked`,
  );
  t.regex(stdout, /"pod":"gateway"/, 'the application answers');
  await running.said(
    /^## New connection established: Connection ID 1 from 10\.244\.0\.11:\d+ to 10\.244\.0\.10:80$/m,
  );
  await running.said(/^## Connection ID 1: \d+ bytes\nGET \/asked HTTP\/1\.1\r\nHost: /m);
  await running.said(/^## Connection ID 1 closed after \d+ bytes$/m);
  const children = allProcesses().filter(({parent}) => parent === running.pid);
  t.deepEqual(
    children.filter(({command}) => command.includes('launcher')),
    [],
    'no namespace is made here',
  );
  running.child.kill('SIGINT');
  t.is((await running.ended).status, 0);
  t.is(await gateway.captures(), 0);
});

test.serial('without -p, what the pod listens on; binary data is readable', async (t) => {
  const running = await start(t);
  t.regex(running.output.stderr, /new connections to demo\/gateway, port (\d+, )*80\b/);
  await send('\\x1b[31mred\\x00\\xff');
  await running.said(/^00000000 {2}1b 5b 33 31 6d 72 65 64 {2}00 ff {18,}\|\.\[31mred\.\.\|$/m);
  t.false(running.output.stdout.includes('\u001b'), 'a stranger does not command the terminal');
  running.child.kill('SIGTERM');
  t.is((await running.ended).status, 0);
});

test.serial('--json: an object a line, of every byte', async (t) => {
  const running = await start(t, '--json', '-p', '80,8080');
  await send('GET /\\xc3\\xa4 HTTP/1.0\\r\\n\\r\\n');
  await send('\\x00\\xff');
  await running.said(/"type":"closed","id":2/);
  const events = running.output.stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>);
  const data = (id: number) =>
    events.filter((each) => each['type'] === 'data' && each['id'] === id);
  t.like(events[0], {type: 'connection', id: 1, to: '10.244.0.10:80'});
  t.like(data(1)[0], {bytes: 20, text: 'GET /ä HTTP/1.0\r\n\r\n'});
  t.like(data(2)[0], {bytes: 2, base64: 'AP8='});
  running.child.kill('SIGINT');
  t.is((await running.ended).status, 0);
});

test.serial('http_filter: only the requests that fit, each as a connection', async (t) => {
  const config = JSON.stringify({
    feature: {network: {incoming: {http_filter: {path_filter: '^/mine'}}}},
  });
  const file = `${demo.temporary}/filter.json`;
  await demo.run(['sh', '-c', 'printf %s "$0" >"$1"', config, file]);
  const running = await start(t, '-p', '80', '-f', file);
  const urls = ['/mine/1', '/theirs', '/mine/2'].map((path) => `http://${gatewayAddress}${path}`);
  const {stdout} = await gateway.byClient('curl', '-s', '-m', '5', ...urls);
  t.is(stdout.match(/"pod":"gateway"/g)?.length, 3, 'the application answers all');
  await running.said(/^## Connection ID 2 closed/m);
  const requests = running.output.stdout.match(/^GET .*(?=\r)/gm);
  t.deepEqual(requests, ['GET /mine/1 HTTP/1.1', 'GET /mine/2 HTTP/1.1']);
  running.child.kill('SIGINT');
  t.is((await running.ended).status, 0);
});

test.serial('it ends when nobody reads any more', async (t) => {
  const running = await start(t, '-p', '80');
  running.child.stdout?.destroy();
  await send('GET / HTTP/1.0\\r\\n\\r\\n');
  t.is((await running.ended).status, 0);
  t.is(await gateway.rules(), '');
});

test.serial('without a target there is nothing to show', async (t) => {
  const {status, stderr} = await demo.mirrord(['dump', '-t', 'targetless']);
  t.is(status, 1);
  t.regex(stderr, /MIRRORD_TARGET_MISSING/);
  const wrong = await demo.mirrord(['dump', '-t', 'demo/gateway', '-p', '0']);
  t.regex(wrong.stderr, /0 is no port/);
});
