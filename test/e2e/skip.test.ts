import {execFileSync} from 'node:child_process';
import {once} from 'node:events';
import {mkdirSync, readFileSync, writeFileSync} from 'node:fs';
import {createServer} from 'node:http';
import type {AddressInfo} from 'node:net';
import os from 'node:os';
import {join} from 'node:path';
import test from 'ava';
import {type ExecOptions, type Result, useDemo} from '../helpers/e2e.ts';

const demo = useDemo(test);

/** An address of this machine that no pod of the demo can reach. */
const host = Object.values(os.networkInterfaces())
  .flat()
  .find((address) => address?.family === 'IPv4' && !address.internal)?.address;

/** What the server has; by path. */
const files = new Map<string, string | Buffer>([['/', 'this machine\n']]);
const asked: string[] = [];
const server = createServer((request, response) => {
  const path = new URL(request.url ?? '/', 'http://server').pathname;
  asked.push(path);
  const file = files.get(path);
  response.writeHead(file === undefined ? 404 : 200).end(file);
});
let origin = '';

test.serial.before('a server on this machine', async () => {
  if (host === undefined) throw new Error('this machine has no address but loopback');
  await once(server.listen(0, host), 'listening');
  origin = `http://${host}:${(server.address() as AddressInfo).port}`;
});

test.after.always('the server ends', () => {
  server.closeAllConnections();
  server.close();
});

async function exec(argv: readonly string[], options: ExecOptions = {}): Promise<Result> {
  return await demo.startExec(argv, {input: '', ...options}).ended;
}

/** A repository as any web server has it. */
function serveRepository(): string {
  const directory = join(demo.directory, 'repository');
  const script = `
    git init -q -b main "$0" && cd "$0" &&
    git -c user.name=x -c user.email=x@example.com commit -q --allow-empty -m first &&
    git update-server-info && git rev-parse HEAD`;
  const env = {...process.env, GIT_CONFIG_NOSYSTEM: '1', HOME: demo.directory};
  const head = execFileSync('sh', ['-c', script, directory], {encoding: 'utf8', env}).trim();
  for (const name of ['info/refs', 'HEAD']) {
    files.set(`/repository.git/${name}`, readFileSync(join(directory, '.git', name)));
  }
  return head;
}

test.serial('git uses the network of this machine, and others the pod’s', async (t) => {
  const head = serveRepository();
  const git = ['git', 'ls-remote', `${origin}/repository.git`, 'refs/heads/main'];
  const {status, stdout, stderr} = await exec([
    'sh',
    '-c',
    `${git.join(' ')}; curl -sS ${origin}/`,
  ]);
  t.is(stdout, `${head}\trefs/heads/main\n`, stderr);
  t.is(status, 7, 'curl can not connect');
});

test.serial('without skip_build_tools, git uses the pod’s network', async (t) => {
  const git = ['git', 'ls-remote', `${origin}/repository.git`];
  const {status, stderr} = await exec(git, {env: {MIRRORD_SKIP_BUILD_TOOLS: 'false'}});
  t.is(status, 128);
  t.regex(stderr, /Failed to connect|Couldn't connect/);
});

test.serial('a program that is named is skipped, the program itself too', async (t) => {
  const {status, stdout} = await exec(['curl', '-sS', `${origin}/`], {
    flags: ['--skip-processes', 'curl'],
  });
  t.is(stdout, 'this machine\n');
  t.is(status, 0);
});

test.serial('names are asked of this machine, not of the pod', async (t) => {
  const script = 'curl -sS --max-time 20 http://orders/; echo "curl $?"; getent hosts orders';
  const {stdout} = await exec(['sh', '-c', script], {flags: ['--skip-processes', 'curl']});
  t.regex(stdout, /^curl 6\n10\.96\.0\.\d+\s+orders/);
});

test.serial('MIRRORD_HOST_NETWORK is for a command and all that it starts', async (t) => {
  const script = `
    MIRRORD_HOST_NETWORK=1 sh -c 'curl -sS "$0"; exit $?' ${origin}/
    curl -sS ${origin}/ 2>&1 || echo "curl $?"`;
  const {stdout} = await exec(['sh', '-c', script]);
  t.regex(stdout, /^this machine\n.*\ncurl 7\n$/);
});

test.serial('npm, whose process is named node, is skipped by what it calls itself', async (t) => {
  const dist = {tarball: `${origin}/x.tgz`, shasum: '0'.repeat(40)};
  const version = {name: 'example', version: '4.7.11', dist};
  files.set(
    '/example',
    JSON.stringify({
      name: 'example',
      'dist-tags': {latest: '4.7.11'},
      versions: {'4.7.11': version},
    }),
  );
  const {status, stdout, stderr} = await exec(
    ['npm', 'view', 'example', 'version', '--registry', `${origin}/`],
    {flags: ['--skip-processes', 'npm']},
  );
  t.is(stdout, '4.7.11\n', stderr);
  t.is(status, 0);
});

/** A module as a proxy of Go modules has it. */
function serveModule(): void {
  const path = '/example.com/greet/@v';
  const goMod = 'module example.com/greet\n\ngo 1.19\n';
  const zip = `
import io, sys, zipfile
memory = io.BytesIO()
with zipfile.ZipFile(memory, 'w') as archive:
    archive.writestr('example.com/greet@v1.0.0/go.mod', ${JSON.stringify(goMod)})
    archive.writestr('example.com/greet@v1.0.0/greet.go', 'package greet\\n\\nconst Word = "built"\\n')
sys.stdout.buffer.write(memory.getvalue())`;
  files.set(`${path}/v1.0.0.info`, '{"Version": "v1.0.0", "Time": "2026-01-01T00:00:00Z"}');
  files.set(`${path}/v1.0.0.mod`, goMod);
  files.set(`${path}/v1.0.0.zip`, execFileSync('python3', ['-c', zip]));
}

const program = `package main

import (
	"fmt"
	"io"
	"net/http"

	"example.com/greet"
)

func main() {
	answer, err := http.Get("http://orders/")
	if err != nil {
		panic(err)
	}
	body, _ := io.ReadAll(answer.Body)
	fmt.Println(greet.Word, string(body))
}
`;

test.serial('go run: builds with this machine’s network, and runs in the pod’s', async (t) => {
  serveModule();
  const directory = join(demo.temporary, 'module');
  mkdirSync(directory, {mode: 0o777});
  writeFileSync(join(directory, 'main.go'), program);
  const goMod = 'module example.com/program\n\ngo 1.19\n\nrequire example.com/greet v1.0.0\n';
  writeFileSync(join(directory, 'go.mod'), goMod);
  execFileSync('chmod', ['-R', 'a+rwX', directory]);
  const {stdout, stderr} = await exec(['go', 'run', '-mod=mod', '.'], {
    cwd: directory,
    env: {
      PATH: process.env['PATH'] ?? '',
      CGO_ENABLED: '0',
      GOPROXY: origin,
      GOSUMDB: 'off',
      GOTOOLCHAIN: 'local',
      GOFLAGS: '-modcacherw -buildvcs=false',
    },
  });
  t.regex(stdout, /^built .*"orders-[01]"/, stderr);
  t.true(asked.includes('/example.com/greet/@v/v1.0.0.zip'));
});
