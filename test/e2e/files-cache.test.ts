import test from 'ava';
import {useDemo} from '../helpers/e2e.ts';

const world = useDemo(test);
const program = (what: string): string[] => ['python3', world.program('opened.py'), what, '/app/o'];

interface Counters {
  readonly reads: number;
  readonly given: number;
  readonly unwanted: number;
}

/** Runs a program with the pod's files, and tells what the kernel asked for. */
async function counted(argv: string[]): Promise<Counters> {
  const options = {flags: ['--fs-mode', 'write'], env: {MIRRORD_LOG: 'debug'}, input: ''};
  const {stdout, stderr} = await world.startExec(argv, options).ended;
  if (!stdout.endsWith('done\n')) throw new Error(stdout + stderr);
  const line = stderr.split('\n').find((each) => each.includes('files: counters')) ?? '{}';
  return (JSON.parse(line) as {server: Counters}).server;
}

test.serial('a small file is read and mapped without a question, and is as it is', async (t) => {
  await counted(['sh', '-c', 'mkdir /app/o; echo done']);
  await counted(program('sizes'));
  const {reads, given, unwanted} = await counted(program('look'));
  // Of the nine two are larger than what comes with an opening; and a mapping asks by itself for what is beyond one.
  t.deepEqual({given, unwanted}, {given: 7, unwanted: 0});
  t.true(reads <= 8, `${reads} questions`);
  await counted(['sh', '-c', 'rm -r /app/o; echo done']);
});

test.serial(
  'many who open, read, map, write and cut off the same files wait for nobody',
  async (t) => {
    await counted(['sh', '-c', 'mkdir /app/o; echo done']);
    const {given} = await counted(program('crowd'));
    t.true(given > 0, 'some were open for nobody else');
    await counted(['sh', '-c', 'rm -r /app/o; echo done']);
  },
);
