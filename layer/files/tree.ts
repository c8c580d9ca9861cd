/**
 * The nodes that the kernel knows: names below names, with numbers. Pure.
 *
 * A node is a place in the tree, not a file: its path follows from its parents, so that renaming a directory
 * renames what is in it. It lives for as long as the kernel remembers it (FORGET); how many there are is the
 * kernel's business, which forgets when memory is short.
 */

import {ROOT_NODE} from './fuse/protocol.ts';

/** Who serves a node: the pod, this machine, or nobody, for a directory that only holds others. */
export type Source = 'pod' | 'host' | 'scaffold';

export interface FileNode {
  readonly id: number;
  parent: FileNode | undefined;
  /** One character for each byte. */
  name: string;
  readonly source: Source;
  /** Whether it is a link that is shown as what it leads to. */
  readonly isFollowed: boolean;
  /** References that the kernel has. */
  lookups: number;
  /** Nodes whose parent it is. */
  children: number;
  /** Removed, but maybe still open. */
  isGone: boolean;
  /** What is open of it, newest last, by handle. */
  readonly open: Set<number>;
}

export class FileTree {
  readonly root: FileNode = {
    id: ROOT_NODE,
    parent: undefined,
    name: '',
    source: 'scaffold',
    isFollowed: false,
    lookups: 1,
    children: 0,
    isGone: false,
    open: new Set(),
  };
  readonly #byId = new Map<number, FileNode>([[ROOT_NODE, this.root]]);
  readonly #byName = new Map<string, FileNode>();
  #lastId = ROOT_NODE;

  get size(): number {
    return this.#byId.size;
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

  /** The node of a name, with one reference more; a new one if it is served otherwise than before. */
  intern(
    parent: FileNode,
    name: string,
    {source, isFollowed = false}: {readonly source: Source; readonly isFollowed?: boolean},
  ): FileNode {
    const key = keyOf(parent, name);
    const known = this.#byName.get(key);
    if (known !== undefined && known.source === source && known.isFollowed === isFollowed) {
      known.lookups++;
      return known;
    }
    const node: FileNode = {
      id: ++this.#lastId,
      parent,
      name,
      source,
      isFollowed,
      lookups: 1,
      children: 0,
      isGone: false,
      open: new Set(),
    };
    parent.children++;
    this.#byName.set(key, node);
    this.#byId.set(node.id, node);
    return node;
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
    const key = keyOf(parent, name);
    const node = this.#byName.get(key);
    if (node === undefined) return;
    node.isGone = true;
    this.#byName.delete(key);
  }

  /** Notes that a name has moved, over another one or in exchange for it. */
  rename(
    from: {parent: FileNode; name: string},
    to: {parent: FileNode; name: string},
    swaps: boolean,
  ): void {
    const moved = this.#byName.get(keyOf(from.parent, from.name));
    const other = this.#byName.get(keyOf(to.parent, to.name));
    if (!swaps) this.remove(to.parent, to.name);
    this.#byName.delete(keyOf(from.parent, from.name));
    this.#byName.delete(keyOf(to.parent, to.name));
    if (moved !== undefined) this.#place(moved, to);
    if (swaps && other !== undefined) this.#place(other, from);
  }

  #place(node: FileNode, {parent, name}: {parent: FileNode; name: string}): void {
    const before = node.parent;
    node.parent = parent;
    node.name = name;
    parent.children++;
    this.#byName.set(keyOf(parent, name), node);
    if (before === undefined) return;
    before.children--;
    this.#release(before);
  }

  /** Drops a node that nobody refers to, and its parents that were only kept for it. */
  #release(node: FileNode): void {
    for (let at: FileNode | undefined = node; at !== undefined && at !== this.root; ) {
      if (at.lookups > 0 || at.children > 0 || at.open.size > 0) return;
      this.#byId.delete(at.id);
      const parent: FileNode | undefined = at.parent;
      if (parent === undefined) return;
      const key = keyOf(parent, at.name);
      if (this.#byName.get(key) === at) this.#byName.delete(key);
      parent.children--;
      at = parent;
    }
  }

  /** To be called when a handle of a node is closed. */
  closed(node: FileNode, handle: number): void {
    node.open.delete(handle);
    this.#release(node);
  }
}

function keyOf(parent: FileNode, name: string): string {
  return `${parent.id}/${name}`;
}
