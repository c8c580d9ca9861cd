/**
 * Writes what the kernel is answered on /dev/fuse. Pure.
 *
 *     header   uint32 length, int32 -errno, uint64 unique
 *
 * Every function returns bytes of its own.
 */

import {
  ATTRIBUTE_BYTES,
  DIRENT_BYTES,
  ENTRY_BYTES,
  INIT_FLAG,
  MAX_DATA_BYTES,
  MORE_INIT_FLAG,
  OUT_HEADER_BYTES,
  VERSION,
} from './protocol.ts';

/** How long the kernel may believe something, ms. */
export interface Lifetimes {
  /** That a name stands for its node. */
  readonly entryMs: number;
  readonly attributeMs: number;
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** Writes the header of a reply with `length` bytes of payload into `head`. */
export function writeHeader(head: Uint8Array, unique: number, errno: number, length: number): void {
  const view = viewOf(head);
  view.setUint32(0, OUT_HEADER_BYTES + length, true);
  view.setInt32(4, -errno, true);
  view.setUint32(8, unique, true);
  view.setUint32(12, unique / 0x1_0000_0000, true);
}

/** What of the kernel's offers is taken. */
const WANTED =
  INIT_FLAG.asyncRead |
  INIT_FLAG.atomicTruncate |
  INIT_FLAG.bigWrites |
  INIT_FLAG.autoInvalidate |
  // Always, not READDIRPLUS_AUTO: that stops at who has all names before it looks at a file (find(1), fts(3)).
  INIT_FLAG.readdirplus |
  INIT_FLAG.asyncDirectIo |
  INIT_FLAG.parallelDirectories |
  INIT_FLAG.maxPages |
  INIT_FLAG.cacheLinks |
  // The other end takes set-user-ID off; else the kernel asks for an attribute before every write.
  INIT_FLAG.killPrivileges2 |
  INIT_FLAG.more;

/** Requests that the kernel may have waiting for no thread of the program: read-ahead. */
const MAX_BACKGROUND = 64;

/** The answer to INIT (struct fuse_init_out). */
export function emitInit(offer: {
  readonly minor: number;
  readonly flags: number;
  readonly maxReadahead: number;
}): Uint8Array {
  const bytes = new Uint8Array(64);
  const view = viewOf(bytes);
  view.setUint32(0, VERSION.major, true);
  view.setUint32(4, Math.min(offer.minor, VERSION.minor), true);
  view.setUint32(8, Math.min(offer.maxReadahead, MAX_DATA_BYTES), true);
  view.setUint32(12, (offer.flags & WANTED) >>> 0, true);
  view.setUint16(16, MAX_BACKGROUND, true);
  view.setUint16(18, (MAX_BACKGROUND * 3) / 4, true);
  view.setUint32(20, MAX_DATA_BYTES, true);
  view.setUint32(24, 1, true); // times are in nanoseconds
  view.setUint16(28, MAX_DATA_BYTES / 4096, true);
  // What is not cached may be mapped even so (Linux 6.6; others don't know it).
  view.setUint32(32, MORE_INIT_FLAG.mappedDirectIo, true);
  return bytes;
}

function setLifetime(view: DataView, secondsAt: number, nanosecondsAt: number, ms: number): void {
  view.setBigUint64(secondsAt, BigInt(Math.floor(ms / 1000)), true);
  view.setUint32(nanosecondsAt, (ms % 1000) * 1_000_000, true);
}

/** Writes struct fuse_entry_out. A node of 0 says that there is no such name, or nothing about it. */
export function writeEntry(
  bytes: Uint8Array,
  offset: number,
  entry: {readonly node: number; readonly attributes?: Uint8Array; readonly lifetimes: Lifetimes},
): void {
  const view = viewOf(bytes);
  view.setBigUint64(offset, BigInt(entry.node), true);
  setLifetime(view, offset + 16, offset + 32, entry.lifetimes.entryMs);
  setLifetime(view, offset + 24, offset + 36, entry.lifetimes.attributeMs);
  if (entry.attributes !== undefined) bytes.set(entry.attributes, offset + 40);
}

/** The answer to LOOKUP and the like. */
export function emitEntry(entry: Parameters<typeof writeEntry>[2]): Uint8Array {
  const bytes = new Uint8Array(ENTRY_BYTES);
  writeEntry(bytes, 0, entry);
  return bytes;
}

/** The answer to GETATTR and SETATTR (struct fuse_attr_out). */
export function emitAttributes(attributes: Uint8Array, attributeMs: number): Uint8Array {
  const bytes = new Uint8Array(16 + ATTRIBUTE_BYTES);
  setLifetime(viewOf(bytes), 0, 8, attributeMs);
  bytes.set(attributes, 16);
  return bytes;
}

/** The answer to OPEN and OPENDIR (struct fuse_open_out). */
export function emitOpened(handle: number, flags: number): Uint8Array {
  const bytes = new Uint8Array(16);
  const view = viewOf(bytes);
  view.setBigUint64(0, BigInt(handle), true);
  view.setUint32(8, flags, true);
  return bytes;
}

/** A uint32 and padding: how much was written (fuse_write_out), how large an attribute is (fuse_getxattr_out). */
export function emitCount(count: number): Uint8Array {
  const bytes = new Uint8Array(8);
  viewOf(bytes).setUint32(0, count, true);
  return bytes;
}

/** The answer to LSEEK. */
export function emitOffset(offset: bigint): Uint8Array {
  const bytes = new Uint8Array(8);
  viewOf(bytes).setBigUint64(0, offset, true);
  return bytes;
}

/** Says that the attributes of a node are old (struct fuse_notify_inval_inode_out); its pages they tell. */
export function emitOutdated(node: number): Uint8Array {
  const bytes = new Uint8Array(24);
  const view = viewOf(bytes);
  view.setBigUint64(0, BigInt(node), true);
  view.setBigInt64(8, -1n, true); // only the attributes
  return bytes;
}

/** Says that so many bytes follow that a node begins with (struct fuse_notify_store_out). */
export function emitStored(node: number, length: number): Uint8Array {
  const bytes = new Uint8Array(24);
  const view = viewOf(bytes);
  view.setBigUint64(0, BigInt(node), true);
  view.setUint32(16, length, true);
  return bytes;
}

/** Says which nodes are to be dropped (struct fuse_notify_prune_out). */
export function emitPruned(nodes: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(16 + 8 * nodes.length);
  const view = viewOf(bytes);
  view.setUint32(0, nodes.length, true);
  for (const [index, node] of nodes.entries())
    view.setBigUint64(16 + 8 * index, BigInt(node), true);
  return bytes;
}

/** Entries of a directory, as many as fit. */
export class DirectoryReply {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  /** Whether entries come with attributes (READDIRPLUS). */
  readonly isPlus: boolean;
  #length = 0;

  constructor(size: number, isPlus: boolean) {
    this.#bytes = new Uint8Array(Math.min(size, MAX_DATA_BYTES));
    this.#view = viewOf(this.#bytes);
    this.isPlus = isPlus;
  }

  /** Whether an entry with a name of so many bytes fits. */
  fits(nameBytes: number): boolean {
    const head = this.isPlus ? ENTRY_BYTES : 0;
    return this.#length + head + padded(DIRENT_BYTES + nameBytes) <= this.#bytes.length;
  }

  /** Adds an entry that fits. `cookie`: where reading goes on after it. */
  add(
    name: Uint8Array,
    entry: Parameters<typeof writeEntry>[2] & {
      readonly cookie: bigint;
      readonly ino: bigint;
      readonly mode: number;
    },
  ): void {
    if (this.isPlus) {
      writeEntry(this.#bytes, this.#length, entry);
      this.#length += ENTRY_BYTES;
    }
    this.#view.setBigUint64(this.#length, entry.ino, true);
    this.#view.setBigUint64(this.#length + 8, entry.cookie, true);
    this.#view.setUint32(this.#length + 16, name.length, true);
    this.#view.setUint32(this.#length + 20, entry.mode >>> 12, true);
    this.#bytes.set(name, this.#length + DIRENT_BYTES);
    this.#length += padded(DIRENT_BYTES + name.length);
  }

  get bytes(): Uint8Array {
    return this.#bytes.subarray(0, this.#length);
  }
}

function padded(length: number): number {
  return (length + 7) & ~7;
}
