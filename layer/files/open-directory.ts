/**
 * A directory that the program reads: what whoever lists it has, with attributes, and what is mounted there besides.
 *
 * The first entries come with the answer to its opening, and the next ones are asked for as soon as those before them
 * are read, so that nobody waits for more than one round trip. Attributes are believed from when they were asked for on; of what
 * the program has changed since, only the name is told.
 */

import os from 'node:os';
import {type FileEntry, FileRequest, parseEntries, SUBJECT} from '../../tunnel/files.ts';
import {
  inoOf,
  isKnown,
  kindOf,
  modeOf,
  present,
  S_IFDIR,
  S_IFLNK,
  versionOf,
} from './attributes.ts';
import type {FilesContext} from './context.ts';
import {type FileClient, FileError} from './file-client.ts';
import {DirectoryReply} from './fuse/reply.ts';
import type {RequestOf} from './fuse/request.ts';
import {lifetimes, younger} from './lifetimes.ts';
import type {Holder, ListingMemory} from './listing-memory.ts';
import type {Spot} from './sources.ts';
import type {FileNode} from './tree.ts';
import type {Opened} from './walk-ahead.ts';

const {EIO} = os.constants.errno;

/** Entries of a directory that are asked for at once. */
export const directoryBytes = 262_144;
/**
 * Where reading a directory goes on after what is no entry of its own. No file system counts that far, but for the
 * end: ext4 and others have 0x7fff_ffff_ffff_ffff after their last entry.
 */
const afterDot = 0x7fff_ffff_ffff_fff0n;
const afterDotDot = 0x7fff_ffff_ffff_fff1n;
const extraBase = 0x7fff_ffff_fff0_0000n;

/** Batches in a row of which nothing is to be seen: two million entries, or an agent that goes round in circles. */
const hiddenLimit = 1000;

/** Entries that were read at once: those after `from`. */
interface Batch {
  readonly from: bigint;
  readonly askedAt: number;
  /** What the program had changed by then (Snapshots.changes). */
  readonly changes: number;
  readonly entries: readonly FileEntry[];
  /** Whether there are none after these. */
  readonly isLast: boolean;
  /** The place of each entry, by where reading goes on after it. */
  readonly places: ReadonlyMap<bigint, number>;
}

/** What lists a directory. */
export interface Listed {
  readonly source: Spot['source'];
  readonly client: FileClient;
  readonly remote: number;
}

export interface OpenDirectoryOptions {
  readonly context: Pick<FilesContext, 'tree' | 'sources' | 'scaffold' | 'snapshots'>;
  readonly node: FileNode;
  readonly path: string;
  /** Who lists it; nobody, if it only holds others. */
  readonly listed: Listed | undefined;
  readonly first: (Opened & Pick<Batch, 'changes'>) | undefined;
  /** What it holds besides. */
  readonly extras: readonly string[];
  readonly now: () => number;
  readonly memory: ListingMemory;
  /** Is told of entries that come later. */
  readonly onListed?: (entries: readonly FileEntry[]) => void;
}

const latin1 = (bytes: Uint8Array): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1');

export class OpenDirectory implements Holder, Disposable {
  readonly kind = 'directory';
  readonly node: FileNode;
  readonly listed: Listed | undefined;
  readonly #options: Omit<OpenDirectoryOptions, 'first'>;
  /** What was read last, and what is being read after it. */
  #batch: Batch | undefined;
  #next: {readonly from: bigint; readonly batch: Promise<Batch>} | undefined;
  #isBegun = false;

  constructor({first, ...options}: OpenDirectoryOptions) {
    this.#options = options;
    this.node = options.node;
    this.listed = options.listed;
    if (first === undefined) return;
    const {isWhole, entries} = first.directory;
    if (!isWhole && entries.length === 0) return;
    const {askedAt, changes} = first;
    this.#batch = batchOf({from: 0n, askedAt, changes, entries, isLast: isWhole});
    this.#hold(0);
    this.#readOn(this.#batch);
  }

  /** Gives up what was read: who reads on asks again. */
  forget(): void {
    this.#batch = undefined;
    this.#next = undefined;
  }

  [Symbol.dispose](): void {
    this.forget();
    this.#options.memory.leaves(this);
  }

  async read(request: RequestOf<'readdir'>): Promise<Uint8Array> {
    const reply = new DirectoryReply(request.size, request.name === 'readdirplus');
    let {offset} = request;
    if (offset === 0n) this.#begin();
    if (offset === 0n && !this.#addName(reply, '.', S_IFDIR, afterDot)) return reply.bytes;
    if (offset === 0n) offset = afterDot;
    if (offset === afterDot && !this.#addName(reply, '..', S_IFDIR, afterDotDot))
      return reply.bytes;
    if (offset === afterDot) offset = afterDotDot;
    if (offset === afterDotDot) offset = 0n;
    if (offset < extraBase || offset > afterDotDot) {
      if (this.listed !== undefined && !(await this.#addListed(reply, offset))) return reply.bytes;
      offset = extraBase;
    }
    const {extras} = this.#options;
    for (let index = Number(offset - extraBase); index < extras.length; index++) {
      const name = extras[index] ?? '';
      if (!this.#addName(reply, name, S_IFDIR, extraBase + BigInt(index + 1))) break;
    }
    return reply.bytes;
  }

  /** Who begins once more (rewinddir(3)) is to see what there is by now. */
  #begin(): void {
    if (this.#isBegun) this.forget();
    this.#isBegun = true;
  }

  /** Adds entries from `offset` on; false when there is no room for one, or others come first. */
  async #addListed(reply: DirectoryReply, offset: bigint): Promise<boolean> {
    for (let from = offset, hidden = 0; ; ) {
      const batch = await this.#batchWith(from);
      const {entries} = batch;
      for (let index = (batch.places.get(from) ?? -1) + 1; index < entries.length; index++) {
        const entry = entries[index];
        if (entry === undefined) break;
        if (!reply.fits(entry.name.length)) return false;
        await this.#add(reply, entry, batch);
      }
      const last = entries.at(-1);
      if (batch.isLast || last === undefined) return true;
      // What there is goes out before others are waited for.
      if (reply.bytes.length > 0) return false;
      // By then who asked has mostly been told EINTR, and would not stop it.
      if (last.cookie === from || ++hidden > hiddenLimit) throw new FileError(EIO);
      from = last.cookie;
    }
  }

  /** The batch that has what comes after a place: read already, or read now. */
  async #batchWith(from: bigint): Promise<Batch> {
    const known = this.#batch;
    if (known !== undefined) {
      if (known.from === from) return known;
      const place = known.places.get(from);
      if (place !== undefined && (known.isLast || place + 1 < known.entries.length)) return known;
    }
    const next = this.#next;
    const batch = next?.from === from ? next.batch : this.#ask(from);
    this.#next = undefined;
    const read = await batch;
    this.#batch = read;
    this.#hold(0);
    this.#readOn(read);
    return read;
  }

  #readOn({entries, isLast}: Batch): void {
    const last = entries.at(-1);
    if (isLast || last === undefined) return;
    const batch = this.#ask(last.cookie);
    this.#next = {from: last.cookie, batch};
    batch.then(
      ({entries: next}) => {
        if (this.#next?.batch === batch) this.#hold(next.length);
      },
      () => undefined, // who wants it hears of it
    );
  }

  /** Notes what is held: what was read, and so many entries after it. */
  #hold(next: number): void {
    this.#options.memory.holds(this, (this.#batch?.entries.length ?? 0) + next);
  }

  async #ask(from: bigint): Promise<Batch> {
    const {listed} = this;
    const {now, onListed} = this.#options;
    const common = {from, askedAt: now(), changes: this.#options.context.snapshots.changes};
    if (listed === undefined) return batchOf({...common, entries: [], isLast: true});
    const ask = new FileRequest('readdir').u32(listed.remote).u64(from).u32(directoryBytes);
    const entries = parseEntries(await listed.client.request(ask));
    onListed?.(entries);
    return batchOf({...common, entries, isLast: entries.length === 0});
  }

  async #add(
    reply: DirectoryReply,
    entry: FileEntry,
    {askedAt, changes}: Pick<Batch, 'askedAt' | 'changes'>,
  ): Promise<void> {
    const {now, context} = this.#options;
    const {tree, sources, scaffold} = context;
    const name = latin1(entry.name);
    const {path: directory} = this.#options;
    const path = directory === '/' ? `/${name}` : `${directory}/${name}`;
    const source = sources.decide(path, 'read');
    if (source === undefined) return;
    const isOther = source !== this.listed?.source;
    // Who lists a name and then says that there is no such file breaks find(1), tar(1) and the like.
    if (isOther && !(await this.#isThere(path, source))) return;
    const {attributes} = entry;
    const common = {cookie: entry.cookie, ino: inoOf(attributes), mode: modeOf(attributes)};
    // What needs a closer look gets it when it is asked for.
    const needsLook = isOther || !isKnown(attributes) || kindOf(attributes) === S_IFLNK;
    // Read ahead: the name may be gone by now, or the file be larger, by what the program has done since.
    const isOld =
      this.node.changed > changes || (tree.child(this.node, name)?.changed ?? 0) > changes;
    if (needsLook || isOld || scaffold.has(path)) {
      reply.add(entry.name, {...common, node: 0, lifetimes: lifetimes.scaffold});
      return;
    }
    // References that the kernel doesn't get (READDIR) would never be taken back.
    const linked = sources.linked(path, attributes);
    const node = reply.isPlus
      ? tree.intern(this.node, name, {source, ...(linked && {linked})})
      : undefined;
    if (node !== undefined) {
      node.version = versionOf(attributes);
      node.checkedAt = askedAt;
    }
    reply.add(entry.name, {
      ...common,
      node: node?.id ?? 0,
      attributes: present(attributes),
      lifetimes: younger(lifetimes[source], now() - askedAt),
    });
  }

  async #isThere(path: string, source: Spot['source']): Promise<boolean> {
    const spot = this.#options.context.sources.at(path, source);
    try {
      await spot.client.request(new FileRequest('stat').u8(SUBJECT.path).string(spot.path));
      return true;
    } catch (error) {
      if (error instanceof FileError) return false;
      throw error;
    }
  }

  #addName(reply: DirectoryReply, name: string, mode: number, cookie: bigint): boolean {
    const bytes = Buffer.from(name, 'latin1');
    if (!reply.fits(bytes.length)) return false;
    reply.add(bytes, {cookie, ino: 1n, mode, node: 0, lifetimes: lifetimes.scaffold});
    return true;
  }
}

function batchOf(batch: Omit<Batch, 'places'>): Batch {
  const places = new Map(batch.entries.map(({cookie}, index) => [cookie, index] as const));
  return {...batch, places};
}
