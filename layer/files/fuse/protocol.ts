/**
 * The numbers of the FUSE protocol, version 7.31 ("Linux include/uapi/linux/fuse.h").
 */

/** What the kernel asks, by number. */
export const OPCODE = {
  lookup: 1,
  forget: 2,
  getattr: 3,
  setattr: 4,
  readlink: 5,
  symlink: 6,
  mknod: 8,
  mkdir: 9,
  unlink: 10,
  rmdir: 11,
  rename: 12,
  link: 13,
  open: 14,
  read: 15,
  write: 16,
  statfs: 17,
  release: 18,
  fsync: 20,
  setxattr: 21,
  getxattr: 22,
  listxattr: 23,
  removexattr: 24,
  flush: 25,
  init: 26,
  opendir: 27,
  readdir: 28,
  releasedir: 29,
  fsyncdir: 30,
  access: 34,
  create: 35,
  interrupt: 36,
  destroy: 38,
  batchForget: 42,
  fallocate: 43,
  readdirplus: 44,
  rename2: 45,
  lseek: 46,
  /** From Linux 6.2 on. */
  tmpfile: 51,
} as const;

export type Opcode = keyof typeof OPCODE;

export const VERSION = {major: 7, minor: 31} as const;
/** The oldest kernel that we can talk to: 5.4, whose protocol has a size for requests (max_pages). */
export const OLDEST_MINOR = 28;

/** From Linux 6.6 on, what is written past the cache makes void what that has of it, and what is not cached may be mapped. */
export const MINOR_OF_MAPPED_DIRECT_IO = 39;

/** From Linux 6.12 on, what is stored is followed by zeros up to the end of its last page, and not by what was in that memory. */
export const MINOR_OF_ZEROED_ENDS = 41;

/** From Linux 6.18 on, it can be asked to drop nodes. */
export const MINOR_OF_PRUNING = 45;

/** What both sides can, of INIT. */
export const INIT_FLAG = {
  asyncRead: 1 << 0,
  atomicTruncate: 1 << 3,
  bigWrites: 1 << 5,
  autoInvalidate: 1 << 12,
  readdirplus: 1 << 13,
  asyncDirectIo: 1 << 15,
  parallelDirectories: 1 << 18,
  maxPages: 1 << 22,
  cacheLinks: 1 << 23,
  killPrivileges2: 1 << 28,
  more: 1 << 30, // there are MORE_INIT_FLAGs
} as const;

/** More of it (Linux 5.17). */
export const MORE_INIT_FLAG = {mappedDirectIo: 1 << 4} as const;

/** How an opened file is cached, of OPEN. */
export const OPEN_FLAG = {
  directIo: 1 << 0,
  keepCache: 1 << 1,
  cacheDirectory: 1 << 3,
  /** Its closing is nothing to be asked about (Linux 5.18; older ones ask). */
  noFlush: 1 << 5,
} as const;

/** That a WRITE comes from the page cache, by whatever handle. */
export const WRITE_CACHE = 1 << 0;
/** A file's flag, as x86-64 and arm64 have it. */
export const O_APPEND = 0o2000;

/** FUSE_NOTIFY_INVAL_INODE: what the kernel has of a node is old. */
export const NOTIFY_INVALIDATE = 2;
/** FUSE_NOTIFY_STORE: what the kernel's cache is to have of a node. */
export const NOTIFY_STORE = 4;
/** FUSE_NOTIFY_PRUNE: which nodes the kernel is to drop. */
export const NOTIFY_PRUNE = 9;

/** What SETATTR changes. */
export const SETATTR = {
  mode: 1 << 0,
  uid: 1 << 1,
  gid: 1 << 2,
  size: 1 << 3,
  atime: 1 << 4,
  mtime: 1 << 5,
  handle: 1 << 6,
  atimeNow: 1 << 7,
  mtimeNow: 1 << 8,
} as const;

/** The number of the root's node. */
export const ROOT_NODE = 1;
export const IN_HEADER_BYTES = 40;
export const OUT_HEADER_BYTES = 16;
export const ATTRIBUTE_BYTES = 88;
export const ENTRY_BYTES = 128;
export const DIRENT_BYTES = 24;
/** Bytes of one read or write: as much as the kernel allows (256 pages). */
export const MAX_DATA_BYTES = 1_048_576;
/** The largest request: a write, with its header. */
export const MAX_REQUEST_BYTES = MAX_DATA_BYTES + 4096;
