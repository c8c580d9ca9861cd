/**
 * What the program has open: files and directories, each with its handle at whoever serves it.
 *
 * A file that is read from the pod but written here is one or the other by how it was opened; what is written here
 * bypasses the kernel's cache, which has the pod's.
 */

import {constants} from 'node:fs';
import os from 'node:os';
import {type FileEntry, FileRequest, parseEntries} from '../../tunnel/files.ts';
import {inoOf, isKnown, kindOf, modeOf, present, S_IFDIR, S_IFLNK, sizeOf} from './attributes.ts';
import {type Entries, type EntryContext, lifetimes} from './entries.ts';
import {FileError} from './file-client.ts';
import {OPEN_FLAG} from './fuse/protocol.ts';
import {DirectoryReply, emitCount, emitEntry, emitOffset, emitOpened} from './fuse/reply.ts';
import type {RequestOf} from './fuse/request.ts';
import {ReadAhead} from './read-ahead.ts';
import type {Spot} from './sources.ts';
import type {FileNode} from './tree.ts';

const {EBADF, ENOENT, EISDIR, ENOTDIR, EMFILE} = os.constants.errno;

/** Open files; the other side has a limit too. */
const handleLimit = 8192;
/** Entries of a directory that are asked for at once. */
const directoryBytes = 262_144;
/**
 * Where reading a directory goes on after what is no entry of its own. No file system counts that far, but for the
 * end: ext4 and others have 0x7fff_ffff_ffff_ffff after their last entry.
 */
const afterDot = 0x7fff_ffff_ffff_fff0n;
const afterDotDot = 0x7fff_ffff_ffff_fff1n;
const extraBase = 0x7fff_ffff_fff0_0000n;

/** What is asked of Linux, which all architectures that we run on number alike. */
const accessMask = constants.O_RDONLY | constants.O_WRONLY | constants.O_RDWR;

interface OpenFile {
  readonly kind: 'file';
  readonly node: FileNode;
  readonly source: Spot['source'];
  readonly remote: number;
  readonly ahead: ReadAhead;
}

interface OpenDirectory {
  readonly kind: 'directory';
  readonly node: FileNode;
  readonly path: string;
  /** Who lists it; nobody, if it only holds others. */
  readonly listed: {readonly source: Spot['source']; readonly remote: number} | undefined;
  /** What it holds besides. */
  readonly extras: readonly string[];
  /** What was read ahead: the entries after `from`. */
  batch: {readonly from: bigint; readonly entries: readonly FileEntry[]} | undefined;
}

const latin1 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('latin1');

export interface OpenFilesOptions {
  readonly context: Pick<EntryContext, 'tree' | 'sources' | 'scaffold'>;
  /** Bytes that are read at first (`feature.fs.readonly_file_buffer`). */
  readonly firstBytes: number;
  readonly now: () => number;
}

export class OpenFiles {
  readonly #options: OpenFilesOptions;
  readonly #context: OpenFilesOptions['context'];
  readonly #open = new Map<number, OpenFile | OpenDirectory>();
  #last = 0;

  constructor(options: OpenFilesOptions) {
    this.#options = options;
    this.#context = options.context;
  }

  get count(): number {
    return this.#open.size;
  }

  /** The handle there, of one here. */
  handle(number: number): {readonly source: Spot['source']; readonly remote: number} | undefined {
    const open = this.#open.get(number);
    return open?.kind === 'directory' ? open.listed : open;
  }

  /** Forgets what was read ahead of a file, by whatever handle: its content is about to change. */
  changing(node: FileNode): void {
    for (const handle of node.open) {
      const open = this.#open.get(handle);
      if (open?.kind === 'file') open.ahead.clear();
    }
  }

  async open(request: RequestOf<'open'>, node: FileNode): Promise<Uint8Array> {
    const {sources, tree} = this.#context;
    const {flags} = request;
    if (node.source === 'scaffold') throw new FileError(EISDIR);
    const isWriting =
      (flags & accessMask) !== constants.O_RDONLY || (flags & constants.O_TRUNC) !== 0;
    const path = tree.path(node);
    const spot = isWriting ? sources.spot(path, 'write') : sources.at(path, node.source);
    if ((flags & constants.O_TRUNC) !== 0) this.changing(node);
    const fields = await this.#openAt(spot, flags, isWriting && spot.source !== node.source);
    const attributes = fields.subarray(4);
    if (spot.source === 'host' && isWriting) sources.made(path);
    const handle = this.#keepFile(node, spot.source, fields);
    // Files that are made while they are read (proc(5)) say that they are empty. Who writes may map it later.
    const isDirect = spot.source !== node.source || (!isWriting && sizeOf(attributes) === 0n);
    return emitOpened(handle, isDirect ? OPEN_FLAG.directIo : OPEN_FLAG.keepCache);
  }

  /**
   * Opens; where the pod's file is opened to be written here, makes ours: the kernel has found one, and so has
   * not said whether it may be made.
   */
  async #openAt({client, path}: Spot, flags: number, mayMake: boolean): Promise<Uint8Array> {
    try {
      return await client.request(new FileRequest('open').u32(flags).string(path));
    } catch (error) {
      if (!mayMake || !(error instanceof FileError) || error.errno !== ENOENT) throw error;
      return await client.request(new FileRequest('create').u32(flags).u32(0o644).string(path));
    }
  }

  async create(request: RequestOf<'create'>, parent: FileNode): Promise<Uint8Array> {
    const {sources, tree} = this.#context;
    const name = latin1(request.child);
    const path = tree.childPath(parent, name);
    const spot = sources.spot(path, 'write');
    const ask = new FileRequest('create').u32(request.flags).u32(request.mode & 0o7777);
    const fields = await spot.client.request(ask.string(spot.path));
    if (spot.source === 'host') sources.made(path);
    const attributes = present(fields.slice(4));
    const linked = sources.linked(path, attributes);
    const node = tree.intern(parent, name, {source: spot.source, ...(linked && {linked})});
    const handle = this.#keepFile(node, spot.source, fields);
    const entry = emitEntry({node: node.id, attributes, lifetimes: lifetimes[spot.source]});
    return Buffer.concat([entry, emitOpened(handle, OPEN_FLAG.keepCache)]);
  }

  async read(request: RequestOf<'read'>): Promise<Uint8Array[]> {
    return await this.#file(request.handle).ahead.read(Number(request.offset), request.size);
  }

  async write(request: RequestOf<'write'>): Promise<Uint8Array> {
    const file = this.#file(request.handle);
    const ask = request.isAppend
      ? new FileRequest('append').u32(file.remote)
      : new FileRequest('write').u32(file.remote).u64(request.offset);
    this.changing(file.node);
    const fields = await this.#client(file).request(ask, request.data);
    return emitCount(new DataView(fields.buffer, fields.byteOffset).getUint32(0, true));
  }

  async release(request: RequestOf<'release'>): Promise<Uint8Array> {
    const open = this.#open.get(request.handle);
    this.#open.delete(request.handle);
    if (open === undefined) throw new FileError(EBADF);
    this.#context.tree.closed(open.node, request.handle);
    const there = open.kind === 'file' ? open : open.listed;
    if (there !== undefined) {
      await this.#client(there).request(new FileRequest('close').u32(there.remote));
    }
    return new Uint8Array(0);
  }

  async fsync(request: RequestOf<'fsync'>): Promise<Uint8Array> {
    const file = this.#file(request.handle);
    const ask = new FileRequest('fsync').u32(file.remote).u8(request.dataOnly ? 1 : 0);
    return await this.#client(file).request(ask);
  }

  async fallocate(request: RequestOf<'fallocate'>): Promise<Uint8Array> {
    const file = this.#file(request.handle);
    const ask = new FileRequest('fallocate').u32(file.remote).u32(request.mode);
    this.changing(file.node);
    return await this.#client(file).request(ask.u64(request.offset).u64(request.length));
  }

  async lseek(request: RequestOf<'lseek'>): Promise<Uint8Array> {
    const file = this.#file(request.handle);
    const ask = new FileRequest('lseek').u32(file.remote).u64(request.offset).u32(request.whence);
    const fields = await this.#client(file).request(ask);
    return emitOffset(new DataView(fields.buffer, fields.byteOffset).getBigUint64(0, true));
  }

  async opendir(node: FileNode, entries: Entries): Promise<Uint8Array> {
    const {tree, sources, scaffold} = this.#context;
    const path = tree.path(node);
    const held = scaffold.get(path) ?? new Set<string>();
    const extras: string[] = [];
    let listed: OpenDirectory['listed'];
    if (node.source !== 'scaffold') {
      const spot = sources.at(path, node.source);
      const fields = await spot.client.request(new FileRequest('opendir').string(spot.path));
      listed = {source: spot.source, remote: numberAt(fields)};
    }
    for (const name of held) {
      const {source} = await entries.find(tree.childPath(node, name));
      if (source !== listed?.source) extras.push(name);
    }
    const handle = this.#keep({kind: 'directory', node, path, listed, extras, batch: undefined});
    return emitOpened(handle, 0);
  }

  async readdir(request: RequestOf<'readdir'>): Promise<Uint8Array> {
    const directory = this.#open.get(request.handle);
    if (directory?.kind !== 'directory') throw new FileError(directory ? ENOTDIR : EBADF);
    const reply = new DirectoryReply(request.size, request.name === 'readdirplus');
    let {offset} = request;
    if (offset === 0n && !this.#addName(reply, '.', S_IFDIR, afterDot)) return reply.bytes;
    if (offset === 0n) offset = afterDot;
    if (offset === afterDot && !this.#addName(reply, '..', S_IFDIR, afterDotDot))
      return reply.bytes;
    if (offset === afterDot) offset = afterDotDot;
    if (offset === afterDotDot) offset = 0n;
    if (offset < extraBase || offset > afterDotDot) {
      if (directory.listed !== undefined && !(await this.#addListed(reply, directory, offset))) {
        return reply.bytes;
      }
      offset = extraBase;
    }
    for (let index = Number(offset - extraBase); index < directory.extras.length; index++) {
      const name = directory.extras[index] ?? '';
      if (!this.#addName(reply, name, S_IFDIR, extraBase + BigInt(index + 1))) break;
    }
    return reply.bytes;
  }

  /** Adds entries from `offset` on; false when there is no room for one. */
  async #addListed(
    reply: DirectoryReply,
    directory: OpenDirectory,
    offset: bigint,
  ): Promise<boolean> {
    const entries = await this.#entriesAfter(directory, offset);
    for (const entry of entries) {
      if (!reply.fits(entry.name.length)) return false;
      const path = pathOf(directory, entry);
      const source = this.#context.sources.decide(path, 'read');
      if (source === undefined) continue;
      // Who lists a name and then says that there is no such file breaks find(1), tar(1) and the like.
      if (source !== directory.listed?.source && !(await this.#isThere(path, source))) continue;
      this.#addEntry(reply, directory, {entry, path, source});
    }
    // There may be more: the kernel asks for it.
    if (entries.length > 0 && reply.bytes.length > 0) return false;
    const last = entries.at(-1);
    return last === undefined || (await this.#addListed(reply, directory, last.cookie));
  }

  /** The entries after a place, of what was read already or read now. */
  async #entriesAfter(directory: OpenDirectory, from: bigint): Promise<readonly FileEntry[]> {
    const {batch, listed} = directory;
    if (batch !== undefined) {
      if (batch.from === from) return batch.entries;
      const index = batch.entries.findIndex(({cookie}) => cookie === from);
      if (index >= 0 && index + 1 < batch.entries.length) return batch.entries.slice(index + 1);
    }
    if (listed === undefined) return [];
    const ask = new FileRequest('readdir').u32(listed.remote).u64(from).u32(directoryBytes);
    const entries = parseEntries(await this.#client(listed).request(ask));
    directory.batch = {from, entries};
    return entries;
  }

  async #isThere(path: string, source: Spot['source']): Promise<boolean> {
    const spot = this.#context.sources.at(path, source);
    try {
      await spot.client.request(new FileRequest('stat').u8(0).string(spot.path));
      return true;
    } catch (error) {
      if (error instanceof FileError) return false;
      throw error;
    }
  }

  #addEntry(
    reply: DirectoryReply,
    directory: OpenDirectory,
    {
      entry,
      path,
      source,
    }: {readonly entry: FileEntry; readonly path: string; readonly source: Spot['source']},
  ): void {
    const {tree, sources} = this.#context;
    const name = latin1(entry.name);
    const {attributes} = entry;
    const common = {cookie: entry.cookie, ino: inoOf(attributes), mode: modeOf(attributes)};
    // What needs a closer look gets it when it is asked for.
    const isPlain = source === directory.listed?.source && isKnown(attributes);
    const isLink = kindOf(attributes) === S_IFLNK;
    if (!isPlain || isLink || this.#context.scaffold.has(path)) {
      reply.add(entry.name, {...common, node: 0, lifetimes: lifetimes.scaffold});
      return;
    }
    // References that the kernel doesn't get (READDIR) would never be taken back.
    const linked = sources.linked(path, attributes);
    const node = reply.isPlus
      ? tree.intern(directory.node, name, {source, ...(linked && {linked})}).id
      : 0;
    reply.add(entry.name, {
      ...common,
      node,
      attributes: present(attributes),
      lifetimes: lifetimes[source],
    });
  }

  #addName(reply: DirectoryReply, name: string, mode: number, cookie: bigint): boolean {
    const bytes = Buffer.from(name, 'latin1');
    if (!reply.fits(bytes.length)) return false;
    reply.add(bytes, {cookie, ino: 1n, mode, node: 0, lifetimes: lifetimes.scaffold});
    return true;
  }

  #keepFile(node: FileNode, source: Spot['source'], fields: Uint8Array): number {
    const remote = numberAt(fields);
    const client = this.#context.sources.client(source);
    const read = (offset: number, length: number): Promise<Uint8Array> =>
      client.request(new FileRequest('read').u32(remote).u64(BigInt(offset)).u32(length));
    // What is on this machine is read ahead by its own kernel.
    const firstBytes = source === 'pod' ? this.#options.firstBytes : 0;
    const ahead = new ReadAhead(read, {
      firstBytes,
      size: Number(sizeOf(fields.subarray(4))),
      now: this.#options.now,
    });
    return this.#keep({kind: 'file', node, source, remote, ahead});
  }

  #keep(open: OpenFile | OpenDirectory): number {
    if (this.#open.size >= handleLimit) {
      const there = open.kind === 'file' ? open : open.listed;
      if (there !== undefined) {
        void this.#client(there)
          .request(new FileRequest('close').u32(there.remote))
          .catch(() => undefined);
      }
      throw new FileError(EMFILE);
    }
    const handle = ++this.#last;
    this.#open.set(handle, open);
    open.node.open.add(handle);
    return handle;
  }

  #file(handle: number): OpenFile {
    const open = this.#open.get(handle);
    if (open?.kind !== 'file') throw new FileError(EBADF);
    return open;
  }

  #client({source}: {readonly source: Spot['source']}) {
    return this.#context.sources.client(source);
  }
}

function pathOf(directory: OpenDirectory, {name}: FileEntry): string {
  return directory.path === '/' ? `/${latin1(name)}` : `${directory.path}/${latin1(name)}`;
}

function numberAt(fields: Uint8Array): number {
  return new DataView(fields.buffer, fields.byteOffset).getUint32(0, true);
}
