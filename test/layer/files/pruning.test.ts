import test from 'ava';
import {emitPruned} from '../../../layer/files/fuse/reply.ts';
import {Pruning} from '../../../layer/files/pruning.ts';
import {FileTree} from '../../../layer/files/tree.ts';

test('of many nodes the kernel is asked to drop the oldest that nothing is below of, and nothing is open', (t) => {
  const tree = new FileTree();
  const pruning = new Pruning(tree, 3000);
  const options = {source: 'pod'} as const;
  const directory = tree.intern(tree.root, 'directory', options);
  const inside = tree.intern(directory, 'file', options);
  const open = tree.intern(tree.root, 'open', options);
  tree.opened(open, 1);
  const enter = (index: number): number => tree.intern(tree.root, `${index}`, options).id;
  const others = Array.from({length: 2990}, (_, index) => enter(index));
  t.false(pruning.isDue, 'not yet more than it may have');
  others.push(...Array.from({length: 3000}, (_, index) => enter(2990 + index)));
  t.true(pruning.isDue);
  const first = pruning.next();
  t.deepEqual(first, [inside.id, ...others.slice(0, 4095)]);
  t.false(pruning.isDue, 'as long as there are few new ones');
  for (const id of first) tree.forget(id, 1);
  for (let index = 6000; index < 9000; index++) others.push(enter(index));
  // It goes on where it was; and the directory is free now, when it begins anew.
  t.true(pruning.isDue);
  t.deepEqual(pruning.next(), others.slice(4095, 8191));
  t.is(pruning.next().length, others.length - 8191);
  t.is(pruning.next()[0], directory.id);
  t.is(tree.size, 4 + others.length - 4095 - 1);
});

test('what is to be dropped is said as the kernel reads it', (t) => {
  const bytes = Buffer.from(emitPruned([2, 2 ** 40]));
  t.is(bytes.length, 32);
  t.is(bytes.readUInt32LE(0), 2);
  t.deepEqual([bytes.readBigUInt64LE(16), bytes.readBigUInt64LE(24)], [2n, 2n ** 40n]);
});
