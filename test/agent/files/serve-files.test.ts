import {
  appendFileSync,
  constants,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import os from 'node:os';
import {join} from 'node:path';
import test from 'ava';
import fc from 'fast-check';
import {FileClient, FileError, podFiles} from '../../../layer/files/file-client.ts';
import {
  FILE_DATA_BYTES,
  FILE_OPERATION,
  type FileOperation,
  FileRequest,
  OPEN_BY_HANDLE,
  OPEN_NO_FOLLOW,
  parseEntries,
} from '../../../tunnel/files.ts';
import {startAgent} from '../../helpers/agent.ts';
import {
  attributes,
  close,
  create,
  first,
  onPath,
  open,
  read,
  stat,
  write,
} from '../../helpers/file-requests.ts';
import {openTarget} from '../../helpers/file-target.ts';

const {errno} = os.constants;

/** The errno that a request fails with; 0 when it doesn't. */
async function errnoOf(answer: Promise<unknown>): Promise<number> {
  try {
    await answer;
    return 0;
  } catch (error) {
    if (error instanceof FileError) return error.errno;
    throw error;
  }
}

/** The whole of a small file. */
async function content(files: FileClient, path: string): Promise<string> {
  const handle = first(await files.request(open(path)));
  const bytes = await files.request(read(handle, 0, 65_536));
  await files.request(close(handle));
  return Buffer.from(bytes).toString();
}

/** Takes the directory `d` of a root and the link `link` for each other, again and again. `end` tells how often. */
function swap(root: string): {end(): Promise<number>} {
  let isOver = false;
  let swaps = 0;
  const attack = (async () => {
    while (!isOver) {
      renameSync(join(root, 'd'), join(root, 'aside'));
      renameSync(join(root, 'link'), join(root, 'd'));
      renameSync(join(root, 'd'), join(root, 'link'));
      renameSync(join(root, 'aside'), join(root, 'd'));
      swaps++;
      await new Promise((resolve) => setImmediate(resolve));
    }
  })();
  const end = async (): Promise<number> => {
    isOver = true;
    await attack;
    return swaps;
  };
  return {end};
}

test("a file of the target's root is read, by the path that it has there", async (t) => {
  const {root, files} = await openTarget(t);
  mkdirSync(join(root, 'app'));
  writeFileSync(join(root, 'app/config'), 'hello');
  t.is(attributes(await files.request(stat('/app/config'))).size, 5);
  t.is(await content(files, '/app/config'), 'hello');
  t.is(await errnoOf(files.request(stat('/app/none'))), errno.ENOENT);
  t.is(await errnoOf(files.request(open('/app'))), errno.EISDIR);
});

test('absolute links and .. stay inside', async (t) => {
  const {root, outside, files} = await openTarget(t);
  writeFileSync(join(root, 'inside'), 'inside');
  symlinkSync('/inside', join(root, 'absolute'));
  symlinkSync('../../../../inside', join(root, 'up'));
  symlinkSync(outside, join(root, 'out'));
  t.is(await content(files, '/absolute'), 'inside');
  t.is(await content(files, '/up'), 'inside');
  t.is(await errnoOf(files.request(open('/out'))), errno.ENOENT);
  t.is(await errnoOf(files.request(open(`/../..${outside}`))), errno.ENOENT);
});

test('a directory that is swapped for a link outwards leads nowhere else', async (t) => {
  const {root, outside, files} = await openTarget(t);
  mkdirSync(join(root, 'real'));
  writeFileSync(join(root, 'real/secret'), 'inside');
  mkdirSync(join(root, 'd'));
  writeFileSync(join(root, 'd/secret'), 'inside');
  symlinkSync(join(outside, '..'), join(root, 'link'));
  const swapping = swap(root);
  let found = 0;
  for (let round = 0; round < 2000; round++) {
    // Sent together, so that the swaps happen in between.
    const answers = [open('/d/secret'), open('/d/../d/secret'), stat('/d/secret')].map((request) =>
      files.request(request).catch(() => undefined),
    );
    const [one, two] = await Promise.all(answers);
    for (const opened of [one, two]) {
      if (opened === undefined) continue;
      found++;
      const handle = first(opened);
      const bytes = await files.request(read(handle, 0, 100));
      if (Buffer.from(bytes).toString() !== 'inside') t.fail('read what is outside');
      await files.request(close(handle));
    }
  }
  t.true(found > 0);
  t.true((await swapping.end()) > 100);
});

test('nothing is made, renamed or removed in what such a link leads to', async (t) => {
  const {root, outside, files} = await openTarget(t);
  mkdirSync(join(root, 'd'));
  symlinkSync(join(outside, '..'), join(root, 'link'));
  const before = readdirSync(join(outside, '..'));
  const swapping = swap(root);
  const path = (name: string) => Buffer.from(`/d/${name}`);
  let done = 0;
  for (let round = 0; round < 200; round++) {
    const asked = [
      create('/d/secret', constants.O_WRONLY | constants.O_TRUNC),
      create('/d/new', constants.O_WRONLY),
      new FileRequest('mkdir').u32(0o755).string(path('made')),
      new FileRequest('symlink').string(Buffer.from('x')).string(path('linked')),
      new FileRequest('link').string(path('new')).string(path('other')),
      new FileRequest('rename').u32(0).string(path('secret')).string(path('moved')),
      ...['moved', 'new', 'linked', 'other', 'secret'].map((name) =>
        onPath('unlink', `/d/${name}`),
      ),
      onPath('rmdir', '/d/made'),
    ];
    const answers = await Promise.all(
      asked.map((request) => files.request(request).catch(() => undefined)),
    );
    done += answers.filter((answer) => answer !== undefined).length;
    for (const opened of answers.slice(0, 2)) {
      if (opened !== undefined) await files.request(close(first(opened)));
    }
  }
  t.true(done > 0);
  t.true((await swapping.end()) > 100);
  t.deepEqual(readdirSync(join(outside, '..')), before);
  t.is(readFileSync(outside, 'utf8'), 'outside');
});

test('only regular files are opened', async (t) => {
  const {root, files} = await openTarget(t);
  await files.request(
    new FileRequest('mknod').u32(constants.S_IFIFO | 0o600).string(Buffer.from('/fifo')),
  );
  t.is(await errnoOf(files.request(open('/fifo'))), errno.ENXIO);
  t.is(await errnoOf(files.request(create('/fifo', constants.O_WRONLY))), errno.ENXIO);
  const device = new FileRequest('mknod')
    .u32(constants.S_IFCHR | 0o600)
    .string(Buffer.from('/null'));
  t.is(await errnoOf(files.request(device)), errno.EPERM);
  t.truthy(root);
});

test('a file is created, written, renamed and removed', async (t) => {
  const {root, files} = await openTarget(t);
  const flags = constants.O_RDWR | constants.O_EXCL;
  const handle = first(await files.request(create('/new', flags)));
  t.is(await errnoOf(files.request(create('/new', flags))), errno.EEXIST);
  t.is(first(await files.request(write(handle, 2), Buffer.from('xyz'))), 3);
  t.deepEqual(readFileSync(join(root, 'new')), Buffer.from('\0\0xyz'));
  const rename = (flag: number) =>
    new FileRequest('rename').u32(flag).string(Buffer.from('/new')).string(Buffer.from('/wait'));
  t.is(await errnoOf(files.request(rename(1))), errno.EEXIST, 'RENAME_NOREPLACE');
  await files.request(onPath('unlink', '/new'));
  t.deepEqual(
    Buffer.from(await files.request(read(handle, 2, 10))),
    Buffer.from('xyz'),
    'still open',
  );
  t.is(await errnoOf(files.request(stat('/new'))), errno.ENOENT);
});

test('what is appended goes to the end, what is written to its place, by the same handle', async (t) => {
  const {root, files} = await openTarget(t);
  const flags = constants.O_RDWR | constants.O_APPEND;
  const handle = first(await files.request(create('/log', flags)));
  const append = (text: string) =>
    files.request(new FileRequest('append').u32(handle), Buffer.from(text));
  t.is(first(await append('one ')), 4);
  appendFileSync(join(root, 'log'), 'another ');
  t.is(first(await append('two')), 3);
  await files.request(write(handle, 0), Buffer.from('ONE'));
  t.is(readFileSync(join(root, 'log'), 'utf8'), 'ONE another two');
});

test('many pieces are written by one request; the first failure is told, and nothing is left out for it', async (t) => {
  const {root, files} = await openTarget(t);
  const handle = first(await files.request(create('/file', constants.O_RDWR)));
  const many = (...pieces: [number | bigint, string, number?][]) => {
    const request = new FileRequest('writemany').u32(handle);
    for (const [offset, text, length = text.length] of pieces) {
      request.u64(BigInt(offset)).u32(length).bytes(Buffer.from(text));
    }
    return errnoOf(files.request(request));
  };
  const found = (): string => readFileSync(join(root, 'file'), 'latin1');
  t.is(await many([6, 'there'], [0, 'hello'], [5, ' '], [9, ''], [10, 'e!']), 0);
  t.is(found(), 'hello there!');
  t.is(await many([0, 'J'], [2n ** 62n, 'x'], [-1, 'y'], [11, '?']), errno.EFBIG);
  t.is(found(), 'Jello there?');
  t.is(await many([0, 'M'], [1, 'a', 2]), errno.EINVAL, 'it ends within a piece');
  t.is(found(), 'Mello there?');
  t.is(await many(), 0);
  await files.request(close(handle));
  t.is(await many([0, 'x']), errno.EBADF);
});

test('a link is opened only by who means what it leads to', async (t) => {
  const {root, files} = await openTarget(t);
  writeFileSync(join(root, 'file'), 'content');
  symlinkSync('file', join(root, 'link'));
  t.is(await errnoOf(files.request(open('/link', OPEN_NO_FOLLOW))), errno.ESTALE);
  t.is(await errnoOf(files.request(open('/file', OPEN_NO_FOLLOW))), 0);
  t.is(await content(files, '/link'), 'content');
  t.is(await errnoOf(files.request(create('/link', constants.O_WRONLY))), errno.ESTALE);
});

test('a directory of 5,000 entries comes in pieces, with names that are no UTF-8', async (t) => {
  const {root, files} = await openTarget(t);
  mkdirSync(join(root, 'many'));
  for (let index = 0; index < 5000; index++) writeFileSync(join(root, `many/${index}`), '');
  writeFileSync(Buffer.concat([Buffer.from(join(root, 'many/')), Buffer.from([0xff, 0xfe])]), '');
  const handle = first(await files.request(onPath('opendir', '/many')));
  const names = new Set<string>();
  let pieces = 0;
  for (let cookie = 0n; ; pieces++) {
    const request = new FileRequest('readdir').u32(handle).u64(cookie).u32(65_536);
    const entries = parseEntries(await files.request(request));
    for (const {name} of entries) names.add(Buffer.from(name).toString('latin1'));
    const last = entries.at(-1);
    if (last === undefined) break;
    cookie = last.cookie;
  }
  t.is(names.size, 5001);
  t.true(names.has('\xff\xfe'));
  t.true(pieces > 5);
});

test('a request that makes no sense is EINVAL or EBADF, and the next one is answered', async (t) => {
  const {files} = await openTarget(t);
  t.is(await errnoOf(files.request(new FileRequest('stat'))), errno.EINVAL);
  t.is(await errnoOf(files.request(new FileRequest('open').u32(0))), errno.EINVAL);
  t.is(await errnoOf(files.request(stat('/a\0b'))), errno.EINVAL);
  t.is(await errnoOf(files.request(stat('x'.repeat(5000)))), errno.ENAMETOOLONG);
  t.is(await errnoOf(files.request(read(4095, 0, 1))), errno.EBADF);
  t.is(await errnoOf(files.request(read(0xffff_ffff, 0, 1))), errno.EBADF);
  t.is(attributes(await files.request(stat('/'))).mode & constants.S_IFMT, constants.S_IFDIR);
});

test('whatever is asked, each request has an answer that makes sense, and nothing outside is touched', async (t) => {
  const {root, outside, files} = await openTarget(t);
  mkdirSync(join(root, 'd'));
  symlinkSync('../../..', join(root, 'd/up'));
  const path = fc
    .constantFrom(
      '',
      '.',
      '..',
      'a',
      'b',
      'd',
      'd/a',
      'd/up',
      `d/up${outside}`,
      '/a//b/../',
      'x'.repeat(256),
    )
    .map((name) => (request: FileRequest) => request.string(Buffer.from(name)));
  const number = fc
    .oneof(
      fc.nat(6),
      fc.constantFrom(0o100, 0o1000, 4096, OPEN_BY_HANDLE, OPEN_NO_FOLLOW, 0xffff_ffff),
    )
    .map((value) => (request: FileRequest) => request.u32(value));
  const large = fc
    .oneof(fc.bigInt(0n, 5000n), fc.constantFrom(2n ** 31n, 2n ** 63n - 1n, 2n ** 64n - 1n))
    .map((value) => (request: FileRequest) => request.u64(value));
  const small = fc.nat(3).map((value) => (request: FileRequest) => request.u8(value));
  const noise = fc
    .uint8Array({maxLength: 40})
    .map((bytes) => (request: FileRequest) => request.bytes(bytes));
  // What allocates would fill the disk.
  const operations = (Object.keys(FILE_OPERATION) as FileOperation[]).filter(
    (operation) => operation !== 'fallocate',
  );
  const asked = fc.record({
    operation: fc.constantFrom(...operations),
    isLater: fc.boolean(),
    fields: fc.array(fc.oneof(path, path, number, number, large, small, noise), {maxLength: 5}),
  });
  const done = new Set<string>();
  const answers = fc.sample(asked, {numRuns: 5000, seed: 20_261_201}).map(async (one) => {
    const request = new FileRequest(one.operation, one.isLater);
    for (const add of one.fields) add(request);
    if ((await errnoOf(files.request(request))) === 0) done.add(one.operation);
  });
  await Promise.all(answers);
  t.is(files.counters.malformed, 0);
  t.false(files.isOver);
  t.true(done.size > 15, [...done].join());
  t.deepEqual(readdirSync(join(root, '..')).toSorted(), ['root', 'secret']);
  t.is(readFileSync(outside, 'utf8'), 'outside');
});

test('open files are limited, and are free again when they are closed', async (t) => {
  const {root, files} = await openTarget(t);
  writeFileSync(join(root, 'x'), '');
  const opened: number[] = [];
  for (;;) {
    const fields = await files.request(open('/x')).catch((error: FileError) => error);
    if (fields instanceof FileError) {
      t.is(fields.errno, errno.EMFILE);
      break;
    }
    opened.push(first(fields));
  }
  t.true(opened.length <= 4096);
  await files.request(close(opened[0] ?? 0));
  t.is(await errnoOf(files.request(open('/x'))), 0);
});

test('a megabyte goes each way in one request', async (t) => {
  const {root, files} = await openTarget(t);
  const bytes = Buffer.alloc(FILE_DATA_BYTES, 'abcdefg');
  const handle = first(await files.request(create('/big', constants.O_RDWR)));
  t.is(first(await files.request(write(handle, 0), bytes)), bytes.length);
  t.true(readFileSync(join(root, 'big')).equals(bytes));
  t.true(bytes.equals(await files.request(read(handle, 0, bytes.length))));
});

test('when the process ends, what waits gets EIO, and so does what comes', async (t) => {
  const {files} = await openTarget(t);
  const waiting = files.request(stat('/'));
  files[Symbol.dispose]();
  t.is(await errnoOf(waiting), errno.EIO);
  t.is(await errnoOf(files.request(stat('/'))), errno.EIO);
});

test('a target that is gone is told', async (t) => {
  const {layer} = await startAgent(t, {context: {targetPid: 0x3f_ffff}});
  const files = podFiles(layer);
  t.teardown(() => files[Symbol.dispose]());
  t.is(await errnoOf(files.hello()), errno.ENOENT);
});

test('answers that make no sense end the stream with EIO, not the process', async (t) => {
  let say: ((bytes: Uint8Array) => void) | undefined;
  const files = new FileClient((handler) => {
    say = (bytes) => handler.onLentData?.(bytes);
    return {writable: 1e6, write() {}, end() {}, reset() {}, consumed() {}};
  });
  const waiting = files.request(stat('/'));
  say?.(new Uint8Array(12).fill(0xff));
  t.is(await errnoOf(waiting), errno.EIO);
  t.is(files.counters.malformed, 1);
});

test('an answer of a length that none has is EIO, and the next one counts', async (t) => {
  let say: ((bytes: Uint8Array) => void) | undefined;
  const files = new FileClient((handler) => {
    say = (bytes) => handler.onLentData?.(bytes);
    return {writable: 1e6, write() {}, end() {}, reset() {}, consumed() {}};
  });
  const answer = (id: number, length: number): Uint8Array => {
    const bytes = Buffer.alloc(12 + length);
    bytes.writeUInt32LE(8 + length, 0);
    bytes.writeUInt32LE(id, 4);
    return bytes;
  };
  const [short, long, right] = [stat('/'), stat('/'), stat('/')].map((each) => files.request(each));
  for (const [index, length] of [87, 89, 88].entries()) say?.(answer(index + 1, length));
  t.is(await errnoOf(short as Promise<unknown>), errno.EIO);
  t.is(await errnoOf(long as Promise<unknown>), errno.EIO);
  t.is((await right)?.length, 88);
  t.is(files.counters.malformed, 2);
});
