import {spawn, spawnSync} from 'node:child_process';
import {once} from 'node:events';
import {statSync} from 'node:fs';
import {join} from 'node:path';
import {stripVTControlCharacters} from 'node:util';
import ava from 'ava';
import {clusterTest, useCluster} from '../helpers/cluster.ts';
import {useClusterWorld} from '../helpers/cluster-world.ts';
import {waitFor} from '../helpers/e2e.ts';
import {ordinaryUser} from '../helpers/user.ts';

const test = clusterTest(ava);
const cluster = useCluster(test);
const world = useClusterWorld(test, cluster);

/** Runs `scripts/demo --cluster` as sudo would for the ordinary user, without a terminal. */
async function demo(): Promise<{status: number; stdout: string; stderr: string}> {
  const {uid, gid} = ordinaryUser();
  const {MIRRORD_AGENT_IMAGE: _, KUBECONFIG: __, ...env} = process.env;
  const sudo = {SUDO_UID: String(uid), SUDO_GID: String(gid), SUDO_USER: 'mirrord-test'};
  const child = spawn(join(world.checkout, 'scripts/demo'), ['--cluster'], {
    env: {...env, ...sudo, GREETING: 'of this machine', NO_COLOR: '1'},
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const said = {stdout: '', stderr: ''};
  for (const name of ['stdout', 'stderr'] as const) {
    child[name].setEncoding('utf8').on('data', (text: string) => {
      said[name] += stripVTControlCharacters(text);
    });
  }
  const [status] = (await once(child, 'close')) as [number | null];
  return {...said, status: status ?? -1};
}

test.serial('the demo shows what an ordinary user sees outside and in a pod', async (t) => {
  const {status, stdout, stderr} = await demo();
  t.is(status, 0, stderr);
  const {items} = await cluster.get('-n', 'demo', 'pods', '-l', 'app=gateway');
  const {metadata, status: pod} = items[0];
  const row = (name: string): string =>
    stdout.split('\n').find((line) => line.trimStart().startsWith(name)) ?? '';
  t.true(row('host name').endsWith(` ${metadata.name}`), stdout);
  t.true(row('address').endsWith(` ${pod.podIP}`), stdout);
  t.regex(row('$GREETING'), /of this machine +hello from the gateway$/);
  t.regex(row('http://orders/'), new RegExp(` orders-\\S+ answers ${pod.podIP}$`));
  t.true(row('localhost:9000').endsWith(` ${metadata.name} answers 127.0.0.1`), stdout);
  t.regex(row('you are'), /mirrord-test, in .* mirrord-test, in /);
  await waitFor('the agent is gone', async () => {
    const {items} = await cluster.get('-n', 'demo', 'jobs,pods', '-l', 'app=mirrord');
    return items.length === 0;
  });
});

test.serial('what the demo says of how to go on is so', async (t) => {
  const {stdout} = await demo();
  const exported = [...stdout.matchAll(/^ {2}export (\w+)=(.*)$/gm)];
  const env = Object.fromEntries(exported.map(([, name, value]) => [name, value]));
  t.deepEqual(Object.keys(env), ['KUBECONFIG', 'MIRRORD_AGENT_IMAGE']);
  const {mode, uid} = statSync(env['KUBECONFIG'] ?? '');
  t.deepEqual([mode & 0o777, uid], [0o600, ordinaryUser().uid]);
  const commands = [...stdout.matchAll(/^ {2}npx mirrord (.*?) {2,}/gm)].map(
    ([, line]) => line ?? '',
  );
  t.is(commands.length, 3);
  for (const line of commands) {
    const {status, stdout, stderr} = await world.mirrord(line.split(' '), {env});
    t.is(status, 0, `${line}: ${stdout}${stderr}`);
  }
});

test.serial('without root, and with other words, it says what to do', async (t) => {
  const command = join(world.checkout, 'scripts/demo');
  const ordinary = await world.run([command, '--cluster']);
  t.is(ordinary.status, 1);
  t.regex(ordinary.stderr, /needs root: sudo scripts\/demo --cluster/);
  const {status, stderr} = spawnSync(command, ['--clusters'], {encoding: 'utf8'});
  t.is(status, 2);
  t.regex(stderr, /scripts\/demo --cluster /);
});
