import {appendFileSync, constants, utimesSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import test, {type ExecutionContext} from 'ava';
import {openTarget} from '../../helpers/file-target.ts';
import {type FuseKernel, fields, fuse, fuseKernel} from '../../helpers/fuse-kernel.ts';

const {O_RDONLY, O_RDWR, O_DIRECT} = constants;
const nodeOf = (body: Buffer): number => Number(body.readBigUInt64LE(0));
const handleOf = (body: Buffer): bigint => body.readBigUInt64LE(0);

interface World {
  readonly kernel: FuseKernel;
  readonly path: string;
  readonly node: number;
  /** What the cache was given by now. */
  readonly given: () => string[];
  readonly open: (flags?: number) => Promise<bigint>;
  readonly close: (handle: bigint) => Promise<void>;
}

/** A kernel that has looked at a file, and what it does with it. */
async function world(
  t: ExecutionContext,
  {content = 'hello' as string | Uint8Array, minor = 41, onGiven = 0} = {},
): Promise<World> {
  const {root, files} = await openTarget(t);
  const path = join(root, 'file');
  writeFileSync(path, content);
  const kernel = fuseKernel(files, {onGiven});
  await kernel.ask('init', fields(7, minor, 131_072, 0xffff_ffff));
  const node = nodeOf((await kernel.ask('lookup', Buffer.from('file\0'))).body);
  return {
    kernel,
    path,
    node,
    given: () => kernel.given.map((each) => each.content.toString()),
    open: async (flags = O_RDONLY) =>
      handleOf((await kernel.ask('open', fuse.open(flags), node)).body),
    async close(handle) {
      await kernel.ask('release', fuse.end(handle), node);
    },
  };
}

test('the cache is given what comes with an opening, before that is answered, and each time', async (t) => {
  const {kernel, node, given, open, close} = await world(t);
  const opened = kernel.ask('open', fuse.open(O_RDONLY), node);
  const before = await opened.then(given);
  t.deepEqual(before, ['hello']);
  t.deepEqual(
    kernel.given.map((each) => [each.node, each.length]),
    [[node, 5]],
  );
  await close(handleOf((await opened).body));
  await open();
  t.deepEqual(given(), ['hello', 'hello']);
  t.is(kernel.server.counters.given, 2);
  t.is(kernel.server.counters.unwanted, 0);
});

test('a kernel older than Linux 6.12 is given nothing', async (t) => {
  const {given, open} = await world(t, {minor: 40});
  await open();
  t.deepEqual(given(), []);
});

test('nothing is given of what is open, for somebody may wait for us who has its pages', async (t) => {
  const {kernel, node, given, open, close} = await world(t);
  const first = await open(O_RDWR);
  const second = await open();
  t.deepEqual(given(), []);
  await close(first);
  const third = await open();
  t.deepEqual(given(), []);
  await Promise.all([close(second), close(third)]);
  const both = [1, 2].map(() => kernel.ask('open', fuse.open(O_RDONLY), node));
  await Promise.all(both);
  t.deepEqual(given(), ['hello'], 'the second one came while the first was open');
});

test('nothing is given that the kernel would drop: it knew the file as another', async (t) => {
  const {kernel, path, node, given, open, close} = await world(t);
  appendFileSync(path, ' there');
  const grown = await open();
  t.deepEqual([given(), [...kernel.outdated]], [[], [node]]);
  await close(grown);
  await close(await open());
  t.deepEqual(given(), ['hello there']);
  utimesSync(path, 1, 1);
  await open();
  t.deepEqual(given(), ['hello there']);
});

test('nothing is given where the program changes something meanwhile', async (t) => {
  const {kernel, node, given} = await world(t);
  const opened = kernel.ask('open', fuse.open(O_RDONLY), node);
  const made = kernel.ask('mkdir', fields(0o755, 0, 'other'));
  await Promise.all([opened, made]);
  t.deepEqual(given(), []);
});

test('nothing is given of large files and empty ones, and to who reads past the cache', async (t) => {
  for (const content of [Buffer.alloc(128_001), '']) {
    const {given, open} = await world(t, {content});
    await open();
    t.deepEqual(given(), []);
  }
  const {kernel, open, close} = await world(t, {content: Buffer.alloc(128_000)});
  await close(await open(O_RDONLY | O_DIRECT));
  t.is(kernel.given.length, 0);
  await open();
  t.is(kernel.given[0]?.content.length, 128_000);
});

test('a file that the kernel has forgotten is opened even so', async (t) => {
  const {kernel, open} = await world(t, {onGiven: -2});
  const {body} = await kernel.ask('read', fuse.read(await open(), 0n, 4096));
  t.is(body.toString(), 'hello');
  t.is(kernel.server.counters.unwanted, 1);
});
