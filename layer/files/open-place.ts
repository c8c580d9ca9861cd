/**
 * Where a file is opened: by its name, or, where that is gone, by what is open of it (/proc/self/fd): the name may be another
 * file's by now.
 */

import {constants} from 'node:fs';
import os from 'node:os';
import {FileRequest, OPEN_BY_HANDLE} from '../../tunnel/files.ts';
import type {FilesContext} from './context.ts';
import {FileError} from './file-client.ts';
import {handleOf, type OpenHandle} from './nodes.ts';
import type {Access} from './policy.ts';
import type {Spot} from './sources.ts';
import type {FileNode} from './tree.ts';

const {ENOENT, EISDIR} = os.constants.errno;

/** What is asked of Linux, which all architectures that we run on number alike. */
export const accessMask = constants.O_RDONLY | constants.O_WRONLY | constants.O_RDWR;

export type OpenPlace = Spot | OpenHandle;

/** Where a node is opened for an access. Throws FileError. */
export function openPlace(
  context: Pick<FilesContext, 'tree' | 'sources' | 'handle'>,
  node: FileNode,
  access: Access,
): OpenPlace {
  const {tree, sources} = context;
  if (node.source === 'scaffold') throw new FileError(EISDIR);
  const path = tree.path(node);
  if (!node.isGone) {
    return access === 'write' ? sources.spot(path, access) : sources.at(path, node.source);
  }
  const open = handleOf(context, node, access);
  if (open === undefined) throw new FileError(ENOENT);
  return open;
}

/**
 * Opens, and asks for all of a file of at most `firstBytes` with it, if it is the pod's and only read. Where the pod's file is opened
 * to be written here (`mayMake`), makes ours: the kernel has found one, and so has not said whether it may be made.
 * Rejects with FileError.
 */
export async function openAt(
  place: OpenPlace,
  flags: number,
  {firstBytes, mayMake}: {readonly firstBytes: number; readonly mayMake: boolean},
): Promise<Uint8Array> {
  const {client, source} = place;
  const isReading = (flags & accessMask) === constants.O_RDONLY && source === 'pod';
  const content = isReading ? firstBytes : 0;
  if ('remote' in place) {
    const ask = new FileRequest('open').u32(flags | OPEN_BY_HANDLE).u32(place.remote);
    return await client.request(ask.u32(content));
  }
  const {path} = place;
  try {
    return await client.request(new FileRequest('open').u32(flags).string(path).u32(content));
  } catch (error) {
    if (!mayMake || !(error instanceof FileError) || error.errno !== ENOENT) throw error;
    return await client.request(new FileRequest('create').u32(flags).u32(0o644).string(path));
  }
}
