/**
 * What the kernel asks about names: which there are, what they are, and to change that.
 *
 * A name in a directory is the pod's or this machine's by its own path, not by its directory's: `/app` may be the
 * pod's, and `/app/main.py` ours. Directories that something of this machine is mounted into are there even if
 * neither has them (`scaffold`).
 */

import os from 'node:os';
import {FileRequest} from '../../tunnel/files.ts';
import {onlyIdentity, present, scaffoldAttributes, versionOf} from './attributes.ts';
import {type FileClient, FileError, type Identity} from './file-client.ts';
import {type Found, findEntry} from './find-entry.ts';
import {SETATTR} from './fuse/protocol.ts';
import {emitAttributes, emitEntry, type Lifetimes} from './fuse/reply.ts';
import type {RequestOf} from './fuse/request.ts';
import type {Access} from './policy.ts';
import type {Snapshots} from './snapshots.ts';
import type {Sources, Spot} from './sources.ts';
import type {FileNode, FileTree, Source} from './tree.ts';

const {ENOENT, EXDEV, EINVAL, ENOTDIR, ENODATA, EOPNOTSUPP} = os.constants.errno;

/**
 * What the kernel may believe without asking. Of the pod a second: what another process there changes is seen by
 * then, and a program that looks at a file again and again asks once. Of this machine less, where asking is cheap.
 * What the program itself changes it sees at once.
 */
export const lifetimes: Readonly<Record<Source, Lifetimes>> = {
  pod: {entryMs: 1000, attributeMs: 1000},
  host: {entryMs: 200, attributeMs: 200},
  scaffold: {entryMs: 60_000, attributeMs: 60_000},
};

/**
 * Of a name that something is mounted on, or on the way there: for ever. The launcher may pass by while we wait for
 * it, and must not wait for us.
 */
const passage: Lifetimes = {entryMs: 10 * 365 * 86_400_000, attributeMs: 1000};

/** renameat2(2)'s RENAME_EXCHANGE. */
const EXCHANGE = 2;

export interface EntryContext {
  readonly tree: FileTree;
  readonly sources: Sources;
  /** Directories that are there whoever has them, and what they hold. */
  readonly scaffold: ReadonlyMap<string, ReadonlySet<string>>;
  readonly snapshots: Snapshots;
  /** Forgets what is remembered of the pod's directories: the program has changed something, or is about to. */
  changed(): void;
  /** Tells the kernel that its attributes of a node are old. */
  outdated(node: FileNode): void;
  readonly now: () => number;
  /** Whom the pod's files are looked at as. */
  readonly identity: Identity;
  /** The agent's handle of an open file, with its file system. */
  handle(number: number): {readonly source: Spot['source']; readonly remote: number} | undefined;
  /** Is told that the content of a file is about to change. */
  changing(node: FileNode): void;
}

const latin1 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('latin1');

export class Entries {
  readonly #context: EntryContext;

  constructor(context: EntryContext) {
    this.#context = context;
  }

  /** The node of a number. Throws FileError ENOENT: the kernel asks about what it has forgotten. */
  node(id: number): FileNode {
    const node = this.#context.tree.get(id);
    if (node === undefined) throw new FileError(ENOENT);
    return node;
  }

  async lookup(request: RequestOf<'lookup'>): Promise<Uint8Array> {
    const parent = this.node(request.node);
    const name = latin1(request.child);
    try {
      return this.#enter(parent, name, await this.find(this.#context.tree.childPath(parent, name)));
    } catch (error) {
      if (!(error instanceof FileError) || error.errno !== ENOENT) throw error;
      return emitEntry({node: 0, lifetimes: lifetimes.pod});
    }
  }

  /** Looks at a path. Rejects with FileError. */
  async find(path: string): Promise<Found> {
    return await findEntry(this.#context, path);
  }

  async getattr(request: RequestOf<'getattr'>): Promise<Uint8Array> {
    const node = this.node(request.node);
    if (node.source === 'scaffold') {
      const {attributeMs} = lifetimes.scaffold;
      return emitAttributes(scaffoldAttributes(node.id), attributeMs);
    }
    const checkedAt = this.#context.now();
    const fields = await this.#onNode(node, new FileRequest('stat'), 'read', request.handle);
    node.version = versionOf(fields);
    node.checkedAt = checkedAt;
    return emitAttributes(present(fields), lifetimes[node.source].attributeMs);
  }

  async setattr(request: RequestOf<'setattr'>): Promise<Uint8Array> {
    const node = this.node(request.node);
    const {valid, size, times, mode} = request;
    const view = new DataView(times.buffer, times.byteOffset, times.byteLength);
    const change = new FileRequest('setattr').u32(valid & ~SETATTR.handle).u32(mode);
    const hasHandle = (valid & SETATTR.handle) !== 0;
    const source = this.#sourceFor(node, hasHandle ? request.handle : undefined);
    change
      .u32(this.#idThere(request.uid, 'uid', source))
      .u32(this.#idThere(request.gid, 'gid', source));
    change.u64(size);
    change.u64(view.getBigUint64(0, true)).u32(view.getUint32(24, true));
    change.u64(view.getBigUint64(8, true)).u32(view.getUint32(28, true));
    if ((valid & SETATTR.size) !== 0) this.#context.changing(node);
    this.#context.changed();
    const fields = await this.#onNode(
      node,
      change,
      'write',
      hasHandle ? request.handle : undefined,
    );
    return emitAttributes(present(fields), lifetimes[node.source].attributeMs);
  }

  async readlink(request: RequestOf<'readlink'>): Promise<Uint8Array> {
    const {client, path} = this.#spotOf(this.node(request.node), 'read');
    return await client.request(new FileRequest('readlink').string(path));
  }

  async mkdir(request: RequestOf<'mkdir'>): Promise<Uint8Array> {
    return await this.#make(request, new FileRequest('mkdir').u32(request.mode));
  }

  async mknod(request: RequestOf<'mknod'>): Promise<Uint8Array> {
    return await this.#make(request, new FileRequest('mknod').u32(request.mode));
  }

  async symlink(request: RequestOf<'symlink'>): Promise<Uint8Array> {
    return await this.#make(request, new FileRequest('symlink').string(request.target));
  }

  async link(request: RequestOf<'link'>): Promise<Uint8Array> {
    const {tree, sources} = this.#context;
    const oldNode = this.node(request.oldNode);
    if (oldNode.isGone) return await this.#christen(request, oldNode);
    const old = this.#spotOf(oldNode, 'write');
    const place = {parent: this.node(request.node), name: latin1(request.child)};
    const path = tree.childPath(place.parent, place.name);
    const spot = sources.spot(path, 'write');
    if (spot.source !== old.source) throw new FileError(EXDEV);
    const ask = new FileRequest('link').string(old.path).string(spot.path);
    const attributes = present(await this.#change(spot.client, ask));
    if (spot.source === 'host') sources.made(path);
    const linked = sources.linked(path, attributes);
    const isSame = linked !== undefined && oldNode.source === spot.source && !oldNode.isFollowed;
    const node = isSame ? tree.alias(oldNode, place, linked) : undefined;
    if (node !== undefined) {
      return emitEntry({node: node.id, attributes, lifetimes: lifetimes[spot.source]});
    }
    return this.#enter(place.parent, place.name, {
      source: spot.source,
      isFollowed: false,
      attributes,
    });
  }

  /** Gives a file that was made without a name (O_TMPFILE) one. */
  async #christen(request: RequestOf<'link'>, node: FileNode): Promise<Uint8Array> {
    const {tree, sources} = this.#context;
    const place = {parent: this.node(request.node), name: latin1(request.child)};
    const path = tree.childPath(place.parent, place.name);
    const spot = sources.spot(path, 'write');
    const open = this.#openHandle(node, undefined);
    if (open === undefined) throw new FileError(ENOENT);
    if (spot.source !== open.source) throw new FileError(EXDEV);
    const ask = new FileRequest('name').u32(open.remote).string(spot.path);
    const attributes = present(await this.#change(spot.client, ask));
    if (spot.source === 'host') sources.made(path);
    tree.christen(node, place);
    return emitEntry({node: node.id, attributes, lifetimes: lifetimes[spot.source]});
  }

  async unlink(request: RequestOf<'unlink'>): Promise<Uint8Array> {
    const parent = this.node(request.node);
    const name = latin1(request.child);
    const path = this.#context.tree.childPath(parent, name);
    const spot = this.#context.sources.spot(path, 'write');
    await this.#change(spot.client, new FileRequest(request.name).string(spot.path));
    this.#context.sources.removed(path);
    this.#context.tree.remove(parent, name);
    return new Uint8Array(0);
  }

  async rename(request: RequestOf<'rename'>): Promise<Uint8Array> {
    const {tree, sources} = this.#context;
    const from = {parent: this.node(request.node), name: latin1(request.child)};
    const to = {parent: this.node(request.newParent), name: latin1(request.newChild)};
    const [oldPath, newPath] = [from, to].map(({parent, name}) => tree.childPath(parent, name));
    if (oldPath === undefined || newPath === undefined) throw new FileError(EINVAL);
    const old = sources.spot(oldPath, 'write');
    const target = sources.spot(newPath, 'write');
    if (old.source !== target.source) throw new FileError(EXDEV);
    const rename = new FileRequest('rename').u32(request.flags);
    await this.#change(old.client, rename.string(old.path).string(target.path));
    if (old.source === 'host') sources.made(newPath);
    if (request.flags !== EXCHANGE) sources.removed(oldPath);
    tree.rename(from, to, request.flags === EXCHANGE);
    return new Uint8Array(0);
  }

  async statfs(request: RequestOf<'statfs'>): Promise<Uint8Array> {
    const node = this.node(request.node);
    if (node.source === 'scaffold') return new Uint8Array(80);
    return await this.#about(node, 'read', new FileRequest('statfs'), 0);
  }

  async access(request: RequestOf<'access'>): Promise<Uint8Array> {
    const node = this.node(request.node);
    if (node.source === 'scaffold') return new Uint8Array(0);
    const access = (request.mask & 2) === 0 ? 'read' : 'write';
    return await this.#about(node, access, new FileRequest('access'), request.mask);
  }

  async getxattr(request: RequestOf<'getxattr'>): Promise<Uint8Array> {
    // Asked for at every turn (ls, exec), and nothing that the sandbox could make use of.
    const attribute = latin1(request.attribute);
    if (attribute.startsWith('security.')) throw new FileError(ENODATA);
    if (attribute.startsWith('system.')) throw new FileError(EOPNOTSUPP);
    const node = this.node(request.node);
    if (node.source === 'scaffold') throw new FileError(ENODATA);
    const fields = await this.#about(node, 'read', new FileRequest('getxattr'), request.size, [
      request.attribute,
    ]);
    return request.size === 0 ? withPadding(fields) : fields;
  }

  async listxattr(request: RequestOf<'listxattr'>): Promise<Uint8Array> {
    const node = this.node(request.node);
    if (node.source === 'scaffold') return new Uint8Array(request.size === 0 ? 8 : 0);
    const fields = await this.#about(node, 'read', new FileRequest('listxattr'), request.size);
    return request.size === 0 ? withPadding(fields) : fields;
  }

  async setxattr(request: RequestOf<'setxattr'>): Promise<Uint8Array> {
    if (latin1(request.attribute).startsWith('system.')) throw new FileError(EOPNOTSUPP);
    const ask = new FileRequest('setxattr');
    const {attribute, value} = request;
    return await this.#about(
      this.node(request.node),
      'write',
      ask,
      request.flags,
      [attribute],
      value,
    );
  }

  async removexattr(request: RequestOf<'removexattr'>): Promise<Uint8Array> {
    const ask = new FileRequest('removexattr');
    return await this.#about(this.node(request.node), 'write', ask, 0, [request.attribute]);
  }

  /** Puts a name that was found into the tree; returns the answer that tells it. */
  #enter(
    parent: FileNode,
    name: string,
    {source, isFollowed, attributes, ageMs = 0}: Found,
  ): Uint8Array {
    const {tree, sources, scaffold, now} = this.#context;
    const path = tree.childPath(parent, name);
    const linked = isFollowed ? undefined : sources.linked(path, attributes);
    const node = tree.intern(parent, name, {source, isFollowed, ...(linked && {linked})});
    const isPassage = scaffold.has(path);
    node.version = versionOf(attributes);
    node.checkedAt = now() - ageMs;
    return emitEntry({
      node: node.id,
      attributes,
      lifetimes: isPassage ? passage : younger(lifetimes[source], ageMs),
    });
  }

  /** Changes something: what is remembered of directories is not true any more. */
  async #change(client: FileClient, request: FileRequest): Promise<Uint8Array> {
    this.#context.changed();
    return await client.request(request);
  }

  /** Makes something with a path as the last field, and enters it. */
  async #make(
    {node, child}: {readonly node: number; readonly child: Uint8Array},
    request: FileRequest,
  ): Promise<Uint8Array> {
    const {tree, sources} = this.#context;
    const parent = this.node(node);
    const name = latin1(child);
    const path = tree.childPath(parent, name);
    const spot = sources.spot(path, 'write');
    const attributes = present(await this.#change(spot.client, request.string(spot.path)));
    if (spot.source === 'host') sources.made(path);
    return this.#enter(parent, name, {source: spot.source, isFollowed: false, attributes});
  }

  #spotOf(node: FileNode, access: Access): Spot {
    const {tree, sources} = this.#context;
    if (node.source === 'scaffold') throw new FileError(access === 'read' ? ENOTDIR : EXDEV);
    if (node.isGone) throw new FileError(ENOENT);
    const path = tree.path(node);
    if (access === 'read') return sources.at(path, node.source);
    return sources.spot(path, 'write');
  }

  /** Which file system a change of a node goes to. */
  #sourceFor(node: FileNode, handle: number | undefined): Spot['source'] {
    const open = this.#openHandle(node, handle);
    return open?.source ?? this.#spotOf(node, 'write').source;
  }

  /** The handle that stands for a node: the one that the kernel names, or any, where its name is gone. */
  #openHandle(
    node: FileNode,
    handle: number | undefined,
  ): {readonly source: Spot['source']; readonly remote: number} | undefined {
    if (handle !== undefined) return this.#context.handle(handle);
    if (!node.isGone) return undefined;
    const [any] = node.open;
    return any === undefined ? undefined : this.#context.handle(any);
  }

  /** Asks about a node by handle or by path, which comes last. */
  async #onNode(
    node: FileNode,
    request: FileRequest,
    access: Access,
    handle: number | undefined,
  ): Promise<Uint8Array> {
    const open = this.#openHandle(node, handle);
    if (open !== undefined) {
      return await this.#context.sources
        .client(open.source)
        .request(request.u8(2).u32(open.remote));
    }
    const {client, path} = this.#spotOf(node, access);
    return await client.request(request.u8(node.isFollowed ? 1 : 0).string(path));
  }

  async #about(
    node: FileNode,
    access: Access,
    request: FileRequest,
    number: number,
    names: readonly Uint8Array[] = [],
    bytes?: Uint8Array,
  ): Promise<Uint8Array> {
    const {client, path} = this.#spotOf(node, access);
    request
      .u8(node.isFollowed ? 1 : 0)
      .u32(number)
      .string(path);
    for (const name of names) request.string(name);
    return await client.request(request, bytes);
  }

  /** A user or group of the sandbox as the other side knows it. */
  #idThere(id: number, kind: keyof Identity, source: Source): number {
    const only = onlyIdentity();
    if (source !== 'pod' || only === null || id !== only[kind]) return id;
    return this.#context.identity[kind];
  }
}

/** What is left of lifetimes. */
export function younger({entryMs, attributeMs}: Lifetimes, ageMs: number): Lifetimes {
  const left = (ms: number): number => Math.max(0, Math.floor(ms - ageMs));
  return ageMs === 0
    ? {entryMs, attributeMs}
    : {entryMs: left(entryMs), attributeMs: left(attributeMs)};
}

/** A uint32 as fuse_getxattr_out has it. */
function withPadding(fields: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(8);
  bytes.set(fields.subarray(0, 4));
  return bytes;
}
