/** What is done with a target's traffic without a program, and to connections of before a steal, on a real cluster. */

import {once} from 'node:events';
import net from 'node:net';
import ava from 'ava';
import {clusterTest, useCluster} from '../helpers/cluster.ts';
import {useClusterWorld} from '../helpers/cluster-world.ts';
import {type Running, waitFor} from '../helpers/e2e.ts';

const test = clusterTest(ava);
const cluster = useCluster(test);
const world = useClusterWorld(test, cluster);

/** What a pod of another workload runs. */
function inOrders(script: string): string[] {
  return ['-n', 'demo', 'exec', 'deployment/orders', '--', 'node', '-e', script];
}

const ask = `fetch('http://gateway/asked', {headers: {connection: 'close'}})
  .then((response) => response.text()).then(console.log, (error) => console.log(String(error)))`;

/** Starts a command on the gateway, and waits until it says so. */
async function start(pattern: RegExp, command: string, ...flags: string[]): Promise<Running> {
  const target = ['-t', 'deployment/gateway', '-n', 'demo'];
  const running = world.start([world.mirrordPath, command, ...target, ...flags]);
  await waitFor(`${command} to be ready`, () => {
    if (running.child.exitCode !== null) throw new Error(running.output.stderr);
    return pattern.test(running.output.stderr);
  });
  return running;
}

test.serial('dump shows a Service’s requests, on the port that the pod declares', async (t) => {
  const running = await start(/new connections to deployment\/gateway, port 80:/, 'dump');
  t.teardown(() => running.child.kill('SIGKILL'));
  t.true((await cluster.kubectl(inOrders(ask))).includes('"path":"/asked"'));
  await running.said(/^GET \/asked HTTP\/1\.1\r$/m);
  await running.said(/^GET \/healthz HTTP\/1\.1\r$/m);
  running.child.kill('SIGINT');
  t.is((await running.ended).status, 0);
});

test.serial(
  'port-forward: a Service by its short name, as the pod’s resolver finds it',
  async (t) => {
    const server = net.createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const {port} = server.address() as net.AddressInfo;
    server.close();
    const running = await start(/leads to orders:80/, 'port-forward', '-L', `${port}:orders:80`);
    t.teardown(() => running.child.kill('SIGKILL'));
    const answer = await fetch(`http://127.0.0.1:${port}/through`);
    t.regex(await answer.text(), /"path":"\/through"/);
    running.child.kill('SIGINT');
    t.is((await running.ended).status, 0);
  },
);

test.serial(
  'flush_connections: a connection of before the steal is reset, with a Job’s rights',
  async (t) => {
    const client = cluster.start([
      'kubectl',
      ...inOrders(`
const socket = require('net').connect(80, 'gateway', () => console.log('connected'));
socket.on('error', (error) => console.log(error.code));`),
    ]);
    let said = '';
    client.stdout?.setEncoding('utf8').on('data', (text: string) => {
      said += text;
    });
    await waitFor('the client to be connected', () => said.includes('connected'));
    const running = world.startExec(['python3', world.program('incoming.py'), '80', '::'], {
      target: 'deployment/gateway',
      flags: ['-n', 'demo'],
      env: {
        MIRRORD_AGENT_TCP_STEAL_TRAFFIC: 'true',
        MIRRORD_AGENT_STEALER_FLUSH_CONNECTIONS: 'true',
      },
    });
    t.teardown(() => running.child.kill('SIGTERM'));
    await waitFor('the connection to be reset', () => said.includes('ECONNRESET'));
    running.child.stdin?.end();
    const {status, stderr} = await running.ended;
    t.is(status, 0, stderr);
    t.notRegex(stderr, /stood/);
  },
);
