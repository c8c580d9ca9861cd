/**
 * What the kernel remembers of files we have to remember too, half a kilobyte each, and it forgets them when memory is short, which
 * that of a machine with much of it never is: who walks through millions of files would have us grow by gigabytes. So when there are many
 * it is asked to drop those that nobody has had for longest (FUSE_NOTIFY_PRUNE, from Linux 6.18 on; fs/fuse/dev.c). It drops what is not in
 * use, and tells us of each (FORGET).
 */

import type {FileNode, FileTree} from './tree.ts';

/** Some 100 MB. */
const NODES_MAX = 200_000;
/** It is asked again after so many new ones, for twice as many. */
const STEP = 2048;
/** Nodes that are looked at for it, at most. */
const LOOKS_MAX = 8 * STEP;

export class Pruning {
  /** Nodes that the kernel was asked to drop. */
  asked = 0;
  readonly #tree: FileTree;
  readonly #limit: number;
  #made = 0;
  #rest: Iterator<FileNode>;

  constructor(tree: FileTree, limit = NODES_MAX) {
    this.#tree = tree;
    this.#limit = limit;
    this.#rest = tree.nodes();
  }

  get isDue(): boolean {
    return this.#tree.size > this.#limit && this.#tree.made - this.#made >= STEP;
  }

  /** Nodes to be dropped: of those that nothing is below of, and nothing is open, the oldest that were not asked for yet. */
  next(): readonly number[] {
    const ids: number[] = [];
    for (let looks = 0; ids.length < 2 * STEP && looks < LOOKS_MAX; looks++) {
      const {value, done} = this.#rest.next();
      if (done === true) {
        this.#rest = this.#tree.nodes();
        break;
      }
      if (value.children === 0 && value.open.size === 0 && value !== this.#tree.root) {
        ids.push(value.id);
      }
    }
    this.#made = this.#tree.made;
    this.asked += ids.length;
    return ids;
  }
}
