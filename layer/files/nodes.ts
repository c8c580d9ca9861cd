/**
 * From a node that the kernel names to whoever is asked about it: by the path that it has now, or, where it has none any more,
 * by what is open of it.
 */

import os from 'node:os';
import {type FileRequest, SUBJECT} from '../../tunnel/files.ts';
import type {FilesContext} from './context.ts';
import {type FileClient, FileError} from './file-client.ts';
import type {Access} from './policy.ts';
import type {Spot} from './sources.ts';
import type {FileNode} from './tree.ts';

const {ENOENT, EXDEV, ENOTDIR} = os.constants.errno;

/** What is open at one of the file systems. */
export interface OpenHandle {
  readonly source: Spot['source'];
  readonly client: FileClient;
  readonly remote: number;
}

export class Nodes {
  readonly #context: Pick<FilesContext, 'tree' | 'sources' | 'handle'>;

  constructor(context: Pick<FilesContext, 'tree' | 'sources' | 'handle'>) {
    this.#context = context;
  }

  /** The node of a number. Throws FileError ENOENT: the kernel asks about what it has forgotten. */
  get(id: number): FileNode {
    const node = this.#context.tree.get(id);
    if (node === undefined) throw new FileError(ENOENT);
    return node;
  }

  /**
   * The node of a number in which names are looked for. Throws FileError ENOTDIR of what is none: so what has several names has
   * nothing below it, and nothing comes to be below itself.
   */
  directory(id: number): FileNode {
    const node = this.get(id);
    if (node.ino !== undefined) throw new FileError(ENOTDIR);
    return node;
  }

  /** Where a node is for an access. Throws FileError. */
  spot(node: FileNode, access: Access): Spot {
    const {tree, sources} = this.#context;
    if (node.source === 'scaffold') throw new FileError(access === 'read' ? ENOTDIR : EXDEV);
    if (node.isGone) throw new FileError(ENOENT);
    const path = tree.path(node);
    if (access === 'read') return sources.at(path, node.source);
    return sources.spot(path, 'write');
  }

  /** The handle that stands for a node: the one that the kernel names, or another, where its name is gone. */
  openHandle(node: FileNode, handle: number | undefined, access: Access): OpenHandle | undefined {
    if (handle !== undefined) return this.#context.handle(handle);
    return node.isGone ? handleOf(this.#context, node, access) : undefined;
  }

  /**
   * Likewise, but of a file that is open it is a handle in any case: the pod may have given its name to another one (a log that is
   * rotated), and who reads on (`tail -f`) wants to know how long the one is that it has.
   */
  ownHandle(node: FileNode, handle: number | undefined, access: Access): OpenHandle | undefined {
    const isOpen = handle === undefined && node.ino !== undefined;
    return isOpen ? handleOf(this.#context, node, access) : this.openHandle(node, handle, access);
  }

  /** Asks about a node by a handle, or by path, which comes last. */
  async ask(
    node: FileNode,
    request: FileRequest,
    access: Access,
    open: OpenHandle | undefined,
  ): Promise<Uint8Array> {
    if (open !== undefined) {
      return await open.client.request(request.u8(SUBJECT.handle).u32(open.remote));
    }
    const {client, path} = this.spot(node, access);
    return await client.request(request.u8(pathOf(node)).string(path));
  }

  /** Asks about what is at the path of a node, or open of it. */
  async askByPath(
    node: FileNode,
    access: Access,
    request: FileRequest,
    number: number,
    names: readonly Uint8Array[] = [],
    bytes?: Uint8Array,
  ): Promise<Uint8Array> {
    const open = this.ownHandle(node, undefined, access);
    if (open !== undefined) request.u8(SUBJECT.handle).u32(number).u32(open.remote);
    const spot = open ?? this.spot(node, access);
    if ('path' in spot) request.u8(pathOf(node)).u32(number).string(spot.path);
    for (const name of names) request.string(name);
    return await spot.client.request(request, bytes);
  }
}

/**
 * What is open of a node, for an access. What is read may be written elsewhere: that is written only by what is open
 * there.
 */
export function handleOf(
  {tree, sources, handle}: Pick<FilesContext, 'tree' | 'sources' | 'handle'>,
  node: FileNode,
  access: Access,
): OpenHandle | undefined {
  const source = access === 'read' ? node.source : sources.decide(tree.path(node), 'write');
  let any: OpenHandle | undefined;
  for (const number of node.open) {
    const open = handle(number);
    // Of who has died nothing is to be had; the name may do.
    if (open === undefined || open.client.isOver) continue;
    if (open.source === source) return open;
    any ??= open;
  }
  return access === 'read' && node.isGone ? any : undefined;
}

/** How a node's path is meant. */
function pathOf({isFollowed}: FileNode): number {
  return isFollowed ? SUBJECT.followed : SUBJECT.path;
}
