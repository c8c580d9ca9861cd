import {
  constants,
  linkSync,
  lutimesSync,
  mkdirSync,
  renameSync,
  rmdirSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import os from 'node:os';
import {join} from 'node:path';
import test from 'ava';
import fc from 'fast-check';
import {type FileClient, FileError} from '../../../layer/files/file-client.ts';
import {OPCODE, SETATTR} from '../../../layer/files/fuse/protocol.ts';
import type {FileOperation, FileRequest} from '../../../tunnel/files.ts';
import {openTarget} from '../../helpers/file-target.ts';
import {fields, fuse, fuseKernel} from '../../helpers/fuse-kernel.ts';
import {until} from '../../helpers/until.ts';

test('whatever is asked, each request has one answer, and none is a bug', async (t) => {
  const {server, errnos: replies, send} = fuseKernel((await openTarget(t)).files);
  const silent: readonly number[] = [OPCODE.forget, OPCODE.batchForget, OPCODE.interrupt];
  const opcodes = Object.values(OPCODE).filter((opcode) => !silent.includes(opcode));
  const small = fc.uint8Array({maxLength: 120});
  const request = fc.record({
    opcode: fc.constantFrom(...opcodes),
    // Names, small numbers and noise.
    body: fc.oneof(
      small,
      small.map((bytes) => bytes.map((byte) => (byte < 200 ? 0 : byte % 4))),
      fc.constantFrom('a', 'b', 'a\0b').map((name) => Buffer.from(`${name}\0`)),
    ),
    node: fc.integer({min: 0, max: 6}),
  });
  const requests = fc.sample(request, {numRuns: 3000, seed: 20_261_122});
  for (const [index, {opcode, body, node}] of requests.entries())
    send(opcode, index + 1, body, node);
  await until(() => replies.size === requests.length);
  t.is(server.counters.bugs, 0);
  t.true(server.counters.malformed > 100);
});

test('what the kernel forgets is not kept', async (t) => {
  const {server, errnos: replies, send} = fuseKernel((await openTarget(t)).files);
  send(OPCODE.lookup, 1, Buffer.from('wait\0'));
  send(OPCODE.lookup, 2, Buffer.from('wait\0'));
  await until(() => replies.size === 2);
  t.is(server.sizes.nodes, 2);
  const one = Buffer.alloc(8);
  one.writeUInt32LE(1);
  send(OPCODE.forget, 3, one, 2);
  t.is(server.sizes.nodes, 2);
  send(OPCODE.forget, 4, one, 2);
  t.is(server.sizes.nodes, 1);
});

test('a directory that only holds others has blocks of a size, and long names', async (t) => {
  const {ask} = fuseKernel((await openTarget(t)).files);
  const {body} = await ask('statfs', Buffer.alloc(0), 1);
  t.deepEqual(
    [40, 44, 48].map((at) => body.readUInt32LE(at)),
    [4096, 255, 4096],
  );
});

test('a link that was made anew is another node, even with the number of the one before', async (t) => {
  const {root, files} = await openTarget(t);
  const {ask} = fuseKernel(files);
  const look = async (): Promise<bigint> =>
    (await ask('lookup', Buffer.from('link\0'), 1)).body.readBigUInt64LE(0);
  symlinkSync('here', join(root, 'link'));
  const first = await look();
  t.is(await look(), first);
  // As if its inode had been free meanwhile.
  lutimesSync(join(root, 'link'), 1, 1);
  t.not(await look(), first);
});

test('a link whose time the program sets is the same node by each of its names', async (t) => {
  const {root, files} = await openTarget(t);
  const {ask} = fuseKernel(files);
  const look = async (name: string): Promise<number> =>
    Number((await ask('lookup', Buffer.from(`${name}\0`), 1)).body.readBigUInt64LE(0));
  symlinkSync('here', join(root, 'one'));
  linkSync(join(root, 'one'), join(root, 'two'));
  const node = await look('one');
  t.is(await look('two'), node);
  const times = fields(0n, 5n, 0n, 0, 0, 0);
  const set = fields(SETATTR.mtime, 0, 0n, 0n, 0n, times, 0, 0, 0, 0, 0);
  t.is((await ask('setattr', set, node)).errno, 0);
  t.is(await look('one'), node);
  t.is(await look('two'), node);
});

test('who looks at a file that the kernel knows and the pod has no more is to look for it anew', async (t) => {
  const {root, files} = await openTarget(t);
  const {ask} = fuseKernel(files);
  const look = async (): Promise<number> =>
    Number((await ask('lookup', Buffer.from('file\0'), 1)).body.readBigUInt64LE(0));
  writeFileSync(join(root, 'file'), 'old');
  const node = await look();
  renameSync(join(root, 'file'), join(root, 'other'));
  const {ESTALE} = os.constants.errno;
  t.is((await ask('open', fuse.open(constants.O_RDONLY), node)).errno, ESTALE);
  t.is((await ask('getattr', fields(0, 0, 0n), node)).errno, ESTALE);
  t.is(await look(), 0);
});

test('who is in a directory that is being renamed does not see it', async (t) => {
  const {root, files} = await openTarget(t);
  const {ask} = fuseKernel(files);
  const look = async (name: string, parent: number): Promise<number> =>
    Number((await ask('lookup', Buffer.from(`${name}\0`), parent)).body.readBigUInt64LE(0));
  mkdirSync(join(root, 'old'));
  writeFileSync(join(root, 'old/file'), '');
  symlinkSync('file', join(root, 'old/link'));
  const directory = await look('old', 1);
  const node = await look('file', directory);
  const [link, renamed, found, opened, listed] = await Promise.all([
    look('link', directory), // takes two questions
    ask('rename', fields(1n, 'old', 'new'), 1),
    look('file', directory),
    ask('open', fuse.open(constants.O_RDONLY), node),
    ask('opendir', fuse.open(constants.O_RDONLY), directory),
  ]);
  t.not(link, 0);
  t.is(found, node);
  t.deepEqual(
    [renamed, opened, listed].map(({errno}) => errno),
    [0, 0, 0],
  );
});

test('who looks for a name in a directory that the pod has no more is to look for that anew, but not who is in it', async (t) => {
  const {root, files} = await openTarget(t);
  const {ask, server} = fuseKernel(files);
  mkdirSync(join(root, 'directory'));
  const {body} = await ask('lookup', Buffer.from('directory\0'), 1);
  const directory = Number(body.readBigUInt64LE(0));
  const look = async (): Promise<number> =>
    (await ask('lookup', Buffer.from('file\0'), directory)).errno;
  t.is(await look(), 0); // a name that is not there
  rmdirSync(join(root, 'directory'));
  const {ESTALE, ENOENT} = os.constants.errno;
  t.is(await look(), ESTALE);
  t.is(await look(), ENOENT);
  // Likewise if something else is in its place.
  writeFileSync(join(root, 'directory'), '');
  t.is(await look(), ESTALE);
  t.is(server.counters.stale, 2);
});

test('a request that hangs fails with EINTR after it was interrupted', async (t) => {
  const target = await openTarget(t);
  const hanging = Object.create(target.files, {request: {value: () => new Promise(() => {})}});
  const stuck = fuseKernel(hanging);
  stuck.send(OPCODE.lookup, 9, Buffer.from('x\0'));
  const interrupted = Buffer.alloc(8);
  interrupted.writeUInt32LE(9);
  stuck.send(OPCODE.interrupt, 10, interrupted);
  await until(() => stuck.errnos.has(9));
  t.is(stuck.errnos.get(9), 4);
  t.is(stuck.server.counters.interrupted, 1);
});

test('an errno that the kernel takes from nobody is EIO to who asked', async (t) => {
  const {files} = await openTarget(t);
  // Linux' ENOTSUPP, which some file systems let out, and the first and the last that are not for programs.
  for (const errno of [524, 512, 4095]) {
    const failing = Object.create(files, {
      request: {value: () => Promise.reject(new FileError(errno))},
    });
    const {errnos, send, server} = fuseKernel(failing);
    send(OPCODE.lookup, 9, Buffer.from('x\0'));
    await until(() => server.counters.untaken > 0);
    t.is(errnos.get(9), 5);
  }
});

/** A kernel whose agent answers whatever it is told to. */
function kernelOf(answers: Partial<Record<FileOperation, () => Uint8Array>>, notFound?: string[]) {
  let asked = 0;
  const request = async ({operation}: FileRequest): Promise<Uint8Array> => {
    asked++;
    await new Promise(setImmediate);
    return answers[operation]?.() ?? new Uint8Array(0);
  };
  const agent = {request, release: () => undefined, hold: () => undefined};
  const kernel = fuseKernel(agent as unknown as FileClient, {...(notFound && {notFound})});
  return {kernel, asked: () => asked};
}

/** Of a file, or of a directory. */
function attributes(mode = 0o100644): Buffer {
  const bytes = Buffer.alloc(88);
  bytes.writeUInt32LE(mode, 60);
  bytes.writeUInt32LE(1, 64);
  return bytes;
}

test('an agent that has written more than it was given has failed', async (t) => {
  const {kernel} = kernelOf({
    create: () => fields(7, attributes()),
    write: () => fields(4097),
  });
  const created = await kernel.ask('create', fuse.create('x', 0o4010001));
  const handle = created.body.readBigUInt64LE(128);
  const written = await kernel.ask('write', fuse.write(handle, 0n, Buffer.alloc(4096)), 2);
  t.is(written.errno, 5);
  t.is(kernel.server.counters.badAnswers, 1);
});

test('a directory in which nothing is to be seen, and no end, is an error', async (t) => {
  let place = 0n;
  const {kernel, asked} = kernelOf(
    {
      stat: () => attributes(0o040755),
      opendir: () => fields(3, Buffer.from([0])),
      // In a circle of two.
      readdir: () =>
        fields(1n + (++place % 2n), attributes(), Buffer.from([1, 0]), Buffer.from('x')),
    },
    ['^/d/x'],
  );
  await kernel.ask('lookup', Buffer.from('d\0'));
  const opened = await kernel.ask('opendir', fuse.open(0), 2);
  const handle = opened.body.readBigUInt64LE(0);
  t.is((await kernel.ask('readdir', fuse.read(handle, 0n, 4096), 2)).errno, 0, '. and ..');
  const listed = await kernel.ask('readdir', fuse.read(handle, 0x7fff_ffff_ffff_fff1n, 4096), 2);
  t.is(listed.errno, 5);
  const before = asked();
  for (let turn = 0; turn < 10; turn++) await new Promise(setImmediate);
  t.is(asked(), before);
});
