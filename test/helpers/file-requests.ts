/** Requests to a file system at the other end of a stream, in short. */

import {FileRequest} from '../../tunnel/files.ts';

const bytes = (text: string | Uint8Array): Uint8Array =>
  typeof text === 'string' ? Buffer.from(text) : text;

/** What is at a path; its links followed, where that is asked for. */
export function stat(path: string | Uint8Array, follows = false): FileRequest {
  return new FileRequest('stat').u8(follows ? 1 : 0).string(bytes(path));
}

export function open(path: string | Uint8Array, flags = 0): FileRequest {
  return new FileRequest('open').u32(flags).string(bytes(path));
}

export function create(path: string, flags: number, mode = 0o644): FileRequest {
  return new FileRequest('create').u32(flags).u32(mode).string(bytes(path));
}

export function read(handle: number, offset: number, length: number): FileRequest {
  return new FileRequest('read').u32(handle).u64(BigInt(offset)).u32(length);
}

export function write(handle: number, offset: number): FileRequest {
  return new FileRequest('write').u32(handle).u64(BigInt(offset));
}

export function close(handle: number): FileRequest {
  return new FileRequest('close').u32(handle);
}

/** An operation whose only field is a path. */
export function onPath(
  operation: 'readlink' | 'opendir' | 'unlink' | 'rmdir',
  path: string | Uint8Array,
): FileRequest {
  return new FileRequest(operation).string(bytes(path));
}

/** The first number of an answer: a handle, a count. */
export function first(fields: Uint8Array): number {
  return new DataView(fields.buffer, fields.byteOffset).getUint32(0, true);
}

/** The mode among attributes, and the size. */
export function attributes(fields: Uint8Array): {mode: number; size: number} {
  const view = new DataView(fields.buffer, fields.byteOffset);
  return {mode: view.getUint32(60, true), size: Number(view.getBigUint64(8, true))};
}
