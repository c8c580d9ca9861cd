import {type ChildProcess, spawn} from 'node:child_process';
import {once} from 'node:events';
import {mkdtempSync, rmSync, symlinkSync} from 'node:fs';
import os from 'node:os';
import {join} from 'node:path';
import test from 'ava';
import {
  type SandboxProcess,
  SandboxProcesses,
  type SandboxProcessesOptions,
} from '../../../layer/processes/sandbox-processes.ts';
import {waitFor} from '../../helpers/e2e.ts';

/** Starts a program that says a line when it runs, and then sleeps. */
async function start(script: string, argv0 = 'sh'): Promise<ChildProcess & Disposable> {
  const child = spawn('/bin/sh', ['-c', script], {argv0, stdio: ['pipe', 'pipe', 'inherit']});
  await once(child.stdout, 'data');
  return Object.assign(child, {[Symbol.dispose]: () => void child.kill('SIGKILL')});
}

function find(processes: SandboxProcesses, pid: number | undefined): SandboxProcess | undefined {
  processes.look();
  return [...processes.values()].find((process) => process.pid === pid);
}

/** The tests' own namespace is the sandbox here. */
function ours(options: Partial<SandboxProcessesOptions> = {}): SandboxProcesses {
  return new SandboxProcesses({pid: process.pid, ...options});
}

test('the first process is known, and who comes later', async (t) => {
  using processes = ours();
  t.true(find(processes, process.pid)?.names.has('node'));
  using child = await start('echo; read x');
  await waitFor('it is seen', () => find(processes, child.pid) !== undefined);
  t.true(find(processes, child.pid)?.names.has('sh'));
  t.deepEqual([processes.counters.full, processes.counters.left], [0, 0]);
});

test('all of /proc is read where the kernel does not tell its last pid', async (t) => {
  using child = await start('echo; read x');
  using processes = ours({lastPidPath: '/proc/sys/kernel/none'});
  t.true(find(processes, child.pid)?.names.has('sh'));
  t.is(processes.counters.full, 1);
});

test('a process that becomes another program has another name and judgement', async (t) => {
  using processes = ours({classify: ({names}) => names.has('sleep')});
  using child = await start('echo; read x; exec sleep 1000');
  await waitFor('it is seen', () => find(processes, child.pid) !== undefined);
  t.false(find(processes, child.pid)?.isMarked);
  child.stdin?.write('\n');
  await waitFor(
    'its name is another',
    () => find(processes, child.pid)?.names.has('sleep') === true,
  );
  t.true(find(processes, child.pid)?.isMarked);
});

test('a process is known by its file, by its argv[0], and by the title it gives itself', async (t) => {
  const directory = mkdtempSync(join(os.tmpdir(), 'mirrord-test-'));
  t.teardown(() => rmSync(directory, {recursive: true}));
  symlinkSync(process.execPath, join(directory, 'linked'));
  const titled = `exec -a other ${join(directory, 'linked')} -e "
    process.title = 'npm install left-pad'; console.log(); setInterval(() => {}, 1e6)"`;
  using processes = ours();
  using child = spawn('bash', ['-c', titled], {stdio: ['ignore', 'pipe', 'inherit']});
  await once(child.stdout, 'data');
  await waitFor('it is seen', () => find(processes, child.pid)?.names.has('npm') === true);
  t.deepEqual([...(find(processes, child.pid)?.names ?? [])].sort(), ['node', 'npm']);
  using shell = await start('echo; read x', '/x/third');
  await waitFor('it is seen', () => find(processes, shell.pid)?.names.has('third') === true);
  t.true(find(processes, shell.pid)?.names.has('sh'));
});

test('a process that has ended is forgotten', async (t) => {
  using processes = ours();
  using child = await start('echo; read x');
  await waitFor('it is seen', () => find(processes, child.pid) !== undefined);
  child.kill('SIGKILL');
  await waitFor('it is forgotten', () => find(processes, child.pid) === undefined);
  t.pass();
});

test('threads are no processes', async (t) => {
  const script = `
import threading, sys
stop = threading.Event()
threads = [threading.Thread(target=stop.wait, daemon=True) for _ in range(8)]
for thread in threads: thread.start()
print(' '.join(str(thread.native_id) for thread in threads), flush=True)
input()`;
  using processes = ours();
  processes.look();
  using child = spawn('python3', ['-c', script]);
  const [line] = await once(child.stdout, 'data');
  await waitFor('it is seen', () => find(processes, child.pid) !== undefined);
  const pids = new Set([...processes.values()].map(({pid}) => pid));
  const threads = String(line).trim().split(' ').map(Number);
  t.is(threads.length, 8);
  t.deepEqual(
    threads.filter((thread) => pids.has(thread)),
    [],
  );
});

test('processes of other network namespaces are not seen', (t) => {
  using processes = new SandboxProcesses({pid: 2_147_483_647});
  t.is(find(processes, process.pid), undefined);
});
