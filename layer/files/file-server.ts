/**
 * Serves a FUSE device: each request is done by `entries.ts` or `open-files.ts` and answered when that is over.
 *
 * Requests don't wait for each other; the kernel orders what needs an order. A failure is an errno; a request that
 * makes no sense is EIO, one that we don't know ENOSYS (the kernel then does without), and both are counted.
 *
 * Interrupts. A process that waits for an answer can't even be killed before it has one. The kernel says that it
 * would like to (INTERRUPT), but says so for any signal, and programs that are signalled all the time (Go's) would
 * see EINTR where no disk ever gives one. So what is interrupted has INTERRUPT_MS more; only what hangs, because
 * the tunnel is broken, say, fails with EINTR.
 */

import os from 'node:os';
import {ProtocolError} from '../../tunnel/errors.ts';
import type {FilesContext} from './context.ts';
import {Entries} from './entries.ts';
import {ExtendedAttributes} from './extended-attributes.ts';
import {FileError, type Identity} from './file-client.ts';
import {
  MAX_REQUEST_BYTES,
  MINOR_OF_MAPPED_DIRECT_IO,
  MINOR_OF_PRUNING,
  MINOR_OF_ZEROED_ENDS,
  NOTIFY_INVALIDATE,
  NOTIFY_PRUNE,
  NOTIFY_STORE,
  OLDEST_MINOR,
  OUT_HEADER_BYTES,
  VERSION,
} from './fuse/protocol.ts';
import {
  emitCount,
  emitInit,
  emitOutdated,
  emitPruned,
  emitStored,
  writeHeader,
} from './fuse/reply.ts';
import {type FuseRequest, parseRequest, type RequestOf} from './fuse/request.ts';
import {lifetimes} from './lifetimes.ts';
import {type Asked, Moves} from './moves.ts';
import type {Nearness} from './nearness.ts';
import {Nodes} from './nodes.ts';
import {OpenFiles} from './open-files.ts';
import {Pruning} from './pruning.ts';
import type {Reading} from './read-buffers.ts';
import {Snapshots} from './snapshots.ts';
import type {Sources} from './sources.ts';
import {StaleNames} from './stale-names.ts';
import {type FileNode, FileTree} from './tree.ts';
import type {Vigil} from './vigil.ts';

/** How long an interrupted request may go on, ms. */
const INTERRUPT_MS = 1000;

const {EIO, ENOENT, ENOSYS, EINTR, EPROTO, ESTALE} = os.constants.errno;

/** One slot of the ring that a device is read into. */
export const requestBytes = MAX_REQUEST_BYTES;

export interface FileServerOptions {
  readonly sources: Sources;
  /** Directories that are there whoever has them, by path (one character a byte), with what they hold. */
  readonly scaffold: ReadonlyMap<string, ReadonlySet<string>>;
  readonly identity: Identity;
  /** Bytes that are read at first from a file of the pod; 0: never ahead. */
  readonly firstBytes: number;
  readonly now: () => number;
  /** Writes one reply to the device: a head and parts. Returns 0 or a negative errno: ENOENT if nobody waits for it any more. */
  readonly write: (head: Uint8Array, parts: readonly Uint8Array[]) => number;
  /** Hears of each program that begins to wait, and of its answer. */
  readonly vigil?: Pick<Vigil, 'began' | 'ended'>;
  /** Hears of each write that is answered at once. */
  readonly nearness?: Pick<Nearness, 'answered'>;
}

export interface FileServerCounters {
  requests: number;
  /** Answered by an errno. */
  failed: number;
  malformed: number;
  unknown: number;
  /** About files whose name is another one's by now. */
  stale: number;
  /** Given up after an interrupt. */
  interrupted: number;
  /** Failed because the other side made no sense. */
  badAnswers: number;
  /** Failed by a fault of ours. */
  bugs: number;
  /** Failed with EIO, since the kernel did not take the answer. */
  untaken: number;
  /** READs, and files that the kernel's cache was given, and did not want: it had forgotten them. */
  reads: number;
  given: number;
  unwanted: number;
}

interface Running extends Asked {
  timer: NodeJS.Timeout | undefined;
}

export class FileServer implements Disposable {
  readonly counters: FileServerCounters = {
    requests: 0,
    failed: 0,
    malformed: 0,
    unknown: 0,
    stale: 0,
    interrupted: 0,
    badAnswers: 0,
    bugs: 0,
    untaken: 0,
    reads: 0,
    given: 0,
    unwanted: 0,
  };
  readonly #options: FileServerOptions;
  readonly #tree = new FileTree();
  readonly #staleNames: StaleNames;
  /** Undefined where the kernel can't. */
  #pruning: Pruning | undefined;
  readonly #moves = new Moves(this.#tree);
  readonly #nodes: Nodes;
  readonly #entries: Entries;
  readonly #attributes: ExtendedAttributes;
  readonly #files: OpenFiles;
  readonly #snapshots: Snapshots;
  readonly #running = new Map<number, Running>();
  readonly #head = new Uint8Array(OUT_HEADER_BYTES);

  constructor(options: FileServerOptions) {
    this.#options = options;
    const {sources, scaffold, identity, firstBytes, now} = options;
    this.#snapshots = new Snapshots(() => sources.client('pod'), {
      lifetimeMs: lifetimes.pod.attributeMs,
      now,
    });
    const context: FilesContext = {
      tree: this.#tree,
      sources,
      scaffold,
      identity,
      now,
      snapshots: this.#snapshots,
      changed: (node: FileNode, other?: FileNode) => {
        this.#snapshots.clear();
        this.#files.changed();
        const {changes} = this.#snapshots;
        node.changed = changes;
        if (other !== undefined) other.changed = changes;
      },
      outdated: (node: FileNode) => this.#invalidate(node.id),
      give: (node: FileNode, content: Uint8Array) => this.#give(node.id, content),
      handle: (number: number) => this.#files.handle(number),
      changing: (node: FileNode) => this.#files.changing(node),
    };
    this.#staleNames = new StaleNames(context);
    this.#files = new OpenFiles({context, firstBytes, now});
    this.#nodes = new Nodes(context);
    this.#entries = new Entries(context, this.#nodes);
    this.#attributes = new ExtendedAttributes(this.#nodes);
  }

  /** What became of reading ahead, of writing behind and of looking around, and how many nodes the kernel was asked to drop. */
  get tricks(): object {
    const {asked: pruned = 0} = this.#pruning ?? {};
    return {...this.#files.counters, ...this.#snapshots.counters, pruned};
  }

  /** Nodes and open files that are known now. */
  get sizes(): {nodes: number; open: number} {
    return {nodes: this.#tree.size, open: this.#files.count};
  }

  /** Takes one request; `bytes` are not used after it returns. */
  receive(bytes: Uint8Array): void {
    const request = parseRequest(bytes);
    this.counters.requests++;
    if (request === undefined) {
      this.counters.malformed++;
      return;
    }
    switch (request.name) {
      case 'forget':
        this.#tree.forget(request.node, request.count);
        return;
      case 'batchForget':
        for (const {node, count} of request.nodes) this.#tree.forget(node, count);
        return;
      case 'interrupt':
        this.#interrupt(request.interrupted);
        return;
      case 'init':
        this.#init(request);
        return;
      case 'malformed':
        this.counters.malformed++;
        this.#reply(request.unique, EIO);
        return;
      case 'unknown':
        this.counters.unknown++;
        this.#reply(request.unique, ENOSYS);
        return;
      case 'write':
        if (this.#files.mayAnswer(request)) this.#write(request);
        else this.#start(request);
        return;
      default: {
        const before = this.#moves.before(request, this.#running.values());
        if (before === undefined) this.#start(request);
        else this.#start(parseRequest(Uint8Array.from(bytes)) ?? request, before);
      }
    }
  }

  [Symbol.dispose](): void {
    for (const {timer} of this.#running.values()) clearTimeout(timer);
    this.#running.clear();
    this.#files[Symbol.dispose]();
  }

  /** Answers a write, and then takes it: to wake the program takes a processor longer than we need meanwhile. */
  #write(request: RequestOf<'write'>): void {
    this.#options.vigil?.began();
    this.#reply(request.unique, 0, [emitCount(request.data.length)]);
    this.#files.take(request);
    this.#options.vigil?.ended();
    this.#options.nearness?.answered(request.thread);
  }

  /** Does a request, after `before`: then its bytes are its own. */
  #start(request: FuseRequest, before?: Promise<unknown>): void {
    const asked = {request, over: this.#run(request, before), timer: undefined};
    this.#running.set(request.unique, asked);
    this.#moves.began(asked);
    this.#options.vigil?.began();
  }

  async #run(request: FuseRequest, before: Promise<unknown> | undefined): Promise<void> {
    let errno = 0;
    let parts: readonly Uint8Array[] = [];
    let reading: Reading | undefined;
    try {
      if (before !== undefined) await before;
      if (request.name === 'read') {
        this.counters.reads++;
        reading = await this.#files.read(request);
        ({parts} = reading);
      } else parts = [await this.#do(request)];
    } catch (error) {
      if (error instanceof ProtocolError) this.counters.badAnswers++;
      else if (!(error instanceof FileError)) this.counters.bugs++;
      errno = error instanceof FileError ? error.errno : EIO;
      if (errno === ENOENT || (errno === ESTALE && request.name === 'lookup')) {
        errno = this.#staleNames.isStale(request, errno) ? ESTALE : ENOENT;
        if (errno === ESTALE) this.counters.stale++;
      }
    }
    const running = this.#running.get(request.unique);
    if (running !== undefined) {
      // Else it is answered already, or the device is gone.
      clearTimeout(running.timer);
      this.#running.delete(request.unique);
      this.#reply(request.unique, errno, parts);
      this.#options.vigil?.ended();
    }
    reading?.release();
    if (this.#pruning?.isDue === true) this.#prune(this.#pruning.next());
  }

  async #do(request: FuseRequest): Promise<Uint8Array> {
    const entries = this.#entries;
    const files = this.#files;
    switch (request.name) {
      case 'lookup':
        return await entries.lookup(request);
      case 'getattr':
        return await entries.getattr(request);
      case 'setattr':
        return await entries.setattr(request);
      case 'readlink':
        return await entries.readlink(request);
      case 'symlink':
        return await entries.symlink(request);
      case 'mknod':
        return await entries.mknod(request);
      case 'mkdir':
        return await entries.mkdir(request);
      case 'unlink':
      case 'rmdir':
        return await entries.unlink(request);
      case 'rename':
        return await entries.rename(request);
      case 'link':
        return await entries.link(request);
      case 'statfs':
        return await entries.statfs(request);
      case 'access':
        return await entries.access(request);
      case 'getxattr':
        return await this.#attributes.getxattr(request);
      case 'listxattr':
        return await this.#attributes.listxattr(request);
      case 'setxattr':
        return await this.#attributes.setxattr(request);
      case 'removexattr':
        return await this.#attributes.removexattr(request);
      case 'open':
        return await files.open(request, this.#nodes.get(request.node));
      case 'create':
        return await files.create(request, this.#nodes.directory(request.node));
      case 'tmpfile':
        return await files.createNameless(request, this.#nodes.directory(request.node));
      case 'write':
        return await files.write(request);
      case 'flush':
        return await files.flush(request);
      case 'release':
      case 'releasedir':
        return await files.release(request);
      case 'fsync':
        return await files.fsync(request);
      case 'fallocate':
        return await files.fallocate(request);
      case 'lseek':
        return await files.lseek(request);
      case 'opendir':
        return await files.opendir(this.#nodes.directory(request.node));
      case 'readdir':
      case 'readdirplus':
        return await files.readdir(request);
      case 'destroy':
        return new Uint8Array(0);
      default:
        // Of FSYNCDIR: nothing waits here to be written, so the kernel need not ask.
        throw new FileError(ENOSYS);
    }
  }

  #init(request: RequestOf<'init'>): void {
    if (request.major !== VERSION.major || request.minor < OLDEST_MINOR) {
      this.#reply(request.unique, EPROTO);
      return;
    }
    this.#files.mayBypass = request.minor >= MINOR_OF_MAPPED_DIRECT_IO;
    this.#files.mayGive = request.minor >= MINOR_OF_ZEROED_ENDS;
    if (request.minor >= MINOR_OF_PRUNING) this.#pruning = new Pruning(this.#tree);
    this.#reply(request.unique, 0, [emitInit(request)]);
  }

  #invalidate(node: number): void {
    this.#notify(NOTIFY_INVALIDATE, [emitOutdated(node)]);
  }

  #give(node: number, content: Uint8Array): void {
    this.counters.given++;
    const result = this.#notify(NOTIFY_STORE, [emitStored(node, content.length), content]);
    if (result !== 0) this.counters.unwanted++;
  }

  #prune(nodes: readonly number[]): void {
    if (nodes.length > 0) this.#notify(NOTIFY_PRUNE, [emitPruned(nodes)]);
  }

  /** Sends a message that answers nothing, which has a kind in the place of an errno. Returns 0 or a negative errno. */
  #notify(kind: number, parts: readonly Uint8Array[]): number {
    let length = 0;
    for (const part of parts) length += part.length;
    writeHeader(this.#head, 0, -kind, length);
    return this.#options.write(this.#head, parts);
  }

  #interrupt(unique: number): void {
    const running = this.#running.get(unique);
    if (running === undefined || running.timer !== undefined) return;
    running.timer = setTimeout(() => {
      if (!this.#running.delete(unique)) return;
      this.counters.interrupted++;
      this.#reply(unique, EINTR);
      this.#options.vigil?.ended();
    }, INTERRUPT_MS);
  }

  #reply(unique: number, errno: number, parts: readonly Uint8Array[] = []): void {
    let length = 0;
    for (const part of parts) length += part.length;
    if (errno !== 0) this.counters.failed++;
    writeHeader(this.#head, unique, errno, errno === 0 ? length : 0);
    const result = this.#options.write(this.#head, errno === 0 ? parts : []);
    if (result === 0 || result === -ENOENT) return;
    // An errno from 512 on is the kernel's own and none for programs (ENOTSUPP of some file systems, or whatever an agent says): it is
    // not taken, and who asked could not even be killed.
    this.counters.untaken++;
    writeHeader(this.#head, unique, EIO, 0);
    this.#options.write(this.#head, []);
  }
}
