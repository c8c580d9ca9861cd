/**
 * Reads what the kernel says on /dev/fuse. Pure.
 *
 *     header   uint32 length, uint32 opcode, uint64 unique, uint64 node, uint32 uid, gid, pid, uint32 0
 *     body     by opcode; names end with a zero byte
 *
 * Numbers are the machine's: little-endian on all that we run on. The kernel is trusted with the machine, but
 * not with our process: whatever does not fit is `malformed`, which is answered by an errno.
 */

import {IN_HEADER_BYTES, O_APPEND, OPCODE, type Opcode, WRITE_CACHE} from './protocol.ts';

/** What comes with every request. */
export interface RequestHeader {
  /** The kernel counts them up: never more than a number holds. */
  readonly unique: number;
  readonly node: number;
  /** Who asks; 0: the kernel itself. */
  readonly thread: number;
}

/** What the kernel wants. Byte arrays are views of the input. */
export type RequestBody =
  | {
      readonly name: 'init';
      readonly major: number;
      readonly minor: number;
      readonly maxReadahead: number;
      readonly flags: number;
    }
  | {readonly name: 'lookup'; readonly child: Uint8Array}
  | {readonly name: 'unlink' | 'rmdir'; readonly child: Uint8Array}
  | {readonly name: 'removexattr'; readonly attribute: Uint8Array}
  | {readonly name: 'forget'; readonly count: number}
  | {readonly name: 'batchForget'; readonly nodes: readonly {node: number; count: number}[]}
  | {readonly name: 'getattr'; readonly handle: number | undefined}
  | {
      readonly name: 'setattr';
      readonly valid: number;
      readonly handle: number;
      readonly size: bigint;
      readonly times: Uint8Array;
      readonly mode: number;
      readonly uid: number;
      readonly gid: number;
    }
  | {readonly name: 'readlink' | 'statfs' | 'destroy'}
  | {readonly name: 'symlink'; readonly child: Uint8Array; readonly target: Uint8Array}
  | {readonly name: 'mknod'; readonly child: Uint8Array; readonly mode: number}
  | {readonly name: 'mkdir'; readonly child: Uint8Array; readonly mode: number}
  | {
      readonly name: 'rename';
      readonly child: Uint8Array;
      readonly newParent: number;
      readonly newChild: Uint8Array;
      readonly flags: number;
    }
  | {readonly name: 'link'; readonly oldNode: number; readonly child: Uint8Array}
  | {readonly name: 'open' | 'opendir'; readonly flags: number}
  | {
      /** The name of TMPFILE means nothing. */
      readonly name: 'create' | 'tmpfile';
      readonly flags: number;
      readonly mode: number;
      readonly child: Uint8Array;
    }
  | {
      readonly name: 'read' | 'readdir' | 'readdirplus';
      readonly handle: number;
      readonly offset: bigint;
      readonly size: number;
    }
  | {
      readonly name: 'write';
      readonly handle: number;
      readonly offset: bigint;
      /** At the end of the file (O_APPEND); what was mapped has its place even so. */
      readonly isAppend: boolean;
      /** Of pages that were mapped: the kernel itself waits for it. */
      readonly isMapped: boolean;
      readonly data: Uint8Array;
    }
  | {readonly name: 'release' | 'releasedir' | 'flush'; readonly handle: number}
  | {readonly name: 'fsync' | 'fsyncdir'; readonly handle: number; readonly dataOnly: boolean}
  | {
      readonly name: 'setxattr';
      readonly flags: number;
      readonly attribute: Uint8Array;
      readonly value: Uint8Array;
    }
  | {readonly name: 'getxattr'; readonly size: number; readonly attribute: Uint8Array}
  | {readonly name: 'listxattr'; readonly size: number}
  | {readonly name: 'access'; readonly mask: number}
  | {readonly name: 'interrupt'; readonly interrupted: number}
  | {
      readonly name: 'fallocate';
      readonly handle: number;
      readonly offset: bigint;
      readonly length: bigint;
      readonly mode: number;
    }
  | {
      readonly name: 'lseek';
      readonly handle: number;
      readonly offset: bigint;
      readonly whence: number;
    }
  | {readonly name: 'unknown'; readonly opcode: number}
  | {readonly name: 'malformed'; readonly opcode: number};

export type FuseRequest = RequestHeader & RequestBody;

type Mutable<T> = {-readonly [Key in keyof T]: T[Key]};

type Matching<Body, Name> = Body extends {readonly name: infer Own}
  ? [Extract<Name, Own>] extends [never]
    ? never
    : Body
  : never;
/** A request of a name, or of one that looks the same. */
export type RequestOf<Name extends RequestBody['name']> = RequestHeader &
  Matching<RequestBody, Name>;

/** Nodes of one BATCH_FORGET: as many as fit into a page and a half; the kernel's are smaller. */
const FORGETS_MAX = 65_536;

const names = new Map<number, Opcode>(
  Object.entries(OPCODE).map(([name, number]) => [number, name as Opcode]),
);

/** Too short for what it should be. */
class Short extends Error {}

/** Reads fields one after the other. */
class Fields {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #at = IN_HEADER_BYTES;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  skip(count: number): this {
    this.#take(count);
    return this;
  }

  u32(): number {
    return this.#view.getUint32(this.#take(4), true);
  }

  u64(): bigint {
    return this.#view.getBigUint64(this.#take(8), true);
  }

  /** Nodes and handles are numbers that we have given out. */
  id(): number {
    return numberAt(this.#view, this.#take(8));
  }

  bytes(count: number): Uint8Array {
    const at = this.#take(count);
    return this.#bytes.subarray(at, at + count);
  }

  /** A name, without the zero byte that ends it. */
  name(): Uint8Array {
    const end = this.#bytes.indexOf(0, this.#at);
    if (end < 0 || end === this.#at) throw new Short();
    return this.bytes(end - this.#at + 1).subarray(0, -1);
  }

  #take(count: number): number {
    const at = this.#at;
    if (at + count > this.#bytes.length) throw new Short();
    this.#at = at + count;
    return at;
  }
}

/** Reads one request; undefined when it has not even a header. */
export function parseRequest(bytes: Uint8Array): FuseRequest | undefined {
  if (bytes.length < IN_HEADER_BYTES) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const opcode = view.getUint32(4, true);
  const request: RequestBody & Partial<Mutable<RequestHeader>> =
    view.getUint32(0, true) === bytes.length
      ? parseKnown(opcode, bytes)
      : {name: 'malformed', opcode};
  // No spread, which would take longer than all else here.
  request.unique = numberAt(view, 8);
  request.node = numberAt(view, 16);
  request.thread = view.getUint32(32, true);
  return request as FuseRequest;
}

function parseKnown(opcode: number, bytes: Uint8Array): RequestBody {
  const name = names.get(opcode);
  if (name === undefined) return {name: 'unknown', opcode};
  try {
    return parseBody(name, new Fields(bytes));
  } catch (error) {
    if (!(error instanceof Short)) throw error;
    return {name: 'malformed', opcode};
  }
}

/** A uint64 that is no larger than a number holds exactly. */
function numberAt(view: DataView, at: number): number {
  return view.getUint32(at, true) + view.getUint32(at + 4, true) * 0x1_0000_0000;
}

function parseBody(name: Opcode, f: Fields): RequestBody {
  switch (name) {
    case 'init':
      return {name, major: f.u32(), minor: f.u32(), maxReadahead: f.u32(), flags: f.u32()};
    case 'lookup':
      return {name, child: f.name()};
    case 'unlink':
    case 'rmdir':
      return {name, child: f.name()};
    case 'removexattr':
      return {name, attribute: f.name()};
    case 'forget':
      return {name, count: f.id()};
    case 'batchForget':
      return {name, nodes: parseForgets(f)};
    case 'getattr': {
      const hasHandle = (f.u32() & 1) !== 0;
      const handle = f.skip(4).id();
      return {name, handle: hasHandle ? handle : undefined};
    }
    case 'setattr':
      return parseSetattr(f);
    case 'readlink':
    case 'statfs':
    case 'destroy':
      return {name};
    case 'symlink':
      return {name, child: f.name(), target: f.name()};
    case 'mknod': {
      const mode = f.u32();
      return {name, mode, child: f.skip(12).name()};
    }
    case 'mkdir': {
      const mode = f.u32();
      return {name, mode, child: f.skip(4).name()};
    }
    case 'rename':
      return {name, newParent: f.id(), child: f.name(), newChild: f.name(), flags: 0};
    case 'rename2': {
      const newParent = f.id();
      const flags = f.u32();
      return {name: 'rename', newParent, flags, child: f.skip(4).name(), newChild: f.name()};
    }
    case 'link':
      return {name, oldNode: f.id(), child: f.name()};
    case 'open':
    case 'opendir':
      return {name, flags: f.u32()};
    case 'create':
    case 'tmpfile': {
      const flags = f.u32();
      const mode = f.u32();
      return {name, flags, mode, child: f.skip(8).name()};
    }
    case 'read':
    case 'readdir':
    case 'readdirplus':
      return {name, handle: f.id(), offset: f.u64(), size: f.u32()};
    case 'write':
      return parseWrite(f);
    case 'release':
    case 'releasedir':
    case 'flush':
      return {name, handle: f.id()};
    case 'fsync':
    case 'fsyncdir':
      return {name, handle: f.id(), dataOnly: (f.u32() & 1) !== 0};
    case 'setxattr':
      return parseSetxattr(f);
    case 'getxattr': {
      const size = f.u32();
      return {name, size, attribute: f.skip(4).name()};
    }
    case 'listxattr':
      return {name, size: f.u32()};
    case 'access':
      return {name, mask: f.u32()};
    case 'interrupt':
      return {name, interrupted: f.id()};
    case 'fallocate':
      return {name, handle: f.id(), offset: f.u64(), length: f.u64(), mode: f.u32()};
    case 'lseek':
      return {name, handle: f.id(), offset: f.u64(), whence: f.u32()};
    default:
      return name satisfies never;
  }
}

function parseForgets(f: Fields): {node: number; count: number}[] {
  const count = f.u32();
  f.skip(4);
  if (count > FORGETS_MAX) throw new Short();
  return Array.from({length: count}, () => ({node: f.id(), count: f.id()}));
}

/** Times stay as they are: seconds of atime, mtime, ctime, then nanoseconds of the three. */
function parseSetattr(f: Fields): RequestBody {
  const valid = f.u32();
  const handle = f.skip(4).id();
  const size = f.u64();
  const times = f.skip(8).bytes(36);
  const mode = f.u32();
  const uid = f.skip(4).u32();
  return {name: 'setattr', valid, handle, size, times, mode, uid, gid: f.u32()};
}

function parseWrite(f: Fields): RequestBody {
  const handle = f.id();
  const offset = f.u64();
  const size = f.u32();
  const isMapped = (f.u32() & WRITE_CACHE) !== 0;
  const isAppend = (f.skip(8).u32() & O_APPEND) !== 0;
  return {
    name: 'write',
    handle,
    offset,
    isAppend: isAppend && !isMapped,
    isMapped,
    data: f.skip(4).bytes(size),
  };
}

function parseSetxattr(f: Fields): RequestBody {
  const size = f.u32();
  const flags = f.u32();
  return {name: 'setxattr', flags, attribute: f.name(), value: f.bytes(size)};
}
