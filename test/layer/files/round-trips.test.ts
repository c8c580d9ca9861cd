import {linkSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync} from 'node:fs';
import os from 'node:os';
import {join} from 'node:path';
import test from 'ava';
import {OPCODE, OPEN_FLAG} from '../../../layer/files/fuse/protocol.ts';
import {openTarget} from '../../helpers/file-target.ts';
import {type FuseKernel, fields, fuse, fuseKernel} from '../../helpers/fuse-kernel.ts';
import {until} from '../../helpers/until.ts';

const {EFBIG, EEXIST, ESTALE, ENOENT} = os.constants.errno;
const {O_RDONLY, O_WRONLY, O_RDWR} = {O_RDONLY: 0, O_WRONLY: 1, O_RDWR: 2};
const O_SYNC = 0o4010000;
/** No file system has files of this size. */
const tooFar = 2n ** 62n;

/** The node of a name, and the handle of an opened one. */
const nodeOf = (body: Buffer): number => Number(body.readBigUInt64LE(0));
const handleOf = (body: Buffer): bigint => body.readBigUInt64LE(0);

/** The names of an answer to READDIR; tells where reading goes on. */
function namesIn(body: Buffer, onCookie = (_: bigint): void => undefined): string[] {
  const names: string[] = [];
  for (let at = 0; at < body.length; ) {
    const length = body.readUInt32LE(at + 16);
    onCookie(body.readBigUInt64LE(at + 8));
    names.push(body.toString('latin1', at + 24, at + 24 + length));
    at += (24 + length + 7) & ~7;
  }
  return names;
}

async function open(kernel: FuseKernel, name: string, flags: number): Promise<bigint> {
  const {body} = await kernel.ask('lookup', Buffer.from(`${name}\0`));
  return handleOf((await kernel.ask('open', fuse.open(flags), nodeOf(body))).body);
}

test('a small file comes with its opening, a larger one does not', async (t) => {
  const {root, files} = await openTarget(t);
  writeFileSync(join(root, 'small'), 'hello');
  writeFileSync(join(root, 'large'), Buffer.alloc(128_001, 'x'));
  const kernel = fuseKernel(files);
  const small = await open(kernel, 'small', O_RDONLY);
  const before = files.counters.requests;
  const {body} = await kernel.ask('read', fuse.read(small, 0n, 4096));
  t.is(body.toString(), 'hello');
  t.is(files.counters.requests, before, 'nothing was asked for');
  const large = await open(kernel, 'large', O_RDONLY);
  t.is((await kernel.ask('read', fuse.read(large, 0n, 4096))).body.length, 4096);
  t.true(files.counters.requests > before + 2);
});

test('what a file is comes with its opening, for who asks once; not what it was before the program has changed it', async (t) => {
  const {root, files} = await openTarget(t);
  writeFileSync(join(root, 'file'), 'hello');
  const clock = {now: 0};
  const kernel = fuseKernel(files, {now: () => clock.now});
  const node = nodeOf((await kernel.ask('lookup', Buffer.from('file\0'))).body);
  const openIt = async (flags: number) =>
    handleOf((await kernel.ask('open', fuse.open(flags), node)).body);
  /** Size and seconds that they are believed, and whether the pod was asked. */
  const look = async (handle: bigint) => {
    const before = files.counters.requests;
    const {body} = await kernel.ask('getattr', fields(1, 0, handle), node);
    const isAsked = files.counters.requests > before;
    const believedMs = Number(body.readBigUInt64LE(0)) * 1000 + body.readUInt32LE(8) / 1e6;
    return {size: Number(body.readBigUInt64LE(24)), believedMs, isAsked};
  };
  const handle = await openIt(O_RDWR);
  clock.now = 400;
  t.deepEqual(await look(handle), {size: 5, believedMs: 600, isAsked: false});
  t.deepEqual(await look(handle), {size: 5, believedMs: 1000, isAsked: true});

  await openIt(O_RDONLY);
  await kernel.ask('write', fuse.write(handle, 5n, Buffer.from(' there')));
  t.deepEqual(await look(handle), {size: 11, believedMs: 1000, isAsked: true});

  const other = await openIt(O_RDWR);
  await kernel.ask('release', fuse.end(other), node);
  t.true((await look(handle)).isAsked, 'it is closed');

  await openIt(O_RDONLY);
  clock.now = 1400;
  writeFileSync(join(root, 'file'), '');
  t.deepEqual(await look(handle), {size: 0, believedMs: 1000, isAsked: true}, 'a second is over');
});

test('what came with an opening is not read any more once it was written to meanwhile', async (t) => {
  const {root, files} = await openTarget(t);
  writeFileSync(join(root, 'file'), 'old');
  const kernel = fuseKernel(files);
  const node = nodeOf((await kernel.ask('lookup', Buffer.from('file\0'))).body);
  const writer = handleOf((await kernel.ask('open', fuse.open(O_RDWR), node)).body);
  const opening = kernel.ask('open', fuse.open(O_RDONLY), node);
  await kernel.ask('write', fuse.write(writer, 0n, Buffer.from('new')), node);
  const reader = handleOf((await opening).body);
  const {body} = await kernel.ask('read', fuse.read(reader, 0n, 4096), node);
  t.is(body.toString(), 'new');
});

test('a small directory comes with its opening', async (t) => {
  const {root, files} = await openTarget(t);
  mkdirSync(join(root, 'dir'));
  for (let index = 0; index < 500; index++) writeFileSync(join(root, `dir/${index}`), '');
  const kernel = fuseKernel(files);
  const directory = nodeOf((await kernel.ask('lookup', Buffer.from('dir\0'))).body);
  const before = files.counters.requests;
  const handle = handleOf((await kernel.ask('opendir', fuse.open(0), directory)).body);
  const names: string[] = [];
  for (let offset = 0n; ; ) {
    const {body} = await kernel.ask('readdir', fuse.read(handle, offset, 4096));
    if (body.length === 0) break;
    names.push(
      ...namesIn(body, (cookie) => {
        offset = cookie;
      }),
    );
  }
  t.is(new Set(names).size, 502, '., .. and the rest, each once');
  t.is(names.length, 502);
  t.is(files.counters.requests, before + 1);
});

test('who walks through a tree finds directories listed, and in them what he has just changed', async (t) => {
  const {root, files} = await openTarget(t);
  const all = Array.from({length: 12}, (_, index) => `${index}`);
  for (const name of all) {
    mkdirSync(join(root, 'dir', name), {recursive: true});
    writeFileSync(join(root, 'dir', name, 'file'), '');
  }
  const kernel = fuseKernel(files);
  const list = async (node: number): Promise<string[]> => {
    const handle = handleOf((await kernel.ask('opendir', fuse.open(0), node)).body);
    const {body} = await kernel.ask('readdir', fuse.read(handle, 0n, 4096));
    await kernel.ask('releasedir', fuse.end(handle), node);
    return namesIn(body).filter((name) => !name.startsWith('.'));
  };
  const hits = (): number => (kernel.server.tricks as {walk: {walkHits: number}}).walk.walkHits;
  const parent = nodeOf((await kernel.ask('lookup', Buffer.from('dir\0'))).body);
  const order = await list(parent);
  t.deepEqual(order.toSorted(), all.toSorted());
  for (const name of order) {
    const node = nodeOf((await kernel.ask('lookup', Buffer.from(`${name}\0`), parent)).body);
    const changes = name === order[6];
    if (changes) {
      t.true(hits() > 2);
      await kernel.ask('unlink', Buffer.from('file\0'), node);
      await kernel.ask('mkdir', Buffer.concat([Buffer.alloc(8), Buffer.from('made\0')]), node);
    }
    t.deepEqual(await list(node), changes ? ['made'] : ['file']);
  }
  t.true(hits() > 6);
});

test('what many open directories hold is bounded, and each is read to its end', async (t) => {
  const {root, files} = await openTarget(t);
  mkdirSync(join(root, 'dir'));
  for (let index = 0; index < 4000; index++) writeFileSync(join(root, `dir/${index}`), '');
  const kernel = fuseKernel(files);
  const held = (): number => (kernel.server.tricks as {listed: number}).listed;
  const node = nodeOf((await kernel.ask('lookup', Buffer.from('dir\0'))).body);
  const handles: bigint[] = [];
  for (let index = 0; index < 18; index++) {
    handles.push(handleOf((await kernel.ask('opendir', fuse.open(0), node)).body));
  }
  const listings = handles.map((handle) => ({
    handle,
    names: new Set<string>(),
    offset: 0n,
    count: 0,
  }));
  let most = 0;
  // One of those that have been made to forget, and one that holds its entries.
  for (let reading = [...listings.slice(0, 2), ...listings.slice(-1)]; reading.length > 0; ) {
    const going: typeof reading = [];
    for (const listing of reading) {
      const {body} = await kernel.ask('readdir', fuse.read(listing.handle, listing.offset, 65_536));
      most = Math.max(most, held());
      const names = namesIn(body, (cookie) => (listing.offset = cookie));
      for (const name of names) listing.names.add(name);
      listing.count += names.length;
      if (names.length > 0) going.push(listing);
    }
    reading = going;
  }
  t.true(most > 50_000 && most <= 65_536, `${most}`);
  t.is(listings.filter(({names, count}) => names.size === count && count === 4002).length, 3);
  for (const {handle} of listings) await kernel.ask('releasedir', fuse.end(handle), node);
  t.is(held(), 0);
});

test('who lists a directory that was read ahead is told nothing of what he has changed meanwhile but the name', async (t) => {
  const {root, files} = await openTarget(t);
  mkdirSync(join(root, 'dir'));
  for (const name of ['gone', 'moved', 'grown', 'stays'])
    writeFileSync(join(root, 'dir', name), '');
  const kernel = fuseKernel(files);
  const parent = nodeOf((await kernel.ask('lookup', Buffer.from('dir\0'))).body);
  const listing = handleOf((await kernel.ask('opendir', fuse.open(0), parent)).body);
  t.is((await kernel.ask('lookup', Buffer.from('grown\0'), parent)).errno, 0);
  const written = await kernel.ask('create', fuse.create('grown', O_RDWR), parent);
  const handle = written.body.readBigUInt64LE(128);
  const known = async (of: bigint): Promise<string[]> => {
    const {body} = await kernel.ask('readdirplus', fuse.read(of, 0n, 65_536));
    const names: string[] = [];
    for (let at = 0; at < body.length; ) {
      const length = body.readUInt32LE(at + 144);
      const isKnown = nodeOf(body.subarray(at)) !== 0;
      if (isKnown) names.push(body.toString('latin1', at + 152, at + 152 + length));
      at += (152 + length + 7) & ~7;
    }
    return names.toSorted();
  };
  await kernel.ask('release', fuse.end(handle), 1);
  const other = handleOf((await kernel.ask('opendir', fuse.open(0), parent)).body);
  const node = nodeOf(written.body);
  const again = handleOf((await kernel.ask('open', fuse.open(O_RDWR), node)).body);
  await kernel.ask('write', fuse.write(again, 0n, Buffer.from('more')), node);
  t.deepEqual(await known(other), ['gone', 'moved', 'stays']);
  await kernel.ask('unlink', Buffer.from('gone\0'), parent);
  const rename = fields(BigInt(parent), 'moved', 'there');
  await kernel.ask('rename', rename, parent);
  t.deepEqual(await known(listing), []);
  const last = handleOf((await kernel.ask('opendir', fuse.open(0), parent)).body);
  t.deepEqual(await known(last), ['grown', 'stays', 'there']);
});

test('a name that is gone when it is opened is looked for again; what is there but not to be opened, is not', async (t) => {
  const {root, files} = await openTarget(t);
  writeFileSync(join(root, 'file'), '');
  const kernel = fuseKernel(files);
  const look = async () => nodeOf((await kernel.ask('lookup', Buffer.from('file\0'))).body);
  const node = await look();
  linkSync(join(root, 'file'), join(root, 'other'));
  const open = async () => (await kernel.ask('open', fuse.open(O_WRONLY), node)).errno;
  rmSync(join(root, 'file'));
  t.is(await open(), ESTALE);
  t.is(await open(), ESTALE);
  // As if it were there.
  linkSync(join(root, 'other'), join(root, 'file'));
  t.is(await look(), node);
  rmSync(join(root, 'file'));
  t.is(await open(), ENOENT);
});

test('who looks for many names has the directory, and sees at once what he changes', async (t) => {
  const {root, files} = await openTarget(t);
  mkdirSync(join(root, 'dir'));
  for (let index = 0; index < 300; index++) writeFileSync(join(root, `dir/${index}`), '');
  const kernel = fuseKernel(files);
  const directory = nodeOf((await kernel.ask('lookup', Buffer.from('dir\0'))).body);
  const look = async (name: string) =>
    await kernel.ask('lookup', Buffer.from(`${name}\0`), directory);
  const isThere = async (name: string): Promise<boolean> => {
    const {errno, body} = await look(name);
    return errno === 0 && nodeOf(body) !== 0;
  };
  const before = files.counters.requests;
  for (let index = 0; index < 300; index++) t.true(await isThere(`${index}`));
  t.false(await isThere('none'));
  t.true(files.counters.requests < before + 20, `${files.counters.requests - before} requests`);

  t.is((await kernel.ask('unlink', Buffer.from('7\0'), directory)).errno, 0);
  t.false(await isThere('7'));
  const made = await kernel.ask('create', fuse.create('none', O_RDWR), directory);
  t.is(made.errno, 0);
  for (let index = 10; index < 30; index++) t.true(await isThere(`${index}`));
  t.true(await isThere('none'));
  const handle = made.body.readBigUInt64LE(128);
  await kernel.ask('write', fuse.write(handle, 0n, Buffer.from('grown')));
  for (let round = 0; round < 5; round++) {
    const {body} = await look('none');
    t.is(Number(body.readBigUInt64LE(48)), 5, 'its size');
  }
});

test('who looks for names that are not there has no directory asked for', async (t) => {
  const {files} = await openTarget(t);
  const kernel = fuseKernel(files);
  for (let index = 0; index < 10; index++) {
    await kernel.ask('lookup', Buffer.from(`none-${index}\0`));
    await kernel.ask('create', fuse.create(`none-${index}`, O_RDWR));
  }
  t.is((kernel.server.tricks as {asked: number}).asked, 0);
});

test('a file without a name gets one, and is the same one by it', async (t) => {
  const {root, files} = await openTarget(t);
  mkdirSync(join(root, 'dir'));
  const kernel = fuseKernel(files);
  const directory = nodeOf((await kernel.ask('lookup', Buffer.from('dir\0'))).body);
  const made = await kernel.ask('tmpfile', fuse.create('/', O_RDWR), directory);
  t.is(made.errno, 0);
  const [node, handle] = [nodeOf(made.body), made.body.readBigUInt64LE(128)];
  await kernel.ask('write', fuse.write(handle, 0n, Buffer.from('hello')));
  t.deepEqual(readdirSync(join(root, 'dir')), []);
  const {body} = await kernel.ask('getattr', fields(0, 0, 0n), node);
  t.is(Number(body.readBigUInt64LE(24)), 5, 'its size');

  const link = async () => await kernel.ask('link', fields(BigInt(node), 'name'), directory);
  t.is(nodeOf((await link()).body), node);
  t.is((await link()).errno, EEXIST);
  t.is(nodeOf((await kernel.ask('lookup', Buffer.from('name\0'), directory)).body), node);
  t.is(readFileSync(join(root, 'dir/name'), 'utf8'), 'hello');
  await kernel.ask('release', fuse.end(handle), node);
  kernel.send(OPCODE.forget, 1, fields(3n), node);
  kernel.send(OPCODE.forget, 2, fields(1n), directory);
  t.deepEqual(kernel.server.sizes, {nodes: 1, open: 0});
});

test('what somebody in the pod makes is there at once, and what he changes when it is opened', async (t) => {
  const {root, files} = await openTarget(t);
  for (let index = 0; index < 9; index++) writeFileSync(join(root, `${index}`), 'x');
  const kernel = fuseKernel(files, {now: () => 0});
  const look = async (name: string) =>
    nodeOf((await kernel.ask('lookup', Buffer.from(`${name}\0`))).body);
  await until(async () => {
    const before = files.counters.requests;
    await look('1');
    return files.counters.requests === before;
  });
  writeFileSync(join(root, 'made'), '');
  t.not(await look('made'), 0);
  const node = await look('2');
  writeFileSync(join(root, '2'), 'changed');
  t.is(await look('2'), node);
  t.deepEqual(kernel.outdated, []);
  const handle = handleOf((await kernel.ask('open', fuse.open(O_RDONLY), node)).body);
  t.deepEqual(kernel.outdated, [node]);
  t.is((await kernel.ask('read', fuse.read(handle, 0n, 4096))).body.toString(), 'changed');
  await kernel.ask('open', fuse.open(O_RDONLY), node);
  t.is(kernel.outdated.length, 1);
});

test('a write is not waited for, and a read after it has what was written', async (t) => {
  const {root, files} = await openTarget(t);
  writeFileSync(join(root, 'file'), '0123456789');
  const kernel = fuseKernel(files);
  const handle = await open(kernel, 'file', O_RDWR);
  const written: Promise<unknown>[] = [];
  for (let index = 0; index < 10; index++) {
    written.push(kernel.ask('write', fuse.write(handle, BigInt(index), Buffer.from('x'))));
  }
  const {body} = await kernel.ask('read', fuse.read(handle, 0n, 4096));
  t.is(body.toString(), 'xxxxxxxxxx');
  await Promise.all(written);
  await kernel.ask('flush', fuse.end(handle));
  t.is(readFileSync(join(root, 'file'), 'latin1'), 'xxxxxxxxxx');
});

test('a new file that is only written to bypasses the cache, where the kernel keeps that right', async (t) => {
  const {files} = await openTarget(t);
  for (const minor of [38, 39]) {
    const kernel = fuseKernel(files);
    await kernel.ask('init', fields(7, minor, 0, 0));
    for (const flags of [O_WRONLY, O_RDWR]) {
      const {body} = await kernel.ask('create', fuse.create(`${minor}-${flags}`, flags));
      const isDirect = (body.readUInt32LE(136) & OPEN_FLAG.directIo) !== 0;
      t.is(isDirect, minor === 39 && flags === O_WRONLY);
    }
  }
});

for (const name of ['flush', 'fsync'] as const) {
  test(`a write that fails later is told by ${name}, once`, async (t) => {
    const {root, files} = await openTarget(t);
    writeFileSync(join(root, 'file'), '');
    const kernel = fuseKernel(files);
    const handle = await open(kernel, 'file', O_RDWR);
    const {errno} = await kernel.ask('write', fuse.write(handle, tooFar, Buffer.from('x')));
    t.is(errno, 0, 'nobody has waited');
    t.is((await kernel.ask(name, fuse.end(handle))).errno, EFBIG);
    t.is((await kernel.ask(name, fuse.end(handle))).errno, 0);
  });
}

test('who opened a file to be sure is told by the write itself', async (t) => {
  const {root, files} = await openTarget(t);
  writeFileSync(join(root, 'file'), '');
  const kernel = fuseKernel(files);
  const handle = await open(kernel, 'file', O_RDWR | O_SYNC);
  const {errno} = await kernel.ask('write', fuse.write(handle, tooFar, Buffer.from('x')));
  t.is(errno, EFBIG);
});
