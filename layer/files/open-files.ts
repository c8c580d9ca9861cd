/**
 * What the program has open: files and directories, each with its handle at whoever serves it.
 *
 * A file that is read from the pod but written here is one or the other by how it was opened; what is written here
 * bypasses the kernel's cache, which has the pod's.
 */

import {constants} from 'node:fs';
import os from 'node:os';
import {ProtocolError} from '../../tunnel/errors.ts';
import {ATTRIBUTE_BYTES, FileRequest, OPEN_NO_FOLLOW} from '../../tunnel/files.ts';
import {inoOf, present, sizeOf, versionOf} from './attributes.ts';
import type {FilesContext} from './context.ts';
import {Directories} from './directories.ts';
import {type FileClient, FileError} from './file-client.ts';
import {OPEN_FLAG} from './fuse/protocol.ts';
import {emitCount, emitEntry, emitOffset, emitOpened} from './fuse/reply.ts';
import type {RequestOf} from './fuse/request.ts';
import {mayBeGiven} from './kernel-cache.ts';
import {lifetimes} from './lifetimes.ts';
import type {OpenHandle} from './nodes.ts';
import type {OpenDirectory} from './open-directory.ts';
import {accessMask, type OpenPlace, openAt, openPlace} from './open-place.ts';
import {ReadAhead, ReadAheadMemory} from './read-ahead.ts';
import {ReadAroundMemory} from './read-around.ts';
import {type Reading, type ReadPiece, spareBytes} from './read-buffers.ts';
import type {Spot} from './sources.ts';
import type {FileNode} from './tree.ts';
import type {WalkAheadCounters} from './walk-ahead.ts';
import {WriteBehind, WriteBehindMemory} from './write-behind.ts';

const {EBADF, ENOTDIR, EMFILE, EOPNOTSUPP} = os.constants.errno;

/** Open files; the other side has a limit too. */
const handleLimit = 8192;
/** Who opens so wants to know that it is written. */
const surely = constants.O_SYNC | constants.O_DSYNC | constants.O_DIRECT;

interface OpenFile {
  readonly kind: 'file';
  readonly node: FileNode;
  readonly source: Spot['source'];
  readonly client: FileClient;
  readonly remote: number;
  readonly ahead: ReadAhead;
  /** Without it, each write is waited for. */
  readonly behind: WriteBehind | undefined;
}

const latin1 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('latin1');

export interface OpenFilesOptions {
  readonly context: Pick<
    FilesContext,
    'tree' | 'sources' | 'scaffold' | 'snapshots' | 'changed' | 'outdated' | 'give'
  >;
  /** Bytes that are read at first (`feature.fs.readonly_file_buffer`). */
  readonly firstBytes: number;
  readonly now: () => number;
}

export interface OpenFilesCounters {
  /** Pieces that were not read ahead for lack of room. */
  readonly aheadRefused: number;
  /** Blocks around small reads, and small reads that were in one. */
  readonly aroundAsked: number;
  readonly aroundHits: number;
  /** Memory for reading that nobody uses now. */
  readonly spareBytes: number;
  /** Writes that had to wait for those before them. */
  readonly behindWaits: number;
  /** Writes whose failure was told later. */
  readonly behindFailures: number;
  /** Entries of open directories that are held. */
  readonly listed: number;
  /** Of directories that were listed ahead. */
  readonly walk: Readonly<WalkAheadCounters>;
}

export class OpenFiles implements Disposable {
  readonly #options: OpenFilesOptions;
  readonly #context: OpenFilesOptions['context'];
  readonly #open = new Map<number, OpenFile | OpenDirectory>();
  readonly #ahead = new ReadAheadMemory();
  readonly #around = new ReadAroundMemory();
  readonly #behind = new WriteBehindMemory();
  readonly #directories: Directories;
  #last = 0;
  /**
   * Whether what is written past the kernel's cache makes void what that has (Linux 6.6). Then new files that are only written
   * to bypass it: before its first write to each file that it caches, the kernel asks for its capabilities.
   */
  mayBypass = false;
  /** Whether the kernel's cache may be given what comes with an opening (Linux 6.12). */
  mayGive = false;

  constructor(options: OpenFilesOptions) {
    this.#options = options;
    this.#context = options.context;
    this.#directories = new Directories(options);
  }

  get count(): number {
    return this.#open.size;
  }

  get counters(): OpenFilesCounters {
    return {
      aheadRefused: this.#ahead.refused,
      aroundAsked: this.#around.asked,
      aroundHits: this.#around.hits,
      spareBytes: spareBytes(),
      behindWaits: this.#behind.waits,
      behindFailures: this.#behind.failures,
      listed: this.#directories.entries,
      walk: this.#directories.counters,
    };
  }

  /** Forgets what was listed ahead: the program has changed something. */
  changed(): void {
    this.#directories.changed();
  }

  [Symbol.dispose](): void {
    this.#directories[Symbol.dispose]();
  }

  /** The handle there, of one here. */
  handle(number: number): OpenHandle | undefined {
    const open = this.#open.get(number);
    return open?.kind === 'directory' ? open.listed : open;
  }

  /** Forgets what was read ahead of a file, by whatever handle: its content is about to change. */
  changing(node: FileNode): void {
    for (const handle of node.open) {
      const open = this.#open.get(handle);
      if (open?.kind === 'file') open.ahead.clear();
    }
    this.#context.changed(node);
  }

  async open(request: RequestOf<'open'>, node: FileNode): Promise<Uint8Array> {
    const {flags} = request;
    const isWriting =
      (flags & accessMask) !== constants.O_RDONLY || (flags & constants.O_TRUNC) !== 0;
    const {tree, sources} = this.#context;
    const handles = {tree, sources, handle: (number: number) => this.handle(number)};
    const spot = openPlace(handles, node, isWriting ? 'write' : 'read');
    if ((flags & constants.O_TRUNC) !== 0) this.changing(node);
    const {changes} = this.#context.snapshots;
    const {changed} = node;
    const askedAt = this.#options.now();
    // Should it be a link by now, the kernel is to look at its name again.
    const how = node.isFollowed || spot.source !== node.source ? flags : flags | OPEN_NO_FOLLOW;
    const {firstBytes} = this.#options;
    const mayMake = isWriting && spot.source !== node.source;
    const fields = await openAt(spot, how, {firstBytes, mayMake});
    // What was written meanwhile is not in what came, and what is being opened was not told to forget it (`changing`).
    const content = node.changed === changed ? wholeContent(fields) : undefined;
    const isUnchanged = this.#context.snapshots.changes === changes;
    if (isWriting) this.#opened(node, spot);
    if (spot.source === 'pod' && node.source === 'pod') {
      const attributes = fields.slice(4, 4 + ATTRIBUTE_BYTES);
      const isAsTold = this.#refresh(node, attributes);
      if (isUnchanged) {
        node.opened = {attributes, askedAt, changes: this.#context.snapshots.changes};
        if (this.mayGive && isAsTold && content !== undefined && mayBeGiven(node, flags)) {
          this.#context.give(node, content);
        }
      }
    }
    const handle = this.#keepFile(node, spot, {flags, fields, content});
    // Files that are made while they are read (proc(5)) say that they are empty. Who writes may map it later.
    const isDirect =
      spot.source !== node.source || (!isWriting && sizeOf(fields.subarray(4)) === 0n);
    return emitOpened(
      handle,
      (isDirect ? OPEN_FLAG.directIo : OPEN_FLAG.keepCache) |
        (this.#file(handle).behind === undefined ? OPEN_FLAG.noFlush : 0),
    );
  }

  /** Who opens a file sees it as it is, whatever the kernel believes: as with NFS. Returns whether it believes that. */
  #refresh(node: FileNode, attributes: Uint8Array): boolean {
    const version = versionOf(attributes);
    node.checkedAt = this.#options.now();
    if (node.version === version) return true;
    node.version = version;
    this.#context.outdated(node);
    return false;
  }

  /** Notes that something was opened to be written. What is the pod's to the kernel may be this machine's from now on. */
  #opened(node: FileNode, spot: OpenPlace): void {
    if ('path' in spot) this.#changed(node, spot);
    else this.#context.changed(node);
    if (spot.source === node.source) return;
    node.opened = undefined;
    this.#context.outdated(node);
  }

  #changed(node: FileNode, {source}: Spot): void {
    if (source === 'host') this.#context.sources.made(this.#context.tree.path(node));
    else this.#context.changed(node);
  }

  async create(request: RequestOf<'create'>, parent: FileNode): Promise<Uint8Array> {
    const {sources, tree} = this.#context;
    const name = latin1(request.child);
    const path = tree.childPath(parent, name);
    const spot = sources.spot(path, 'write');
    const ask = new FileRequest('create').u32(request.flags).u32(request.mode & 0o7777);
    const fields = await spot.client.request(ask.string(spot.path));
    const attributes = present(fields.slice(4));
    if (spot.source === 'host') sources.made(path);
    const linked = sources.linked(path, attributes);
    const node = tree.intern(parent, name, {source: spot.source, ...(linked && {linked})});
    if (spot.source === 'pod') this.#context.changed(node, parent);
    return this.#created({node, spot, flags: request.flags}, fields);
  }

  /** O_TMPFILE: whose it is follows from where a name would be. */
  async createNameless(request: RequestOf<'tmpfile'>, parent: FileNode): Promise<Uint8Array> {
    const {sources, tree} = this.#context;
    if (parent.source === 'scaffold') throw new FileError(EOPNOTSUPP);
    const path = tree.path(parent);
    const source = sources.decide(tree.childPath(parent, 'tmpfile'), 'write');
    if (source === undefined) throw new FileError(EOPNOTSUPP);
    const spot = sources.at(path, source);
    const ask = new FileRequest('tmpfile').u32(request.flags).u32(request.mode & 0o7777);
    const fields = await spot.client.request(ask.string(spot.path));
    const ino = inoOf(fields.subarray(4));
    const node = tree.nameless(parent, spot.source, ino);
    return this.#created({node, spot, flags: request.flags}, fields);
  }

  #created(
    {node, spot, flags}: {readonly node: FileNode; readonly spot: Spot; readonly flags: number},
    fields: Uint8Array,
  ): Uint8Array {
    const {source} = spot;
    const attributes = present(fields.slice(4));
    const handle = this.#keepFile(node, spot, {flags, fields, content: undefined});
    const entry = emitEntry({node: node.id, attributes, lifetimes: lifetimes[source]});
    const isDirect = this.mayBypass && (flags & accessMask) === constants.O_WRONLY;
    const how = isDirect ? OPEN_FLAG.directIo : OPEN_FLAG.keepCache;
    return Buffer.concat([entry, emitOpened(handle, how)]);
  }

  async read(request: RequestOf<'read'>): Promise<Reading> {
    return await this.#file(request.handle).ahead.read(Number(request.offset), request.size);
  }

  async write(request: RequestOf<'write'>): Promise<Uint8Array> {
    const file = this.#file(request.handle);
    const {client, remote, behind} = file;
    const {data, offset, isAppend, isMapped} = request;
    this.changing(file.node);
    if (behind !== undefined && !isMapped) {
      const {length} = data; // the bytes are gone when this waits
      await behind.write(isAppend ? 'end' : offset, data);
      return emitCount(length);
    }
    // Who wrote to a mapping doesn't wait, so the kernel only looks whether it failed, not how much was written.
    const ask = isAppend
      ? new FileRequest('append').u32(remote)
      : new FileRequest(isMapped ? 'writeall' : 'write').u32(remote).u64(offset);
    const {length} = data;
    const count = numberAt(await client.request(ask, data));
    // The kernel takes that for a fault of its own (WARN_ON).
    if (count > length) throw new ProtocolError('CALL_MALFORMED');
    return emitCount(count);
  }

  /** Whether a write may be answered before it is taken: its program has nothing to hear of it now. */
  mayAnswer({handle, data, isMapped}: RequestOf<'write'>): boolean {
    const open = this.#open.get(handle);
    return open?.kind === 'file' && !isMapped && open.behind?.mayGoOn(data.length) === true;
  }

  /** Takes a write that was answered; its bytes are not used after this returns. */
  take({handle, data, offset, isAppend}: RequestOf<'write'>): void {
    const {node, behind} = this.#file(handle);
    this.changing(node);
    behind?.take(isAppend ? 'end' : offset, data);
  }

  /** A descriptor is closed: tells what has failed of what was written. */
  async flush(request: RequestOf<'flush'>): Promise<Uint8Array> {
    await this.#file(request.handle).behind?.settled();
    return new Uint8Array(0);
  }

  async release(request: RequestOf<'release'>): Promise<Uint8Array> {
    const open = this.#open.get(request.handle);
    this.#open.delete(request.handle);
    if (open === undefined) throw new FileError(EBADF);
    open.node.opened = undefined;
    this.#context.tree.closed(open.node, request.handle);
    if (open.kind === 'file') open.ahead.clear();
    await this.#close(open);
    return new Uint8Array(0);
  }

  async fsync(request: RequestOf<'fsync'>): Promise<Uint8Array> {
    const file = this.#file(request.handle);
    const ask = new FileRequest('fsync').u32(file.remote).u8(request.dataOnly ? 1 : 0);
    const synced = file.client.request(ask);
    const [, written] = await Promise.allSettled([synced, file.behind?.settled()]);
    if (written.status === 'rejected') throw written.reason;
    return await synced;
  }

  async fallocate(request: RequestOf<'fallocate'>): Promise<Uint8Array> {
    const file = this.#file(request.handle);
    const ask = new FileRequest('fallocate').u32(file.remote).u32(request.mode);
    this.changing(file.node);
    return await file.client.request(ask.u64(request.offset).u64(request.length));
  }

  async lseek(request: RequestOf<'lseek'>): Promise<Uint8Array> {
    const file = this.#file(request.handle);
    const ask = new FileRequest('lseek').u32(file.remote).u64(request.offset).u32(request.whence);
    const fields = await file.client.request(ask);
    return emitOffset(new DataView(fields.buffer, fields.byteOffset).getBigUint64(0, true));
  }

  async opendir(node: FileNode): Promise<Uint8Array> {
    return emitOpened(this.#keep(await this.#directories.open(node)), 0);
  }

  async readdir(request: RequestOf<'readdir'>): Promise<Uint8Array> {
    const directory = this.#open.get(request.handle);
    if (directory?.kind !== 'directory') throw new FileError(directory ? ENOTDIR : EBADF);
    return await directory.read(request);
  }

  #keepFile(
    node: FileNode,
    {source, client}: Pick<Spot, 'source' | 'client'>,
    {
      flags,
      fields,
      content,
    }: {
      readonly flags: number;
      readonly fields: Uint8Array;
      readonly content: Uint8Array | undefined;
    },
  ): number {
    const remote = numberAt(fields);
    const read: ReadPiece = async (offset, length, isLater) => {
      const ask = new FileRequest('read', isLater).u32(remote).u64(BigInt(offset)).u32(length);
      const bytes = await client.request(ask);
      if (bytes.length > length) throw new ProtocolError('CALL_MALFORMED');
      return bytes;
    };
    // What is on this machine is read ahead by its own kernel.
    const firstBytes = source === 'pod' ? this.#options.firstBytes : 0;
    const size = Number(sizeOf(fields.subarray(4)));
    const ahead = new ReadAhead(read, {
      firstBytes,
      size,
      content,
      memory: this.#ahead,
      around: {memory: this.#around, version: () => node},
      now: this.#options.now,
    });
    const isBehind = source === 'pod' && (flags & accessMask) !== 0 && (flags & surely) === 0;
    const behind = isBehind ? new WriteBehind(client, remote, this.#behind) : undefined;
    return this.#keep({kind: 'file', node, source, client, remote, ahead, behind});
  }

  #keep(open: OpenFile | OpenDirectory): number {
    if (this.#open.size >= handleLimit) {
      this.#close(open).catch(() => undefined);
      throw new FileError(EMFILE);
    }
    const handle = ++this.#last;
    this.#open.set(handle, open);
    this.#context.tree.opened(open.node, handle);
    return handle;
  }

  async #close(open: OpenFile | OpenDirectory): Promise<void> {
    if (open.kind === 'directory') open[Symbol.dispose]();
    const there = open.kind === 'file' ? open : open.listed;
    if (there === undefined) return;
    const ask = new FileRequest('close').u32(there.remote);
    await there.client.request(ask, undefined, true);
  }

  #file(handle: number): OpenFile {
    const open = this.#open.get(handle);
    if (open?.kind !== 'file') throw new FileError(EBADF);
    return open;
  }
}

/** All bytes of a file, where they came with its opening. */
function wholeContent(fields: Uint8Array): Uint8Array | undefined {
  const content = fields.subarray(4 + ATTRIBUTE_BYTES);
  const isWhole = content.length > 0 && BigInt(content.length) === sizeOf(fields.subarray(4));
  return isWhole ? content : undefined;
}

function numberAt(fields: Uint8Array): number {
  return new DataView(fields.buffer, fields.byteOffset).getUint32(0, true);
}
