import {mkdirSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import test from 'ava';
import {type Running, useDemo} from '../helpers/e2e.ts';
import {namespaceOf} from '../helpers/processes.ts';

const demo = useDemo(test);

/** Starts a process in a network of its own, with a loopback server on port 7000. */
async function startContainer(): Promise<Running> {
  const script = `ip link set lo up; exec python3 -c '
import socket
s = socket.create_server(("127.0.0.1", 7000))
print("listening", flush=True)
while True:
    c, _ = s.accept()
    c.sendall(b"from the container")
    c.close()'`;
  const running = demo.start([
    'unshare',
    '-Urnu',
    'sh',
    '-c',
    `hostname box; export MARK=box; ${script}`,
  ]);
  await running.said(/listening/);
  return running;
}

for (const target of ['nonsense/x', '']) {
  test.serial(`the target "${target}" is MIRRORD_TARGET_INVALID`, async (t) => {
    const {status, stdout, stderr} = await demo.startExec(['true'], {target}).ended;
    t.is(status, 1);
    t.is(stdout, '');
    t.regex(stderr, /is not a target.* \[MIRRORD_TARGET_INVALID\]\n.*→ a target is .*demo\/pod/);
  });
}

for (const target of ['demo/nobody', 'process/4194300']) {
  test.serial(`the target "${target}" is MIRRORD_TARGET_NOT_FOUND`, async (t) => {
    const {status, stdout, stderr} = await demo.startExec(['true'], {target}).ended;
    t.is(status, 1);
    t.is(stdout, '');
    t.regex(stderr, /\[MIRRORD_TARGET_NOT_FOUND\]\n.*→ /);
  });
}

test.serial('a process of another user is MIRRORD_TARGET_DENIED', async (t) => {
  const {status, stdout, stderr} = await demo.startExec(['true'], {target: 'process/1'}).ended;
  t.is(status, 1);
  t.is(stdout, '');
  t.regex(stderr, /\[MIRRORD_TARGET_DENIED\]\n.*→ /);
});

test.serial('a process in namespaces of its own is a target', async (t) => {
  const container = await startContainer();
  const target = `process/${container.pid}`;
  const ask =
    'import socket; print(socket.create_connection(("localhost", 7000)).recv(99).decode())';
  t.is(await demo.exec(['python3', '-c', ask], {target}), 'from the container\n');
  t.is(await demo.exec(['sh', '-c', 'hostname; echo $MARK'], {target}), 'box\nbox\n');
  container.child.kill('SIGKILL');
});

test.serial('a command that is not there is status 127', async (t) => {
  for (const command of ['no-such-command', './no-such-file', '/no/such/file']) {
    const {status, stdout, stderr} = await demo.startExec([command]).ended;
    t.is(status, 127);
    t.is(stdout, '');
    t.regex(stderr, /\[MIRRORD_COMMAND_NOT_FOUND\]/);
  }
});

test.serial(
  'a command is looked up in the PATH that the configuration gives the program',
  async (t) => {
    const directory = join(demo.directory, 'tools');
    mkdirSync(directory, {mode: 0o755});
    writeFileSync(join(directory, 'tool'), '#!/bin/sh\necho "$PATH"\n', {mode: 0o755});
    const envFile = join(demo.directory, 'path.env');
    writeFileSync(envFile, `PATH=${directory}\n`, {mode: 0o644});
    const config = join(demo.directory, 'path.json');
    const feature = {env: {override: {PATH: directory}}};
    writeFileSync(config, JSON.stringify({feature}), {mode: 0o644});
    for (const flags of [
      ['--env-file', envFile],
      ['-f', config],
    ]) {
      t.is(await demo.exec(['tool'], {flags}), `${directory}\n`);
      const {status, stderr} = await demo.startExec(['env'], {flags}).ended;
      t.is(status, 127);
      t.true(
        stderr.includes(`in the PATH that the configuration gives the program: ${directory}\n`),
      );
    }
    const {stderr} = await demo.startExec(['tool']).ended;
    t.regex(stderr, /it is looked up in the local PATH\n/);
  },
);

test.serial('a file that is not executable is status 126', async (t) => {
  const file = join(demo.directory, 'notes.txt');
  writeFileSync(file, 'notes\n', {mode: 0o644});
  for (const command of [file, demo.directory]) {
    const {status, stdout, stderr} = await demo.startExec([command]).ended;
    t.is(status, 126);
    t.is(stdout, '');
    t.regex(stderr, /\[MIRRORD_COMMAND_NOT_EXECUTABLE\]/);
  }
});

test.serial(
  'standard output and error carry what the program writes, and nothing else',
  async (t) => {
    const {status, stdout, stderr} = await demo.startExec(['sh', '-c', 'echo out; echo err >&2'])
      .ended;
    t.deepEqual({status, stdout, stderr}, {status: 0, stdout: 'out\n', stderr: 'err\n'});
  },
);

test.serial('standard input is passed to its end', async (t) => {
  const input = 'a line\n'.repeat(100_000);
  t.is(await demo.exec(['cat'], {input}), input);
});

test.serial('arguments reach the program as they are', async (t) => {
  const args = ['', ' a  b ', '--', '-t', '$HOME', "it's", 'line\nfeed', 'ä€𝄞', '--no-tun'];
  const print = ['python3', '-c', 'import json, sys; print(json.dumps(sys.argv[1:]))'];
  t.deepEqual(JSON.parse(await demo.exec([...print, ...args])), args);
});

test.serial("the program's flags need no separator", async (t) => {
  const args = ['exec', '-t', 'demo/gateway', 'sh', '-c', 'echo $0 $1', '--help', '-t'];
  t.is((await demo.mirrord(args)).stdout, '--help -t\n');
});

test.serial('the program starts in the directory where mirrord was started', async (t) => {
  t.is(await demo.exec(['pwd'], {cwd: '/usr/share'}), '/usr/share\n');
});

test.serial('a missing target is told, with how to give one', async (t) => {
  const {status, stdout, stderr} = await demo.mirrord(['exec', '--', 'true']);
  t.is(status, 1);
  t.is(stdout, '');
  t.regex(stderr, /\[MIRRORD_TARGET_MISSING\]\n.*→ .*-t demo\/gateway/);
});

test.serial('npx mirrord works in the checkout', async (t) => {
  const argv = ['npx', '--no-install', 'mirrord', 'exec', '-t', 'demo/gateway', '--', 'hostname'];
  const {status, stdout, stderr} = await demo.run(argv, {cwd: demo.checkout});
  t.is(status, 0, stderr);
  t.is(stdout, 'gateway\n');
});

test.serial('the network of the machine stays out of reach', async (t) => {
  const inside = await demo.exec(['readlink', '/proc/self/ns/net']);
  t.not(inside.trim(), namespaceOf(process.pid, 'net'));
});

test.serial('the tests run as an ordinary user', async (t) => {
  t.not((await demo.run(['id', '-u'])).stdout, '0\n');
});
