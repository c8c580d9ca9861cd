/** An application that speaks HTTP/2 in a pod of its own, a program that does, and a client in another pod that asks all the time. */

import {once} from 'node:events';
import type {ExecutionContext} from 'ava';
import type {TestCluster} from '../helpers/cluster.ts';
import {waitFor} from '../helpers/e2e.ts';

/** JavaScript of a server that sends back what it gets, as it comes, and then its name. */
export const serving = (name: string): string => `
  require('http2').createServer()
    .on('stream', (stream) => {
      stream.on('error', () => {}).respond({':status': 200});
      stream.on('data', (bytes) => stream.write(bytes)).on('end', () => stream.end('${name}'));
    })
    .listen(80, () => console.log('listening'));
  process.stdin.on('end', () => process.exit()).resume();`;

/**
 * A client with nine requests at a time over one connection, every third with "x-who: HIS", and one that does not end. When it
 * hears something, that one goes on and ends, and when some that were begun since are over, it tells who answered: those without
 * the header, those with it, the same of those begun since; and what the long one came to.
 */
const asking = (address: string, who: string): string => `
  const session = require('http2').connect('http://${address}');
  session.on('error', () => {});
  const body = 'x'.repeat(40000);
  const answer = async (stream) => {
    try { return Buffer.concat(await stream.toArray()).toString(); } catch (error) { return error.code; }
  };
  const seen = [{}, {}, {}, {}];
  let isSince = false, isOver = false, since = 0, all = 0;
  const lane = async (at) => {
    for (; !isOver; at++) {
      const own = at % 3 === 0;
      const into = seen[(isSince ? 2 : 0) + (own ? 1 : 0)];
      const sent = body.slice(0, at % 5 === 0 ? 40000 : 10);
      const stream = session.request({':method': 'POST', ...(own ? {'x-who': '${who}'} : {'x-at': at % 40})});
      stream.end(sent);
      const said = await answer(stream);
      const by = said.startsWith(sent) ? said.slice(sent.length) : said;
      into[by] = (into[by] ?? 0) + 1;
      if (++all === 300) console.log('asking');
      if (into === seen[2] && ++since === 300) isOver = true;
    }
  };
  const long = session.request({':method': 'POST'});
  long.write('one ');
  process.stdin.once('data', () => { isSince = true; long.end('two '); });
  Promise.all([answer(long), ...Array.from({length: 9}, (_, at) => lane(at))]).then(([said]) => {
    console.log(JSON.stringify({seen: seen.map(Object.keys), long: said}));
    process.exit();
  });`;

/** Makes the pod "h2c" with the application, which goes with the test. */
export async function serveInPod(t: ExecutionContext, cluster: TestCluster): Promise<void> {
  const remove = ['-n', 'demo', 'delete', 'pod', 'h2c', '--ignore-not-found'];
  t.teardown(() => cluster.kubectl(remove));
  await cluster.kubectl(remove);
  await cluster.apply({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {name: 'h2c', namespace: 'demo'},
    spec: {
      terminationGracePeriodSeconds: 1,
      containers: [
        {
          name: 'h2c',
          image: 'mirrord.test/workload:1',
          command: ['node', '-e', serving('application')],
          stdin: true,
          readinessProbe: {tcpSocket: {port: 80}, periodSeconds: 1},
        },
      ],
    },
  });
  await cluster.kubectl([
    '-n',
    'demo',
    'wait',
    '--for=condition=Ready',
    'pod/h2c',
    '--timeout=60s',
  ]);
}

/** Who answered, under way when it happened and since. */
export interface Seen {
  seen: string[][];
  long: string;
}

/** Starts the client, and waits until it has asked for a while; `finish` tells it that what is to happen has happened. */
export async function askFromPod(
  t: ExecutionContext,
  cluster: TestCluster,
  who: string,
): Promise<{finish(): Promise<Seen>}> {
  const {status} = await cluster.get('-n', 'demo', 'pod', 'h2c');
  const argv = ['-n', 'demo', 'exec', '-i', 'deployment/orders', '--', 'node', '-e'];
  const child = cluster.start(['kubectl', ...argv, asking(status.podIP, who)]);
  t.teardown(() => child.kill('SIGKILL'));
  let said = '';
  child.stdout?.setEncoding('utf8').on('data', (text: string) => (said += text));
  await waitFor('requests', () => said.startsWith('asking\n'));
  return {
    async finish() {
      child.stdin?.write('it happened\n');
      await once(child, 'close');
      return JSON.parse(said.slice('asking\n'.length)) as Seen;
    },
  };
}
