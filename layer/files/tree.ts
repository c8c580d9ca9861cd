/**
 * The nodes that the kernel knows: names below names, with numbers. Pure.
 *
 * A node is a place in the tree, not a file: its path follows from its parents, so that renaming a directory
 * renames what is in it. It lives for as long as the kernel remembers it (FORGET); how many there are is the
 * kernel's business, which forgets when memory is short.
 *
 * A name that has become another file's is another node: what is open under the old one is not what is found now. Of a
 * directory that doesn't count, since things may be mounted in it.
 *
 * A file with several names (link(2)) is one node, for the kernel keeps sizes, links and pages by node: what is
 * written by one name would else be seen late by another. Its path is that of the name that was looked at last.
 */

import {ROOT_NODE} from './fuse/protocol.ts';

/** Who serves a node: the pod, this machine, or nobody, for a directory that only holds others. */
export type Source = 'pod' | 'host' | 'scaffold';

/** A name in a directory. */
export interface Place {
  readonly parent: FileNode;
  /** One character for each byte. */
  readonly name: string;
}

/** What a file is told by from another one that takes its name, and found by under its other names. */
export interface Linked {
  readonly ino: bigint;
  /** Whether it has. */
  readonly isShared: boolean;
  /** Names that differ in it are kept apart: what may be done to them is not the same. */
  readonly scope: string;
}

/** What was known of a file when it was opened. */
export interface Opened {
  readonly attributes: Uint8Array;
  /** When that was asked for, ms. */
  readonly askedAt: number;
  /** What the program had changed by then (Snapshots.changes). */
  readonly changes: number;
}

export interface FileNode {
  readonly id: number;
  parent: FileNode | undefined;
  /** One character for each byte. */
  name: string;
  /** Its other names. */
  others: readonly Place[];
  /** Which file it is; undefined of a directory. */
  ino: bigint | undefined;
  /** What it is known by to have other names. */
  linked: Linked | undefined;
  readonly source: Source;
  /** Whether it is a link that is shown as what it leads to. */
  readonly isFollowed: boolean;
  /** References that the kernel has. */
  lookups: number;
  /** Nodes whose parent it is. */
  children: number;
  /** What the kernel was told last (versionOf), and when that was so, ms. */
  version: string;
  checkedAt: number;
  /** What its opening told of it, until the kernel asks, or it is closed. */
  opened: Opened | undefined;
  /** When the program has last changed it, or what is in it (Snapshots.changes). */
  changed: number;
  /** Removed, but maybe still open. */
  isGone: boolean;
  /** What is open of it, newest last, by handle; for the tree to change. */
  open: Set<number>;
}

/** What most nodes have: an empty list and an empty set for each would take a third of all memory that there is for them. */
const noOthers: readonly Place[] = [];
const nothingOpen = new Set<number>();

/** Names of a file that are remembered; the kernel asks again about others. */
const nameLimit = 64;

export class FileTree {
  readonly root: FileNode = {
    id: ROOT_NODE,
    parent: undefined,
    name: '',
    others: noOthers,
    ino: undefined,
    linked: undefined,
    source: 'scaffold',
    isFollowed: false,
    lookups: 1,
    children: 0,
    version: '',
    checkedAt: Number.NEGATIVE_INFINITY,
    opened: undefined,
    changed: 0,
    isGone: false,
    open: nothingOpen,
  };
  readonly #byId = new Map<number, FileNode>([[ROOT_NODE, this.root]]);
  readonly #byName = new Map<string, FileNode>();
  readonly #byFile = new Map<string, FileNode>();
  #lastId = ROOT_NODE;

  get size(): number {
    return this.#byId.size;
  }

  /** How many there have ever been. */
  get made(): number {
    return this.#lastId;
  }

  /** All, the oldest first, and those that come to be meanwhile. */
  nodes(): IterableIterator<FileNode> {
    return this.#byId.values();
  }

  get(id: number): FileNode | undefined {
    return this.#byId.get(id);
  }

  /** The path of a node, one character for each byte. */
  path(node: FileNode): string {
    const names: string[] = [];
    for (let at: FileNode = node; at.parent !== undefined; at = at.parent) names.push(at.name);
    return `/${names.reverse().join('/')}`;
  }

  /** The path of a name in a directory. */
  childPath(parent: FileNode, name: string): string {
    const path = this.path(parent);
    return path === '/' ? `/${name}` : `${path}/${name}`;
  }

  /** The node of a name, if the kernel knows it. */
  child(parent: FileNode, name: string): FileNode | undefined {
    return this.#byName.get(keyOf({parent, name}));
  }

  /** The node of a name, with one reference more; a new one if it is served otherwise than before. */
  intern(
    parent: FileNode,
    name: string,
    {
      source,
      isFollowed = false,
      linked,
    }: {readonly source: Source; readonly isFollowed?: boolean; readonly linked?: Linked},
  ): FileNode {
    const place = {parent, name};
    const known = this.#byName.get(keyOf(place));
    if (known !== undefined && known.source === source && known.isFollowed === isFollowed) {
      if (known.ino === linked?.ino) {
        this.#share(known, linked);
        return this.#refer(known, place);
      }
      // The name is another file's by now: the one that may still be open must not be taken for it.
      this.remove(parent, name);
    }
    const shared =
      linked?.isShared === true ? this.#byFile.get(fileKey(source, linked)) : undefined;
    if (shared !== undefined && !isBelow(parent, shared)) return this.#refer(shared, place);
    const node = this.#make(place, source, {ino: linked?.ino, isFollowed});
    this.#byName.set(keyOf(place), node);
    this.#share(node, linked);
    return node;
  }

  /** The node of a file that has just been given another name, by that; undefined where it needs one of its own. */
  alias(node: FileNode, place: Place, linked: Linked): FileNode | undefined {
    this.#share(node, linked);
    const isOther = node.linked === undefined || node.linked.scope !== linked.scope;
    return isOther || isBelow(place.parent, node) ? undefined : this.#refer(node, place);
  }

  /** Notes what a file is told from others by after the program has changed it: of a link, its time is part of that (identityOf). */
  identify(node: FileNode, ino: bigint): void {
    const {linked} = node;
    const isOther = node.ino === undefined || BigInt.asUintN(64, node.ino ^ ino) !== 0n;
    if (isOther || node.ino === ino) return;
    node.ino = ino;
    this.#unshare(node);
    if (linked !== undefined) this.#share(node, {...linked, ino});
  }

  /** The node of a file that has no name (O_TMPFILE), with one reference. It is as if its name were gone. */
  nameless(parent: FileNode, source: Source, ino: bigint): FileNode {
    const node = this.#make({parent, name: ''}, source, {ino});
    node.isGone = true;
    return node;
  }

  /** Gives such a node a name, and counts a reference. */
  christen(node: FileNode, place: Place): void {
    const {parent} = node;
    this.remove(place.parent, place.name);
    node.parent = place.parent;
    node.name = place.name;
    node.isGone = false;
    node.lookups++;
    place.parent.children++;
    this.#byName.set(keyOf(place), node);
    if (parent !== undefined) this.#leave(parent);
  }

  /** Takes references back. */
  forget(id: number, count: number): void {
    const node = this.#byId.get(id);
    if (node === undefined || node === this.root) return;
    node.lookups -= count;
    this.#release(node);
  }

  /** Notes that a name is gone. */
  remove(parent: FileNode, name: string): void {
    const node = this.#byName.get(keyOf({parent, name}));
    if (node === undefined) return;
    if (node.others.length > 0) {
      this.#take(node, {parent, name});
      return;
    }
    node.isGone = true;
    this.#byName.delete(keyOf({parent, name}));
    this.#unshare(node);
  }

  /** Notes that a name has moved, over another one or in exchange for it. */
  rename(from: Place, to: Place, swaps: boolean): void {
    const moved = this.#byName.get(keyOf(from));
    const other = this.#byName.get(keyOf(to));
    if (!swaps) this.remove(to.parent, to.name);
    this.#byName.delete(keyOf(from));
    this.#byName.delete(keyOf(to));
    if (moved !== undefined) this.#move(moved, from, to);
    if (swaps && other !== undefined) this.#move(other, to, from);
  }

  /** To be called when something of a node is opened. */
  opened(node: FileNode, handle: number): void {
    if (node.open === nothingOpen) node.open = new Set();
    node.open.add(handle);
  }

  /** To be called when a handle of a node is closed. */
  closed(node: FileNode, handle: number): void {
    if (node.open !== nothingOpen) node.open.delete(handle);
    if (node.open.size === 0) node.open = nothingOpen;
    this.#release(node);
  }

  #make(
    {parent, name}: Place,
    source: Source,
    {ino, isFollowed = false}: {readonly ino: bigint | undefined; readonly isFollowed?: boolean},
  ): FileNode {
    const node: FileNode = {
      id: ++this.#lastId,
      parent,
      name,
      others: noOthers,
      ino,
      linked: undefined,
      source,
      isFollowed,
      lookups: 1,
      children: 0,
      version: '',
      checkedAt: Number.NEGATIVE_INFINITY,
      opened: undefined,
      changed: 0,
      isGone: false,
      open: nothingOpen,
    };
    parent.children++;
    this.#byId.set(node.id, node);
    return node;
  }

  /** Counts a reference by a name, which the node is called by from now on. */
  #refer(node: FileNode, place: Place): FileNode {
    node.lookups++;
    if (node.parent === place.parent && node.name === place.name) return node;
    const index = node.others.findIndex((one) => isSame(one, place));
    if (index >= 0) node.others = node.others.toSpliced(index, 1);
    else {
      place.parent.children++;
      this.#byName.set(keyOf(place), node);
    }
    if (node.parent !== undefined) {
      node.others = [...node.others, {parent: node.parent, name: node.name}];
    }
    node.parent = place.parent;
    node.name = place.name;
    node.isGone = false;
    const [oldest] = node.others;
    if (oldest !== undefined && node.others.length >= nameLimit) this.#take(node, oldest);
    return node;
  }

  /** Takes one of several names from a node. */
  #take(node: FileNode, place: Place): void {
    const index = node.others.findIndex((one) => isSame(one, place));
    if (index >= 0) node.others = node.others.toSpliced(index, 1);
    else {
      const next = node.others.at(-1);
      if (next === undefined) return;
      node.others = node.others.slice(0, -1);
      node.parent = next.parent;
      node.name = next.name;
    }
    if (this.#byName.get(keyOf(place)) === node) this.#byName.delete(keyOf(place));
    this.#leave(place.parent);
  }

  #move(node: FileNode, from: Place, to: Place): void {
    if (isBelow(to.parent, node)) {
      node.isGone = true;
      return;
    }
    const index = node.others.findIndex((one) => isSame(one, from));
    if (index >= 0) node.others = node.others.with(index, to);
    else {
      node.parent = to.parent;
      node.name = to.name;
    }
    to.parent.children++;
    this.#byName.set(keyOf(to), node);
    this.#leave(from.parent);
  }

  /** Notes that a node may be met by another name. */
  #share(node: FileNode, linked: Linked | undefined): void {
    if (node.linked !== undefined || linked?.isShared !== true) return;
    const key = fileKey(node.source, linked);
    if (this.#byFile.has(key)) return;
    node.linked = linked;
    this.#byFile.set(key, node);
  }

  #unshare(node: FileNode): void {
    if (node.linked === undefined) return;
    this.#byFile.delete(fileKey(node.source, node.linked));
    node.linked = undefined;
  }

  /** Notes that a directory has a child less. */
  #leave(parent: FileNode): void {
    parent.children--;
    this.#release(parent);
  }

  /** Drops a node that nobody refers to, and its parents that were only kept for it. */
  #release(node: FileNode): void {
    if (node === this.root || node.lookups > 0 || node.children > 0 || node.open.size > 0) return;
    if (!this.#byId.delete(node.id)) return;
    this.#unshare(node);
    const places = [...node.others];
    if (node.parent !== undefined) places.push({parent: node.parent, name: node.name});
    for (const place of places) {
      if (this.#byName.get(keyOf(place)) === node) this.#byName.delete(keyOf(place));
    }
    for (const {parent} of places) this.#leave(parent);
  }
}

function keyOf({parent, name}: Place): string {
  return `${parent.id}/${name}`;
}

function fileKey(source: Source, {ino, scope}: Linked): string {
  return `${source} ${scope} ${ino}`;
}

function isSame(one: Place, other: Place): boolean {
  return one.parent === other.parent && one.name === other.name;
}

/**
 * Whether one node is the other or below it. No file system moves a directory into itself; an agent that says so all
 * the same would have us look for its path for ever.
 */
export function isBelow(node: FileNode, other: FileNode): boolean {
  for (let at: FileNode | undefined = node; at !== undefined; at = at.parent) {
    if (at === other) return true;
  }
  return false;
}
