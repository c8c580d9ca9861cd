/**
 * Files over a stream: what the layer asks of a file system elsewhere, and how that answers.
 *
 *     request   uint32 length of the rest, uint32 id, uint8 operation, fields
 *     answer    uint32 length of the rest, uint32 id, uint32 errno (0: done), fields
 *
 * Answers come in the order of the requests, but for those whose operation has LATER (0x80) added: they are done when nothing else has
 * to be, soon, and before any close that comes after them. Numbers are little-endian, and attributes are laid out as the
 * kernel's own `struct fuse_attr`, so that they can be passed on as they are; an errno is Linux' number, which
 * x86-64 and arm64 share. It is no MessagePack: the other end is C (layer/native/files.c), and half of what
 * is said is bytes anyway.
 *
 *     path, name, target   uint16 length, bytes; a path is one below the root
 *     which                uint8 0, path | uint8 1, path whose links are followed | uint8 2, uint32 handle
 *
 *     hello      -> uint32 version, uint32 uid, uint32 gid of whom the files are looked at as
 *     stat       which -> attributes
 *     readlink   path -> bytes
 *     open       uint32 flags, path, uint32 most -> uint32 handle, attributes, all of a file of at most so many bytes;
 *                `most` may be left out; of a link, with OPEN_NO_FOLLOW: ESTALE; with OPEN_BY_HANDLE, a uint32 handle
 *                stands for the path: what is open is opened once more
 *     create     uint32 flags, uint32 mode, path -> uint32 handle, attributes
 *     tmpfile    uint32 flags, uint32 mode, path of a directory -> uint32 handle, attributes; a file without a name
 *     read       uint32 handle, uint64 offset, uint32 length -> bytes; fewer only at the end
 *     write      uint32 handle, uint64 offset, bytes -> uint32 count
 *     append     uint32 handle, bytes -> uint32 count; at the end of the file, wherever that is then
 *     writeall, appendall
 *                as write and append, but they fail if not all could be written
 *     writemany  uint32 handle, any number of (uint64 offset, uint32 count, so many bytes); all are written that can be, and
 *                the first failure counts
 *     close      uint32 handle
 *     fsync      uint32 handle, uint8 data only
 *     opendir    path, uint32 length -> uint32 handle, uint8 whether all entries follow, the first entries; without
 *                a length only the handle
 *     readdir    uint32 handle, uint64 cookie (0: the start), uint32 length -> entries, none at the end
 *                entry: uint64 cookie of the next, attributes (of a mode only, if it can't be looked at), name
 *     mkdir      uint32 mode, path -> attributes
 *     unlink, rmdir   path
 *     rename     uint32 flags, path, path
 *     symlink    target, path -> attributes
 *     link       path, path -> attributes
 *     name       uint32 handle, path -> attributes; a name for what tmpfile has made
 *     setattr    uint32 valid (FATTR_*), uint32 mode, uid, gid, uint64 size, int64 s and uint32 ns of atime
 *                and of mtime, which -> attributes
 *     statfs, access, getxattr, listxattr, setxattr, removexattr
 *                uint8 (of which), uint32 number (mask, size, flags), the rest of which, name, bytes
 *     fallocate  uint32 handle, uint32 mode, uint64 offset, uint64 length
 *     lseek      uint32 handle, uint64 offset, uint32 whence -> uint64
 *     mknod      uint32 mode, path -> attributes
 */

import {ProtocolError} from './errors.ts';

/** The call whose stream, once it is accepted, carries requests and answers. */
export const FILES_METHOD = 'files';

/** The operations, by number. */
export const FILE_OPERATION = {
  hello: 1,
  stat: 2,
  readlink: 3,
  open: 4,
  create: 5,
  read: 6,
  write: 7,
  close: 8,
  fsync: 9,
  opendir: 10,
  readdir: 11,
  mkdir: 12,
  unlink: 13,
  rmdir: 14,
  rename: 15,
  symlink: 16,
  link: 17,
  setattr: 18,
  statfs: 19,
  access: 20,
  getxattr: 21,
  listxattr: 22,
  setxattr: 23,
  removexattr: 24,
  fallocate: 25,
  lseek: 26,
  mknod: 27,
  append: 28,
  writeall: 29,
  appendall: 30,
  tmpfile: 31,
  name: 32,
  writemany: 33,
} as const;

/** Added to an operation that may be done a little later than what comes after it. */
const LATER = 0x80;

export type FileOperation = keyof typeof FILE_OPERATION;

/** Of open's flags, besides Linux': not to follow a link at the end of the path. */
export const OPEN_NO_FOLLOW = 1 << 30;
/** Likewise: to open what is open, whatever has its name by now. */
export const OPEN_BY_HANDLE = 1 << 29;
/**
 * What a question is about: a path, or a path whose last link is followed, or a handle; or, of `stat`, a path whose directory is to be
 * there (ESTALE).
 */
export const SUBJECT = {path: 0, followed: 1, handle: 2, name: 3} as const;
/** The version that `hello` answers with. */
export const FILES_VERSION = 5;
/** Bytes of a file in one request or answer. */
export const FILE_DATA_BYTES = 1_048_576;
/** What comes besides: two paths, an attribute. */
const FIELD_BYTES = 16_384;
const REQUEST_HEAD_BYTES = 9;
const ANSWER_HEAD_BYTES = 12;
/** The size of attributes. */
export const ATTRIBUTE_BYTES = 88;

const none = [0, 0] as const;
const attributesOnly = [ATTRIBUTE_BYTES, ATTRIBUTE_BYTES] as const;
const anyData = [0, FILE_DATA_BYTES] as const;

/** How many bytes of fields an answer has, at least and at most. */
export const FILE_ANSWER_BYTES: Readonly<Record<FileOperation, readonly [number, number]>> = {
  hello: [12, 12],
  stat: attributesOnly,
  readlink: [0, 4096],
  open: [4 + ATTRIBUTE_BYTES, FILE_DATA_BYTES],
  create: [4 + ATTRIBUTE_BYTES, 4 + ATTRIBUTE_BYTES],
  tmpfile: [4 + ATTRIBUTE_BYTES, 4 + ATTRIBUTE_BYTES],
  read: anyData,
  write: [4, 4],
  append: [4, 4],
  writeall: [4, 4],
  appendall: [4, 4],
  writemany: none,
  close: none,
  fsync: none,
  opendir: [4, FILE_DATA_BYTES],
  readdir: anyData,
  mkdir: attributesOnly,
  unlink: none,
  rmdir: none,
  rename: none,
  symlink: attributesOnly,
  link: attributesOnly,
  name: attributesOnly,
  setattr: attributesOnly,
  statfs: [80, 80],
  access: none,
  getxattr: anyData,
  listxattr: anyData,
  setxattr: none,
  removexattr: none,
  fallocate: none,
  lseek: [8, 8],
  mknod: attributesOnly,
};

/** Memory that requests are written in. It is used again, for to make it costs more than to fill it. */
interface Room {
  readonly bytes: Uint8Array;
  readonly view: DataView;
}

const ROOM_BYTES = 256;
const FREE_ROOMS_MAX = 64;
const freeRooms: Room[] = [];

function roomOf(bytes: Uint8Array): Room {
  return {bytes, view: new DataView(bytes.buffer)};
}

/** A request being written. Fields are in the order of the calls. */
export class FileRequest {
  readonly operation: FileOperation;
  #room = freeRooms.pop() ?? roomOf(new Uint8Array(ROOM_BYTES));
  #length = REQUEST_HEAD_BYTES;
  readonly #flags: number;

  /** `isLater`: nobody waits for it yet. */
  constructor(operation: FileOperation, isLater = false) {
    this.operation = operation;
    this.#flags = isLater ? LATER : 0;
  }

  u8(value: number): this {
    const at = this.#grow(1); // which may replace the view
    this.#room.view.setUint8(at, value);
    return this;
  }

  u32(value: number): this {
    const at = this.#grow(4);
    this.#room.view.setUint32(at, value, true);
    return this;
  }

  u64(value: bigint): this {
    const at = this.#grow(8);
    this.#room.view.setBigUint64(at, BigInt.asUintN(64, value), true);
    return this;
  }

  /** A path, a name or a target, after its length. */
  string(value: Uint8Array): this {
    const at = this.#grow(2 + value.length);
    this.#room.view.setUint16(at, value.length, true);
    this.#room.bytes.set(value, at + 2);
    return this;
  }

  /** Bytes to the end of the request. */
  bytes(value: Uint8Array): this {
    const at = this.#grow(value.length);
    this.#room.bytes.set(value, at);
    return this;
  }

  /** Returns the whole request, before `dataBytes` bytes that follow it; valid until the next call. */
  finish(id: number, dataBytes = 0): Uint8Array {
    const {bytes, view} = this.#room;
    view.setUint32(0, this.#length - 4 + dataBytes, true);
    view.setUint32(4, id, true);
    view.setUint8(8, FILE_OPERATION[this.operation] | this.#flags);
    return bytes.subarray(0, this.#length);
  }

  /** Gives its memory to others: nothing is called afterwards. */
  release(): void {
    const isCommon = this.#room.bytes.length === ROOM_BYTES;
    if (isCommon && freeRooms.length < FREE_ROOMS_MAX) freeRooms.push(this.#room);
  }

  #grow(count: number): number {
    const at = this.#length;
    this.#length += count;
    const {bytes} = this.#room;
    if (this.#length > bytes.length) {
      const larger = new Uint8Array(Math.max(2 * bytes.length, this.#length));
      larger.set(bytes.subarray(0, at));
      this.#room = roomOf(larger);
    }
    return at;
  }
}

/** Cuts a stream of bytes into answers. */
export class FileAnswers {
  readonly #allocate: (length: number) => Uint8Array;
  readonly #head = new Uint8Array(ANSWER_HEAD_BYTES);
  readonly #view = new DataView(this.#head.buffer);
  #headBytes = 0;
  #fields: Uint8Array = new Uint8Array(0);
  #fieldBytes = 0;

  /** `allocate` gives memory for fields, which need not be zero. */
  constructor(allocate = (length: number): Uint8Array => new Uint8Array(length)) {
    this.#allocate = allocate;
  }

  /**
   * Calls `onAnswer` for each answer that `chunk` completes; the fields are the callee's to keep. Throws
   * ProtocolError CALL_MALFORMED.
   */
  push(chunk: Uint8Array, onAnswer: (id: number, errno: number, fields: Uint8Array) => void): void {
    let offset = 0;
    while (offset < chunk.length || this.#isWhole) {
      if (this.#headBytes < ANSWER_HEAD_BYTES) {
        offset += this.#fillHead(chunk.subarray(offset));
      } else {
        const count = Math.min(this.#fields.length - this.#fieldBytes, chunk.length - offset);
        this.#fields.set(chunk.subarray(offset, offset + count), this.#fieldBytes);
        this.#fieldBytes += count;
        offset += count;
      }
      if (!this.#isWhole) continue;
      const fields = this.#fields;
      this.#headBytes = 0;
      onAnswer(this.#view.getUint32(4, true), this.#view.getUint32(8, true), fields);
    }
  }

  get #isWhole(): boolean {
    return this.#headBytes === ANSWER_HEAD_BYTES && this.#fieldBytes === this.#fields.length;
  }

  #fillHead(chunk: Uint8Array): number {
    const count = Math.min(ANSWER_HEAD_BYTES - this.#headBytes, chunk.length);
    this.#head.set(chunk.subarray(0, count), this.#headBytes);
    this.#headBytes += count;
    if (this.#headBytes < ANSWER_HEAD_BYTES) return count;
    const length = this.#view.getUint32(0, true) - (ANSWER_HEAD_BYTES - 4);
    if (length < 0 || length > FILE_DATA_BYTES + FIELD_BYTES) {
      throw new ProtocolError('CALL_MALFORMED');
    }
    this.#fields = this.#allocate(length);
    this.#fieldBytes = 0;
    return count;
  }
}

/** An answer to `opendir` with a length. */
export interface OpenedDirectory {
  readonly handle: number;
  /** Whether the entries are all. */
  readonly isWhole: boolean;
  readonly entries: FileEntry[];
}

/** Reads an answer to `opendir` with a length. Throws ProtocolError CALL_MALFORMED. */
export function parseOpenedDirectory(fields: Uint8Array): OpenedDirectory {
  if (fields.length < 5) throw new ProtocolError('CALL_MALFORMED');
  const view = new DataView(fields.buffer, fields.byteOffset, fields.byteLength);
  return {
    handle: view.getUint32(0, true),
    isWhole: fields[4] === 1,
    entries: parseEntries(fields.subarray(5)),
  };
}

/** An entry of a directory. */
export interface FileEntry {
  /** Where reading goes on after it. */
  readonly cookie: bigint;
  /** A view of the answer. */
  readonly attributes: Uint8Array;
  /** A view of the answer. */
  readonly name: Uint8Array;
}

/** Reads the entries of an answer to `readdir`. Throws ProtocolError CALL_MALFORMED. */
export function parseEntries(fields: Uint8Array): FileEntry[] {
  const view = new DataView(fields.buffer, fields.byteOffset, fields.byteLength);
  const entries: FileEntry[] = [];
  for (let at = 0; at < fields.length; ) {
    const nameAt = at + 8 + ATTRIBUTE_BYTES + 2;
    if (nameAt > fields.length) throw new ProtocolError('CALL_MALFORMED');
    const end = nameAt + view.getUint16(nameAt - 2, true);
    // An empty name, one with a slash, or of dots would be an entry of another directory.
    const name = fields.subarray(nameAt, end);
    const isWhole = end <= fields.length && name.length > 0 && name.length <= 255;
    if (!isWhole || name.includes(0x2f) || name.includes(0) || isDots(name)) {
      throw new ProtocolError('CALL_MALFORMED');
    }
    entries.push({
      cookie: view.getBigUint64(at, true),
      attributes: fields.subarray(at + 8, at + 8 + ATTRIBUTE_BYTES),
      name,
    });
    at = end;
  }
  return entries;
}

function isDots(name: Uint8Array): boolean {
  return name[0] === 0x2e && (name.length === 1 || (name.length === 2 && name[1] === 0x2e));
}
