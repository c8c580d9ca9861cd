import test, {type ExecutionContext} from 'ava';
import {S_IFDIR, S_IFREG} from '../../../layer/files/attributes.ts';
import {WalkAhead} from '../../../layer/files/walk-ahead.ts';
import {ATTRIBUTE_BYTES, type FileEntry, type OpenedDirectory} from '../../../tunnel/files.ts';
import {until} from '../../helpers/until.ts';

function entry(name: string, ino: number, kind = S_IFDIR): FileEntry {
  const attributes = Buffer.alloc(ATTRIBUTE_BYTES);
  attributes.writeBigUInt64LE(BigInt(ino), 0);
  attributes.writeUInt32LE(kind | 0o755, 60);
  return {cookie: BigInt(ino), attributes, name: Buffer.from(name)};
}

/** Directories by path, each with its entries; and somebody who goes through them. */
function walkThrough(
  t: ExecutionContext,
  tree: Readonly<Record<string, readonly FileEntry[]>>,
  {lifetimeMs = 1000} = {},
) {
  const state = {now: 0, lastHandle: 0};
  const asked: string[] = [];
  const open = new Map<number, string>();
  const openNow = (path: string): OpenedDirectory => {
    const handle = ++state.lastHandle;
    open.set(handle, path);
    return {handle, isWhole: true, entries: [...(tree[path] ?? [])]};
  };
  const walk = new WalkAhead({
    open(path) {
      asked.push(path);
      return path in tree ? Promise.resolve(openNow(path)) : undefined;
    },
    close: ({handle}) => open.delete(handle),
    lifetimeMs,
    now: () => state.now,
  });
  t.teardown(() => walk[Symbol.dispose]());
  /** Opens a directory; returns whether it had been asked for. */
  const visit = async (path: string): Promise<boolean> => {
    const opened = await walk.take(path);
    const directory = opened?.directory ?? openNow(path);
    if (opened === undefined) walk.listed(path, directory.entries, true);
    open.delete(directory.handle);
    return opened !== undefined;
  };
  return {walk, state, asked, open, visit};
}

const flat = (names: readonly string[]) => ({
  '/': names.map((name, index) => entry(name, (index * 7) % 10)),
  ...Object.fromEntries(names.map((name) => [`/${name}`, [entry('file', 99, S_IFREG)]])),
});
const names = ['e', 'b', 'h', 'a', 'c', 'g', 'f', 'd'];

for (const [how, order] of [
  ['as they are listed', names],
  ['by name', names.toSorted()],
  [
    'by inode',
    names.toSorted(
      (one, other) => ((names.indexOf(one) * 7) % 10) - ((names.indexOf(other) * 7) % 10),
    ),
  ],
] as const) {
  test(`who goes through directories ${how} finds all but the first ones listed already`, async (t) => {
    const {visit, asked, open} = walkThrough(t, flat(names));
    await visit('/');
    const found: boolean[] = [];
    for (const name of order) found.push(await visit(`/${name}`));
    t.deepEqual(
      found,
      order.map((_, index) => index >= 2),
    );
    t.deepEqual(
      asked,
      order.slice(2).map((name) => `/${name}`),
      'each once, and no other',
    );
    t.is(open.size, 0);
  });
}

test('what is in a directory comes before what is beside it', async (t) => {
  const {visit} = walkThrough(t, {
    '/': [entry('a', 1), entry('z', 2)],
    '/a': [entry('b', 3)],
    '/a/b': [entry('c', 4), entry('d', 5)],
    '/a/b/c': [],
    '/a/b/d': [],
    '/z': [],
  });
  const found: boolean[] = [];
  for (const path of ['/', '/a', '/a/b', '/a/b/c', '/a/b/d', '/z']) found.push(await visit(path));
  t.deepEqual(found, [false, false, false, true, true, true]);
});

test('a walk through many directories does not forget where it is', async (t) => {
  const many = Array.from({length: 300}, (_, index) => `${index}`);
  const {visit} = walkThrough(t, flat(many));
  await visit('/');
  let found = 0;
  for (const name of many) found += Number(await visit(`/${name}`));
  t.is(found, 298);
});

test('who opens a directory here and there has none asked for', async (t) => {
  const {visit, state, asked} = walkThrough(t, flat(names));
  await visit('/');
  await visit('/e');
  await visit('/elsewhere');
  await visit('/b');
  state.now += 1000;
  await visit('/h');
  t.deepEqual(asked, []);
});

test('what was listed a second ago is listed again', async (t) => {
  const {visit, state, open} = walkThrough(t, flat(names));
  await visit('/');
  for (const name of ['e', 'b']) await visit(`/${name}`);
  t.is(open.size, 2);
  state.now += 999;
  t.true(await visit('/h'));
  state.now += 1;
  t.false(await visit('/a'));
});

test('what the program changes makes void what was listed before', async (t) => {
  const {visit, walk, open} = walkThrough(t, flat(names));
  await visit('/');
  for (const name of ['e', 'b']) await visit(`/${name}`);
  walk.clear();
  t.false(await visit('/h'));
  t.is(open.size, 0, 'and it is closed');
});

test('what nobody comes for is closed', async (t) => {
  const {visit, state, open} = walkThrough(t, flat(names), {lifetimeMs: 5});
  await visit('/');
  for (const name of ['e', 'b']) await visit(`/${name}`);
  t.is(open.size, 2);
  state.now += 5;
  await until(() => open.size === 0);
});

test('when all was in vain, nothing is tried for a while', async (t) => {
  const many = Array.from({length: 40}, (_, index) => `${index}`);
  const {visit, state, asked} = walkThrough(t, flat(many));
  await visit('/');
  await visit('/0');
  await visit('/1');
  t.is(asked.length, 2);
  state.now += 1000;
  for (let index = 4; index < 11; index++) await visit(`/${index}`);
  t.is(asked.length, 2);
  for (let index = 11; index < 20; index++) await visit(`/${index}`);
  t.true(asked.length > 2);
});
