import {closeSync, constants, openSync, readdirSync, readlinkSync, writeSync} from 'node:fs';
import {join} from 'node:path';
import test from 'ava';
import {type Running, useDemo, waitFor} from '../helpers/e2e.ts';
import {isRunning, type ProcessEntry, processTree} from '../helpers/processes.ts';

const demo = useDemo(test);

interface Family {
  running: Running;
  mirrord: ProcessEntry;
  agent: ProcessEntry;
  launcher: ProcessEntry;
  program: ProcessEntry;
  /** mirrord and all that it has started, daemons of the program included. */
  all: ProcessEntry[];
}

function readlink(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch {
    return undefined; // closed meanwhile
  }
}

/** Starts a program with a child, one in another session and a daemon, and finds all processes. */
async function startFamily(env: Record<string, string> = {}): Promise<Family> {
  const client = demo.program('client.py');
  const running = demo.startExec(['python3', client, 'family'], {env});
  const [, ...numbers] = await running.said(/^(\d+) (\d+) (\d+) (\d+)\n/);
  const all = processTree(running.pid);
  const find = (pattern: RegExp): ProcessEntry => {
    const found = all.find(({command}) => pattern.test(command));
    if (found === undefined) throw new Error(`${pattern} isn't among ${JSON.stringify(all)}`);
    return found;
  };
  for (const pid of numbers) {
    if (!all.some((each) => each.pid === Number(pid))) throw new Error(`${pid} isn't guarded`);
  }
  return {
    running,
    all,
    mirrord: find(/cli\/main\.ts exec/),
    agent: find(/agent\/main\.ts/),
    launcher: find(/launcher serve/),
    program: find(/^\S*python3 /),
  };
}

async function allEnded({all}: Family): Promise<void> {
  await waitFor('all processes to end', () => !all.some(isRunning));
}

/** Files below the runtime and temporary directories, but for the demo's own. */
function leftFiles(): string[] {
  return [demo.runtime, demo.temporary]
    .flatMap((directory) =>
      readdirSync(directory, {recursive: true, encoding: 'utf8'}).map((name) =>
        join(directory, name),
      ),
    )
    .filter((path) => !`${path}/`.startsWith(join(demo.runtime, 'mirrord/demo/')))
    .filter((path) => path !== join(demo.runtime, 'mirrord'));
}

async function mounts(): Promise<string[]> {
  const {stdout} = await demo.run(['cat', '/proc/self/mountinfo']);
  return stdout.trim().split('\n').sort();
}

test.serial('a program that ends by itself leaves no process, mount or file', async (t) => {
  const before = await mounts();
  const family = await startFamily();
  family.running.child.stdin?.end();
  t.is((await family.running.ended).status, 0);
  await allEnded(family);
  t.deepEqual(await mounts(), before);
  t.deepEqual(leftFiles(), []);
});

test.serial('SIGKILL of mirrord leaves no process, mount or file', async (t) => {
  const before = await mounts();
  const family = await startFamily();
  process.kill(family.mirrord.pid, 'SIGKILL');
  await allEnded(family);
  t.is((await family.running.ended).status, 137);
  t.deepEqual(await mounts(), before);
  t.deepEqual(leftFiles(), []);
});

test.serial('SIGKILL of the launcher leaves no process, mount or file', async (t) => {
  const before = await mounts();
  const family = await startFamily();
  process.kill(family.launcher.pid, 'SIGKILL');
  t.is((await family.running.ended).status, 137);
  await allEnded(family);
  t.deepEqual(await mounts(), before);
  t.deepEqual(leftFiles(), []);
});

test.serial('SIGKILL of the agent ends the program and is told', async (t) => {
  const family = await startFamily();
  process.kill(family.agent.pid, 'SIGKILL');
  const {status, stderr} = await family.running.ended;
  t.is(status, 1);
  t.regex(stderr, /the agent is gone .*MIRRORD_AGENT_GONE/);
  t.notRegex(stderr, /^\s+at /m);
  await allEnded(family);
});

test.serial('SIGKILL of the program is status 137', async (t) => {
  const family = await startFamily();
  process.kill(family.program.pid, 'SIGKILL');
  const {status, stderr} = await family.running.ended;
  t.is(status, 137);
  t.is(stderr, '');
  await allEnded(family);
});

test.serial('a target that ends while the program runs ends the program', async (t) => {
  const {stdout} = await demo.mirrord(['demo', 'run', 'mayfly', '--', 'sleep', '1000']);
  const {pid} = JSON.parse(stdout) as {pid: number};
  const running = demo.startExec(['sh', '-c', 'echo on; exec sleep 1000'], {target: 'demo/mayfly'});
  await running.said(/on/);
  process.kill(pid, 'SIGKILL');
  const {status, stderr} = await running.ended;
  t.is(status, 1);
  t.regex(stderr, /the target has ended; .*MIRRORD_TARGET_GONE/);
});

for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGUSR1'] as const) {
  test.serial(`${signal} to mirrord reaches the program`, async (t) => {
    const script = `trap 'echo got it; exit 21' ${signal.slice(3)}; echo on; while :; do sleep 0.01; done`;
    const running = demo.startExec(['bash', '-c', script]);
    await running.said(/^on\n/);
    running.child.kill(signal);
    t.deepEqual(await running.ended, {status: 21, stdout: 'on\ngot it\n', stderr: ''});
  });
}

test.serial(
  'what mirrord was called to ignore it ignores before the program runs, too',
  async (t) => {
    const [fifo, config] = ['env', 'config.json'].map((name) => join(demo.directory, 'home', name));
    const settings = JSON.stringify({feature: {env: {env_file: fifo}}});
    await demo.run([
      'sh',
      '-c',
      'mkfifo "$0"; printf %s "$1" >"$2"',
      `${fifo}`,
      settings,
      `${config}`,
    ]);
    // As a shell calls what runs in a script's background.
    const ignoring = ['sh', '-c', 'trap "" INT QUIT; exec "$@"', 'sh'];
    const exec = ['exec', '-t', 'demo/gateway', '-f', `${config}`, '--', 'sh', '-c', 'echo $FROM'];
    const running = demo.start([...ignoring, demo.mirrordPath, ...exec]);
    // It reads the file, which has no end yet, before it starts anything.
    const writer = await waitFor('mirrord to read its file', () => {
      try {
        return openSync(`${fifo}`, constants.O_WRONLY | constants.O_NONBLOCK);
      } catch {
        return undefined; // ENXIO: nobody reads
      }
    });
    running.child.kill('SIGINT');
    running.child.kill('SIGQUIT');
    writeSync(writer, 'FROM=the file\n');
    closeSync(writer);
    t.deepEqual(await running.ended, {status: 0, stdout: 'the file\n', stderr: ''});
  },
);

for (const [name, number] of [
  ['TERM', 15],
  ['INT', 2],
  ['ABRT', 6],
  ['SEGV', 11],
] as const) {
  test.serial(`a program that SIG${name} ends has status ${128 + number}`, async (t) => {
    const {status} = await demo.startExec(['sh', '-c', `kill -${name} $$`]).ended;
    t.is(status, 128 + number);
  });
}

test.serial('the exit status of the program is passed on', async (t) => {
  for (const wanted of [42, 255]) {
    t.is((await demo.startExec(['sh', '-c', `exit ${wanted}`]).ended).status, wanted);
  }
});

test.serial('what the program has left in the background ends with it', async (t) => {
  const script = 'sleep 1000 & echo $!; setsid sleep 1000 & echo $!';
  const output = await demo.exec(['sh', '-c', script]);
  const left = output.trim().split('\n').map(Number);
  t.is(left.length, 2);
  for (const pid of left) t.throws(() => process.kill(pid, 0), {code: 'ESRCH'});
});

test.serial(
  'the program has the descriptors of whoever called mirrord; the agent, which may stay, has not',
  async (t) => {
    const file = join(demo.temporary, 'held');
    const holding = ['bash', '-c', 'exec 200>"$0"; exec "$@"', file];
    const mirrord = [demo.mirrordPath, 'exec', '-t', 'demo/gateway'];
    const running = demo.start([...holding, ...mirrord, '--', 'sh', '-c', 'echo ready; cat']);
    await running.said(/ready/);
    const holds = ({pid}: ProcessEntry): boolean =>
      readdirSync(`/proc/${pid}/fd`).some((fd) => readlink(`/proc/${pid}/fd/${fd}`) === file);
    const all = processTree(running.pid);
    const agents = all.filter(({command}) => /agent\/main\.ts/.test(command));
    const programs = all.filter(({command}) => command.startsWith('sh -c'));
    t.is(agents.length, 1);
    t.is(programs.length, 1);
    t.false(agents.some(holds));
    t.true(programs.every(holds));
    running.child.stdin?.end();
    t.is((await running.ended).status, 0);
  },
);
