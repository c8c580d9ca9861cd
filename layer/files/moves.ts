/**
 * What is being renamed, and who has to wait for it.
 *
 * A node is asked about by its path, and that changes when RENAME is answered: what goes out in between would be about a path that
 * is another's by then, or nobody's. The kernel holds the directories that a name leaves and comes to, but not what is in a
 * directory that is moved: who works there would see it gone. So whatever is asked about a node that is being moved or replaced, or
 * about one below, waits until that is over; and a RENAME waits for what is being asked about them, which may take several questions.
 */

import type {FuseRequest} from './fuse/request.ts';
import {type FileNode, type FileTree, isBelow} from './tree.ts';

interface Move {
  readonly nodes: readonly FileNode[];
  readonly over: Promise<void>;
}

/** A request that is not answered yet. */
export interface Asked {
  readonly request: FuseRequest;
  /** Doesn't reject. */
  readonly over: Promise<void>;
}

const latin1 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('latin1');

export class Moves {
  readonly #tree: FileTree;
  /** No more than requests that wait. */
  readonly #moves = new Set<Move>();

  constructor(tree: FileTree) {
    this.#tree = tree;
  }

  /** What a request has to wait for, of what was asked before it. */
  before(request: FuseRequest, asked: Iterable<Asked>): Promise<unknown> | undefined {
    const overs: Promise<void>[] = [];
    if (this.#moves.size > 0) {
      for (const {nodes, over} of this.#moves) if (this.#concerns(request, nodes)) overs.push(over);
    }
    const moved = this.#movedBy(request);
    if (moved.length > 0) {
      for (const one of asked) if (this.#concerns(one.request, moved)) overs.push(one.over);
    }
    return overs.length === 0 ? undefined : Promise.all(overs);
  }

  /** Notes that a request is being done; those after it wait for it if it is a RENAME. */
  began({request, over}: Asked): void {
    const nodes = this.#movedBy(request);
    if (nodes.length === 0) return;
    const move = {nodes, over};
    this.#moves.add(move);
    void over.then(() => this.#moves.delete(move));
  }

  /** What a RENAME moves and replaces. */
  #movedBy(request: FuseRequest): readonly FileNode[] {
    if (request.name !== 'rename') return [];
    const places = [
      [request.node, request.child],
      [request.newParent, request.newChild],
    ] as const;
    return places.flatMap(([id, name]) => {
      const parent = this.#tree.get(id);
      return (parent && this.#tree.child(parent, latin1(name))) ?? [];
    });
  }

  #concerns(request: FuseRequest, moved: readonly FileNode[]): boolean {
    return nodesOf(request).some((id) => {
      const node = this.#tree.get(id);
      return node !== undefined && moved.some((one) => isBelow(node, one));
    });
  }
}

/** The nodes that a request asks about by their paths. */
function nodesOf(request: FuseRequest): readonly number[] {
  switch (request.name) {
    case 'lookup':
    case 'getattr':
    case 'setattr':
    case 'readlink':
    case 'symlink':
    case 'mknod':
    case 'mkdir':
    case 'unlink':
    case 'rmdir':
    case 'statfs':
    case 'access':
    case 'getxattr':
    case 'listxattr':
    case 'setxattr':
    case 'removexattr':
    case 'open':
    case 'opendir':
    case 'create':
    case 'tmpfile':
      return [request.node];
    case 'rename':
      return [request.node, request.newParent];
    case 'link':
      return [request.node, request.oldNode];
    default:
      return []; // by handle
  }
}
