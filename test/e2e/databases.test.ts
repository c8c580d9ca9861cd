import {createHash} from 'node:crypto';
import {existsSync, globSync} from 'node:fs';
import {dirname} from 'node:path';
import test from 'ava';
import {useDemo} from '../helpers/e2e.ts';

const demo = useDemo(test);

/** Runs a server in a pod of its own, ready when its port is open; returns its address. */
async function runServer(pod: string, port: number, argv: readonly string[]): Promise<string> {
  const args = ['demo', 'run', '--port', `${port}`, pod, '--', ...argv];
  const {status, stdout, stderr} = await demo.mirrord(args);
  if (status !== 0) throw new Error(`demo run: status ${status}\n${stderr}`);
  return (JSON.parse(stdout) as {addresses: {v4: string}}).addresses.v4;
}

test.serial('redis-cli talks to a Redis server in a pod', async (t) => {
  const server = ['redis-server', '--save', '', '--protected-mode', 'no', '--dir', '/tmp'];
  const address = await runServer('redis', 6379, server);
  const redis = ['redis-cli', '-h', address];
  t.is(await demo.exec([...redis, 'ping']), 'PONG\n');
  const value = 'v'.repeat(1_000_000);
  t.is(await demo.exec([...redis, '-x', 'set', 'large'], {input: value}), 'OK\n');
  t.is(await demo.exec([...redis, 'get', 'large']), `${value}\n`);
  const commands = Array.from({length: 10_000}, (_, i) => `SET key${i} ${i}\r\n`).join('');
  t.regex(await demo.exec([...redis, '--pipe'], {input: commands}), /errors: 0, replies: 10000/);
  t.is(await demo.exec([...redis, 'dbsize']), '10001\n');
});

test.serial('psql talks to a PostgreSQL server in a pod', async (t) => {
  const programs = dirname(
    globSync('/usr/lib/postgresql/*/bin/initdb').find((path) => existsSync(path)) ??
      '/usr/bin/initdb',
  );
  const script = [
    'data=$(mktemp -d)/data',
    `${programs}/initdb -D $data -U shop --auth=trust >&2`,
    "echo 'host all all all trust' >> $data/pg_hba.conf",
    `exec ${programs}/postgres -D $data -c listen_addresses='*' -c unix_socket_directories= -c fsync=off`,
  ].join(' && ');
  const address = await runServer('postgres', 5432, ['sh', '-c', script]);
  const psql = ['psql', '-X', '-At', '-h', address, '-U', 'shop', 'postgres', '-c'];
  t.is(await demo.exec([...psql, 'select inet_client_addr()']), '10.244.0.10\n');
  const table = 'create table goods as select i, md5(i::text) from generate_series(1, 100000) i';
  t.is(await demo.exec([...psql, table]), 'SELECT 100000\n');
  const rows = (await demo.exec([...psql, 'select * from goods order by i'])).trim().split('\n');
  t.is(rows.length, 100_000);
  const digests = rows.map((_, i) =>
    createHash('md5')
      .update(`${i + 1}`)
      .digest('hex'),
  );
  t.deepEqual(
    rows,
    digests.map((digest, i) => `${i + 1}|${digest}`),
  );
});
