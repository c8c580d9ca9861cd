import {mkdtempSync, rmSync, writeFileSync} from 'node:fs';
import os from 'node:os';
import {join} from 'node:path';
import test, {type ExecutionContext} from 'ava';
import {type FileClient, hostFiles, podFiles} from '../../../layer/files/file-client.ts';
import {FileSystem} from '../../../layer/files/file-system.ts';
import {startAgent} from '../../helpers/agent.ts';
import {fields, fuse, fuseKernel} from '../../helpers/fuse-kernel.ts';
import {processTree, signal} from '../../helpers/processes.ts';
import {until} from '../../helpers/until.ts';

const {EIO} = os.constants.errno;

function directory(t: ExecutionContext): string {
  const path = mkdtempSync(join(os.tmpdir(), 'mirrord-died-'));
  t.teardown(() => rmSync(path, {recursive: true, force: true}));
  return path;
}

const serving = {
  pod: /launcher files pid/,
  host: /launcher files root/,
} as const;

for (const [source, pattern] of Object.entries(serving)) {
  test(`${source}: when who serves files has died, another one does; what was open fails at once`, async (t) => {
    const place = directory(t);
    writeFileSync(join(place, 'x'), 'content');
    let start = hostFiles;
    if (source === 'pod') {
      const {layer} = await startAgent(t, {context: {targetPid: process.pid}});
      start = () => podFiles(layer);
    }
    let told = 0;
    const system = new FileSystem(start(), {start, onReplaced: () => told++, now: () => 0});
    t.teardown(() => system[Symbol.dispose]());
    using kernel = fuseKernel(system);
    let node = 1;
    for (const name of join(place, 'x').slice(1).split('/')) {
      const found = await kernel.ask('lookup', Buffer.from(`${name}\0`), node);
      node = Number(found.body.readBigUInt64LE(0));
    }
    const open = async () => (await kernel.ask('open', fuse.open(2), node)).body.readBigUInt64LE(0);
    const read = async (handle: bigint) =>
      await kernel.ask('read', fuse.read(handle, 0n, 100), node);
    const before = await open();
    t.is((await read(before)).body.toString(), 'content');
    for (let round = 1; round <= 2; round++) {
      const {client} = system;
      signal(
        processTree(process.pid).find(({command}) => pattern.test(command)),
        'SIGKILL',
      );
      await until(() => client.isOver);
      t.is((await kernel.ask('getattr', fields(0, 0, 0n), node)).errno, 0, 'by its name');
      t.is((await kernel.ask('getattr', fields(1, 0, before), node)).errno, EIO);
      t.is((await read(before)).errno, EIO);
      const again = await open();
      t.is((await read(again)).body.toString(), 'content');
      t.is((await kernel.ask('write', fuse.write(again, 0n, Buffer.from('C')), node)).errno, 0);
      t.is((await kernel.ask('flush', fuse.end(again), node)).errno, 0);
      t.is(system.replaced, round);
      writeFileSync(join(place, 'x'), 'content');
    }
    t.is(told, 1);
  });
}

test('what dies at once is not started for ever', (t) => {
  let starts = 0;
  let now = 0;
  const dead = () => {
    starts++;
    return {isOver: true, [Symbol.dispose]: () => undefined} as unknown as FileClient;
  };
  const system = new FileSystem(dead(), {start: dead, onReplaced: () => undefined, now: () => now});
  for (let time = 0; time < 100; time++) t.true(system.client.isOver);
  t.is(starts, 9);
  now = 600_000;
  t.true(system.client.isOver);
  t.is(starts, 10);
});
