import {createHash} from 'node:crypto';
import {readFileSync} from 'node:fs';
import test from 'ava';
import {patternBlock} from '../../cli/demo/servers/pattern.ts';
import {useDemo, waitFor} from '../helpers/e2e.ts';
import {peakMemory, processTree, signal} from '../helpers/processes.ts';
import {useSession} from '../helpers/session.ts';

const demo = useDemo(test);
const session = useSession(test, demo);

const gibibyte = 1024 ** 3;
const echo = '10.244.0.13';

function client(...args: string[]): string[] {
  return ['python3', demo.program('client.py'), ...args];
}

/** Runs a case of `client.py` in a pod of its own, which may not see the file; returns its address. */
async function runServer(pod: string, ...args: string[]): Promise<string> {
  const argv = ['python3', '-c', readFileSync(demo.program('client.py'), 'utf8'), ...args];
  const {status, stdout, stderr} = await demo.mirrord(['demo', 'run', pod, '--', ...argv]);
  if (status !== 0) throw new Error(`demo run: status ${status}\n${stderr}`);
  return (JSON.parse(stdout) as {addresses: {v4: string}}).addresses.v4;
}

test.serial('1 GiB from the program arrives unchanged', async (t) => {
  const [sent, received] = (
    await session.exec(client('upload', 'echo', '5001', `${gibibyte}`))
  ).split('\n');
  t.deepEqual(JSON.parse(received ?? ''), {bytes: gibibyte, sha256: sent});
});

test.serial('1 GiB to the program arrives unchanged', async (t) => {
  const hash = createHash('sha256');
  const block = patternBlock();
  for (let hashed = 0; hashed < gibibyte; hashed += block.length) hash.update(block);
  const output = await session.exec(client('download', 'echo', '5002', `${gibibyte}`));
  t.is(output, `${gibibyte} ${hash.digest('hex')}\n`);
});

test.serial('64 MiB over IPv6 arrive unchanged', async (t) => {
  const size = 64 * 1024 ** 2;
  const argv = client('upload', 'fd00:10:244::13', '5001', `${size}`);
  const [sent, received] = (await session.exec(argv)).split('\n');
  t.deepEqual(JSON.parse(received ?? ''), {bytes: size, sha256: sent});
});

test.serial('1,000 connections are open at once, and each carries data', async (t) => {
  t.is(await session.exec(client('many', echo, '7', '1000')), '1000\n');
});

test.serial('a program that has shut down its side still gets the answer', async (t) => {
  t.is(await session.exec(client('half_close', 'echo', '7')), 'before the end\n');
});

test.serial('a program to which the peer has shut down its side can still send', async (t) => {
  const address = await runServer('closer', 'half_closing_server', '7100');
  t.is(
    await session.exec(client('talk_after_end', address, '7100')),
    'hello and goodbye\n140000\n',
  );
});

test.serial(
  'little is taken from a program that reads nothing; afterwards all is there',
  async (t) => {
    const running = demo.startExec(client('stopped_reader', echo, '7'));
    const taken = Number((await running.said(/^(\d+)\n/))[1]);
    t.true(taken > 0);
    t.true(taken < 64 * 1024 ** 2, `${taken} bytes were taken`);
    const node = processTree(running.pid).find(({command}) => command.includes('cli/main.ts'));
    const memory = peakMemory(node?.pid ?? 0);
    t.true(memory > 0 && memory < 400 * 1024 ** 2, `${memory} bytes of memory`);
    running.child.stdin?.end('go on\n');
    t.is((await running.ended).stdout, `${taken}\n${taken} True\n`);
  },
);

test.serial('a connection that the peer resets is reset for the program', async (t) => {
  const address = await runServer('resetter', 'resetting_server', '7200');
  t.is(await session.exec(client('be_reset', address, '7200')), 'Connection reset by peer\n');
});

test.serial('a program killed amid a transfer leaves no connection in the pod', async (t) => {
  const echoPod = await demo.pod('echo');
  const established = async (): Promise<number> => {
    const {stdout} = await demo.inPod(echoPod, [
      'ss',
      '-Htn',
      'state',
      'established',
      'sport = :5001',
    ]);
    return stdout.split('\n').filter((line) => line !== '').length;
  };
  const running = demo.startExec(client('upload', echo, '5001', `${100 * gibibyte}`));
  await waitFor('a connection', async () => (await established()) === 1);
  const program = processTree(running.pid).find(({command}) => /^\S*python3 /.test(command));
  signal(program, 'SIGKILL');
  t.is((await running.ended).status, 137);
  await waitFor('no connection', async () => (await established()) === 0);
  t.pass();
});
