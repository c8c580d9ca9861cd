/**
 * Run in a network namespace of its own (`peers.test.ts`): an agent is killed while h2load asks nginx over four connections, of which
 * every second request is a program's. Writes what became of them as JSON.
 */

import {mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {until} from '../../../helpers/until.ts';
import {listens, start, stealing} from './killing.ts';

const [APPLICATION, PROGRAM] = [8_080, 8_081];
const [COUNT, CONNECTIONS, STREAMS] = [12_000, 4, 16];
/** Status codes tell h2load's requests apart. */
const [THEIRS, MINE] = ['200', '202'];

const directory = mkdtempSync(join(tmpdir(), 'mirrord-h2load-'));
mkdirSync(join(directory, 'theirs'));
writeFileSync(join(directory, 'theirs/small'), 'theirs');
writeFileSync(join(directory, 'theirs/large'), 'theirs'.repeat(8_000));

/** nginx that keeps the connection's number and the path of every request; returns what it has kept. */
async function serve(name: string, port: number): Promise<{bytes(): number; lines(): string[]}> {
  const log = join(directory, name);
  const file = join(directory, `${name}.conf`);
  const kinds = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'];
  writeFileSync(
    file,
    `daemon off;
master_process off;
user root;
pid ${log}.pid;
error_log stderr error;
events { worker_connections 512; }
http {
  ${kinds.map((kind) => `${kind}_temp_path ${directory};`).join('\n  ')}
  log_format one '$connection $uri';
  access_log ${log} one;
  keepalive_requests 1000000;
  server {
    listen 127.0.0.1:${port} http2;
    root ${directory};
    location /mine/ { return ${MINE} "${name}"; }
  }
}
`,
  );
  start('nginx', '-e', 'stderr', '-c', file);
  await listens(port);
  return {
    bytes: () => statSync(log).size,
    lines: () => readFileSync(log, 'latin1').trim().split('\n'),
  };
}

const application = await serve('application', APPLICATION);
const program = await serve('program', PROGRAM);
const mine = {kind: 'path', pattern: {source: '^/mine/', flags: ''}} as const;
const agent = await stealing(APPLICATION, mine, PROGRAM);

const paths = ['theirs/small', 'mine/', 'theirs/large', 'mine/'];
const log = join(directory, 'requests');
const load = ['-n', COUNT, '-c', CONNECTIONS, '-m', STREAMS, `--log-file=${log}`].map(String);
const client = start(
  'h2load',
  ...load,
  ...paths.map((path) => `http://127.0.0.1:${APPLICATION}/${path}`),
);
await until(() => program.bytes() > COUNT);
await agent.kill();
await client.rest();

/** How many requests ended with a status; -1: they failed. */
const ends = Map.groupBy(
  readFileSync(log, 'latin1').trim().split('\n'),
  (line) => line.split('\t')[1],
);
const count = (status: string): number => ends.get(status)?.length ?? 0;
const asked = application.lines().map((line) => line.split(' '));
process.stdout.write(
  JSON.stringify({
    lost: COUNT / 2 - count(THEIRS),
    untold: COUNT / 2 - count(MINE) - count('-1'),
    areMany: count('-1') > CONNECTIONS * STREAMS,
    areBothAsked: asked.some(([, path]) => path === '/mine/') && program.lines().length > 1,
    connections: new Set(asked.map(([connection]) => connection)).size,
  }),
);
rmSync(directory, {recursive: true});
process.exit();
