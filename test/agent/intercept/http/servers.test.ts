/** Servers of others on both sides of a filter: gunicorn, gRPC, nginx. */

import {type ChildProcess, execFile, spawn} from 'node:child_process';
import {once} from 'node:events';
import {mkdtempSync, readFileSync, rmSync, writeFileSync} from 'node:fs';
import {createServer} from 'node:net';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {fileURLToPath} from 'node:url';
import {promisify} from 'node:util';
import test, {type ExecutionContext} from 'ava';
import {needing, programs, python, pythonModule} from '../../../helpers/needs.ts';
import {freePort, isListening} from '../../../helpers/ports.ts';
import {dial, listen, relay, subscription, wants, wantsHeader} from './world.ts';

const run = promisify(execFile);
const directory = fileURLToPath(new URL('programs/', import.meta.url));
// One after the other: each uses the machine, and heads must be there in time.
const withGunicorn = needing(test, programs('gunicorn')).serial;
const withGrpc = needing(test, pythonModule('grpc')).serial;
const withLoad = needing(test, programs('wrk', 'h2load', 'nginx')).serial;

/** Starts a program that ends with the test. */
function start(
  t: ExecutionContext,
  [file = '', ...args]: readonly string[],
  env: Record<string, string> = {},
): ChildProcess {
  const child = spawn(file, args, {
    cwd: directory,
    env: {...process.env, ...env},
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  child.stderr?.on('data', (text) => t.log(String(text)));
  t.teardown(async () => {
    child.kill('SIGTERM');
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
  });
  return child;
}

/** Resolves when somebody listens at a port. */
async function listens(port: number): Promise<void> {
  while (!(await isListening(port))) await new Promise((resolve) => setTimeout(resolve, 20));
}

for (const worker of ['sync', 'gthread']) {
  withGunicorn(
    `gunicorn with ${worker} workers: each request is answered by its side`,
    async (t) => {
      const serve = async (name: string): Promise<number> => {
        const port = await freePort();
        const options = ['-w', '2', '-k', worker, '-b', `127.0.0.1:${port}`, '--keep-alive', '1'];
        options.push('--log-level', 'warning');
        start(t, ['gunicorn', ...options, 'named:application'], {NAME: name});
        await listens(port);
        return port;
      };
      const [application, program] = await Promise.all(['application', 'program'].map(serve));
      const {port} = await relay(t, application ?? 0, [
        subscription(program ?? 0, {filter: wantsHeader('^x-user: me$')}),
      ]);
      const url = `http://127.0.0.1:${port}`;
      // Three rounds over one curl, and so over one connection where the server lets it be one.
      const ask = async (user: string): Promise<string[]> => {
        const header = ['-H', `X-User: ${user}`];
        const rounds = [1, 2, 3].flatMap((round) => [
          ...[...header, `${url}/get${round}`, '--next'],
          ...[...header, '-d', 'x'.repeat(5_000), `${url}/length${round}`, '--next'],
          ...[...header, '-H', 'Transfer-Encoding: chunked', '-d', 'abc', `${url}/chunks${round}`],
          ...(round < 3 ? ['--next'] : []),
        ]);
        const {stdout} = await run('curl', ['-sS', '-m', '30', ...rounds]);
        return stdout.trim().split('\n');
      };
      const expected = (name: string): string[] =>
        [1, 2, 3].flatMap((round) => [
          `${name} GET /get${round} 0`,
          `${name} POST /length${round} 5000`,
          `${name} POST /chunks${round} 3`,
        ]);
      const users = Array.from({length: 12}, (_, at) => (at % 2 === 0 ? 'me' : 'you'));
      const answers = await Promise.all(users.map(ask));
      for (const [at, answer] of answers.entries())
        t.deepEqual(answer, expected(users[at] === 'me' ? 'program' : 'application'));
    },
  );
}

withGrpc(
  'gRPC: calls of every kind are answered by their side, with metadata and status',
  async (t) => {
    const serve = async (name: string): Promise<number> => {
      const child = start(t, [python, 'grpc-echo.py', 'serve', name]);
      const [port] = await once(child.stdout?.setEncoding('utf8') as NodeJS.ReadableStream, 'data');
      return Number(port);
    };
    const [application, program] = await Promise.all(['application', 'program'].map(serve));
    const {port} = await relay(t, application ?? 0, [
      subscription(program ?? 0, {filter: wantsHeader('^x-user: me$')}),
    ]);
    const call = async (user: string): Promise<unknown> => {
      const argv = [join(directory, 'grpc-echo.py'), 'call', String(port), user];
      return JSON.parse((await run(python, argv, {timeout: 60_000})).stdout);
    };
    for (const [user, side] of [
      ['me', 'program'],
      ['you', 'application'],
    ] as const) {
      const lead = side.length + 1;
      t.deepEqual(await call(user), {
        unary: `${side} x`,
        metadata: [side, side],
        down: [0, 1, 2].map((at) => `${side} x${at}`),
        up: `${side} 300002`,
        both: [1, 300_000, 1].map((length) => length + lead),
        refused: ['PERMISSION_DENIED', side],
      });
    }
  },
);

/** nginx that says which it is and what it was asked, by HTTP/1 and by h2c, and keeps the paths in a log. */
async function nginx(
  t: ExecutionContext,
  name: string,
): Promise<{http1: number; h2c: number; log: string}> {
  const directory = mkdtempSync(join(tmpdir(), 'mirrord-nginx-'));
  t.teardown(() => rmSync(directory, {recursive: true, force: true}));
  const [http1, h2c] = [await freePort(), await freePort()];
  const kinds = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'];
  const file = join(directory, 'nginx.conf');
  const log = join(directory, 'paths');
  writeFileSync(
    file,
    `daemon off;
master_process off;
pid ${directory}/pid;
error_log stderr error;
events { worker_connections 512; }
http {
  ${kinds.map((kind) => `${kind}_temp_path ${directory};`).join('\n  ')}
  log_format path '$uri';
  access_log ${log} path;
  keepalive_requests 1000000;
  server {
    listen 127.0.0.1:${http1};
    listen 127.0.0.1:${h2c} http2;
    location / { return 200 "${name} $uri"; }
  }
}
`,
  );
  start(t, ['nginx', '-e', 'stderr', '-c', file]);
  await Promise.all([http1, h2c].map(listens));
  return {http1, h2c, log};
}

const half = wants({kind: 'path', pattern: {source: '^/mine/', flags: ''}});

withLoad(
  'wrk and nginx: of 100,000 requests each is answered once, by the right side',
  async (t) => {
    const [application, program] = [await nginx(t, 'application'), await nginx(t, 'program')];
    const {port} = await relay(t, application.http1, [subscription(program.http1, {filter: half})]);
    const count = 100_000;
    const script = join(directory, 'half-mine.lua');
    const connections = 32;
    const load = ['-t1', `-c${connections}`, '-d90', '--timeout', '60', '-s', script];
    const argv = [...load, `http://127.0.0.1:${port}/`, '--', String(count)];
    const {stdout} = await run('wrk', argv, {timeout: 120_000});
    const {others, mine, ...found} = JSON.parse(stdout.trim().split('\n').at(-1) ?? '');
    t.deepEqual(found, {answered: count, wrong: 0, repeated: 0});
    t.true(others <= connections, `${others} were not answered`);
    t.true(Math.abs(mine - count / 2) <= connections);
  },
);

withLoad(
  'h2load and nginx: of 20,000 streams half go to the program, and none is lost',
  async (t) => {
    const [application, program] = [await nginx(t, 'application'), await nginx(t, 'program')];
    const {port} = await relay(t, application.h2c, [subscription(program.h2c, {filter: half})]);
    const count = 20_000;
    const urls = ['mine', 'theirs'].map((path) => `http://127.0.0.1:${port}/${path}/`);
    const {stdout} = await run('h2load', ['-n', String(count), '-c', '4', '-m', '16', ...urls]);
    t.regex(stdout, new RegExp(`\\b${count} succeeded, 0 failed, 0 errored`));
    for (const [{log}, path] of [
      [application, '/theirs/'],
      [program, '/mine/'],
    ] as const) {
      const paths = readFileSync(log, 'latin1').trim().split('\n');
      t.is(paths.length, count / 2);
      t.true(paths.every((each) => each === path));
    }
  },
);

test.serial(
  'slowloris: connections that never finish a head cost others nothing, and reach their side when they do',
  async (t) => {
    const answer = (name: string) =>
      createServer((socket) => {
        socket.on('error', () => {});
        socket.on('data', (chunk) => {
          if (chunk.includes('\r\n\r\n'))
            socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${name.length}\r\n\r\n${name}`);
        });
      });
    const {port} = await relay(t, await listen(t, answer('application')), [
      subscription(await listen(t, answer('program')), {filter: wantsHeader('^x-user: me$')}),
    ]);
    const ask = async (): Promise<string> => {
      const response = await fetch(`http://127.0.0.1:${port}/`, {headers: {'X-User': 'me'}});
      return await response.text();
    };
    // Whoever judges has started then: the slow ones have 10 s for their heads.
    t.is(await ask(), 'program');
    const slow = await Promise.all(Array.from({length: 300}, () => dial(port)));
    for (const socket of slow) socket.write('GET / HTTP/1.1\r\nX-');
    for (let round = 0; round < 3; round++) {
      for (const [at, socket] of slow.entries()) socket.write(`Slow: ${at}\r\nX-`);
      t.is(await ask(), 'program');
    }
    const answers = slow.map(async (socket, at) => {
      socket.write(`User: ${at % 2 === 0 ? 'me' : 'you'}\r\n\r\n`);
      let text = '';
      for await (const chunk of socket) {
        text += chunk;
        if (/\r\n\r\n(program|application)$/.test(text)) break;
      }
      return text.split('\r\n').at(-1);
    });
    const expected = slow.map((_, at) => (at % 2 === 0 ? 'program' : 'application'));
    t.deepEqual(await Promise.all(answers), expected);
  },
);
