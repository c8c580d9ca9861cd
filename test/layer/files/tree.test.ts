import test from 'ava';
import {FileTree, type Linked} from '../../../layer/files/tree.ts';

const linked = (ino: number, isShared = true, scope = 'pod'): Linked => ({
  ino: BigInt(ino),
  isShared,
  scope,
});

function plant(): {tree: FileTree; enter: (name: string, file?: Linked) => number} {
  const tree = new FileTree();
  const enter = (name: string, file?: Linked): number =>
    tree.intern(tree.root, name, {source: 'pod', ...(file && {linked: file})}).id;
  return {tree, enter};
}

test('a name is one node for as long as it is one file', (t) => {
  const {enter} = plant();
  const first = enter('a', linked(1, false));
  t.is(enter('a', linked(1, false)), first);
  t.not(enter('a', linked(2, false)), first, 'another file has taken the name');
  const directory = enter('d');
  t.is(enter('d'), directory);
});

test('names of one file are one node, whose path is the name that was seen last', (t) => {
  const {tree, enter} = plant();
  const node = enter('a', linked(1));
  t.is(enter('b', linked(1)), node);
  t.is(tree.path(tree.get(node) ?? tree.root), '/b');
  enter('a', linked(1));
  t.is(tree.path(tree.get(node) ?? tree.root), '/a');
  t.not(enter('c', linked(1, true, 'host')), node, 'what may be done to it is not the same');
  t.not(enter('d', linked(2)), node);
});

test('a file lives as long as one of its names', (t) => {
  const {tree, enter} = plant();
  const id = enter('a', linked(1));
  enter('b', linked(1));
  const node = tree.get(id) ?? tree.root;
  tree.remove(tree.root, 'b');
  t.false(node.isGone);
  t.is(tree.path(node), '/a');
  tree.rename({parent: tree.root, name: 'a'}, {parent: tree.root, name: 'z'}, false);
  t.is(tree.path(node), '/z');
  tree.remove(tree.root, 'z');
  t.true(node.isGone);
  t.not(enter('a', linked(1)), id, 'a number that is used again is another file');
});

test('a name that moves over another file takes it with it', (t) => {
  const {tree, enter} = plant();
  const [moved, other] = [enter('a', linked(1, false)), enter('b', linked(2))];
  enter('c', linked(2));
  tree.rename({parent: tree.root, name: 'a'}, {parent: tree.root, name: 'c'}, false);
  t.is(tree.path(tree.get(moved) ?? tree.root), '/c');
  t.false(tree.get(other)?.isGone, 'it has another name');
  t.is(tree.path(tree.get(other) ?? tree.root), '/b');
});

test('what the kernel forgets goes, with all of its names', (t) => {
  const {tree, enter} = plant();
  const directory = tree.intern(tree.root, 'd', {source: 'pod'});
  const id = enter('a', linked(1));
  tree.intern(directory, 'b', {source: 'pod', linked: linked(1)});
  tree.forget(directory.id, 1);
  t.is(tree.size, 3, 'a directory stays for what is in it');
  tree.forget(id, 2);
  t.is(tree.size, 1);
});

test('names that are remembered are limited', (t) => {
  const {tree, enter} = plant();
  const id = enter('0', linked(1));
  for (let index = 1; index < 1000; index++) enter(`${index}`, linked(1));
  t.true((tree.get(id)?.others.length ?? 0) <= 64);
  t.is(tree.path(tree.get(id) ?? tree.root), '/999');
  tree.forget(id, 1000);
  t.is(tree.size, 1);
});
