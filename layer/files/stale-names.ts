/**
 * What the kernel knows of a name may be old: the program or somebody in the pod has put another file there (rename(2)), or what is
 * on the way to it leads elsewhere by now (`..data` of a ConfigMap). Who opens the file that was there, or looks at it, has found it
 * before, and on a disk would have that one or the new one, never none. So he is told ESTALE, upon which the kernel looks at each name
 * on the way anew (fs/namei.c, LOOKUP_REVAL), and so finds what is there, or that nothing is.
 *
 * Of a directory he is told that it is gone: who is in it would hear of ESTALE himself. So is who writes on this machine
 * what is read in the pod: it was not found here.
 */

import {constants} from 'node:fs';
import type {FilesContext} from './context.ts';
import type {FuseRequest} from './fuse/request.ts';
import {accessMask} from './open-place.ts';
import type {Access} from './policy.ts';
import type {FileNode} from './tree.ts';

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

  /** Whether a request that failed since there is no such file should be made again, of what is there by now. */
  isStale(request: FuseRequest): boolean {
    const {tree, sources, changed, now} = this.#context;
    const access = accessOf(request);
    if (access === undefined || !('node' in request)) return false;
    const node = tree.get(request.node);
    if (node?.ino === undefined) return false;
    if (access === 'write' && sources.decide(tree.path(node), access) !== node.source) return false;
    // It was looked at anew, and is there: what can't be opened for all that is not there for who opens it.
    if (node.checkedAt > (this.#doubts.get(node) ?? Number.POSITIVE_INFINITY)) return false;
    this.#doubts.set(node, now());
    changed(node); // what is remembered of directories is as old
    return true;
  }
}
