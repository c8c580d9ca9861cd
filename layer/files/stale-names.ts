/**
 * What the kernel knows of a name may be old: the program or somebody in the pod has put another file there (rename(2)), or what is
 * on the way to it leads elsewhere by now (`..data` of a ConfigMap). Who opens the file that was there, or looks at it, has found it
 * before, and on a disk would have that one or the new one, never none. So he is told ESTALE, upon which the kernel looks at each name
 * on the way anew (fs/namei.c, LOOKUP_REVAL), and so finds what is there, or that nothing is.
 *
 * Of a directory he is told that it is gone: who is in it would hear of ESTALE himself. So is who writes on this machine
 * what is read in the pod: it was not found here. Who looks for a name in a directory that is gone is told ESTALE once: the next time he is
 * in it himself.
 */

import {constants} from 'node:fs';
import os from 'node:os';
import type {FilesContext} from './context.ts';
import type {FuseRequest} from './fuse/request.ts';
import {accessMask} from './open-place.ts';
import type {Access} from './policy.ts';
import type {FileNode} from './tree.ts';

const {ESTALE} = os.constants.errno;

/** For which access a request asks about a file that was found before; undefined: it asks about a name. */
function accessOf(request: FuseRequest): Access | undefined {
  switch (request.name) {
    case 'open':
      return (request.flags & (accessMask | constants.O_TRUNC)) === constants.O_RDONLY
        ? 'read'
        : 'write';
    case 'getattr':
    case 'readlink':
    case 'access':
    case 'statfs':
    case 'getxattr':
    case 'listxattr':
      return 'read';
    case 'setattr':
    case 'setxattr':
    case 'removexattr':
      return 'write';
    default:
      return undefined;
  }
}

export class StaleNames {
  readonly #context: Pick<FilesContext, 'tree' | 'sources' | 'changed' | 'now'>;
  /** When a node's name was last found to lead nowhere. */
  readonly #doubts = new WeakMap<FileNode, number>();

  constructor(context: Pick<FilesContext, 'tree' | 'sources' | 'changed' | 'now'>) {
    this.#context = context;
  }

  /** Whether a request that failed with ENOENT or ESTALE should be made again, of what is there by now. */
  isStale(request: FuseRequest, errno: number): boolean {
    const {tree, changed, now} = this.#context;
    const node = 'node' in request ? tree.get(request.node) : undefined;
    if (node === undefined) return false;
    const isDoubtful =
      request.name === 'lookup'
        ? errno === ESTALE && !this.#doubts.delete(node)
        : this.#isFileDoubtful(request, node);
    if (!isDoubtful) return false;
    this.#doubts.set(node, now());
    changed(node); // what is remembered of directories is as old
    return true;
  }

  #isFileDoubtful(request: FuseRequest, node: FileNode): boolean {
    const {tree, sources} = this.#context;
    const access = accessOf(request);
    if (access === undefined || node.ino === undefined) return false;
    if (access === 'write' && sources.decide(tree.path(node), access) !== node.source) return false;
    // It was looked at anew, and is there: what can't be opened for all that is not there for who opens it.
    return node.checkedAt <= (this.#doubts.get(node) ?? Number.POSITIVE_INFINITY);
  }
}
