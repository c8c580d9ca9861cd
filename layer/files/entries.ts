/**
 * What the kernel asks about names: which there are, what they are, and to change that.
 *
 * A name in a directory is the pod's or this machine's by its own path, not by its directory's: `/app` may be the
 * pod's, and `/app/main.py` ours. Directories that something of this machine is mounted into are there even if
 * neither has them (`scaffold`).
 */

import os from 'node:os';
import {FileRequest} from '../../tunnel/files.ts';
import {
  identityOf,
  onlyIdentity,
  present,
  scaffoldAttributes,
  scaffoldStatfs,
  versionOf,
} from './attributes.ts';
import type {FilesContext} from './context.ts';
import {type FileClient, FileError, type Identity} from './file-client.ts';
import {type Found, findEntry} from './find-entry.ts';
import {SETATTR} from './fuse/protocol.ts';
import {emitAttributes, emitEntry} from './fuse/reply.ts';
import type {RequestOf} from './fuse/request.ts';
import {lifetimes, passage, younger} from './lifetimes.ts';
import type {Nodes} from './nodes.ts';
import type {FileNode, Place, Source} from './tree.ts';

const {ENOENT, ESTALE, EXDEV, EINVAL} = os.constants.errno;

/** renameat2(2)'s RENAME_EXCHANGE. */
const EXCHANGE = 2;

const latin1 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('latin1');

export class Entries {
  readonly #context: FilesContext;
  readonly #nodes: Nodes;

  constructor(context: FilesContext, nodes: Nodes) {
    this.#context = context;
    this.#nodes = nodes;
  }

  async lookup(request: RequestOf<'lookup'>): Promise<Uint8Array> {
    const parent = this.#nodes.directory(request.node);
    const {tree, sources} = this.#context;
    const name = latin1(request.child);
    const path = tree.childPath(parent, name);
    try {
      return this.#enter(parent, name, await this.find(path));
    } catch (error) {
      if (!(error instanceof FileError)) throw error;
      // Where this machine has a directory that the pod has not, the pod has nothing in it.
      const isMissing = error.errno === ESTALE && sources.decide(path, 'read') !== parent.source;
      if (error.errno !== ENOENT && !isMissing) throw error;
      return emitEntry({node: 0, lifetimes: lifetimes.pod});
    }
  }

  /** Looks at a path. Rejects with FileError. */
  async find(path: string): Promise<Found> {
    return await findEntry(this.#context, path);
  }

  async getattr(request: RequestOf<'getattr'>): Promise<Uint8Array> {
    const node = this.#nodes.get(request.node);
    if (node.source === 'scaffold') {
      const {attributeMs} = lifetimes.scaffold;
      return emitAttributes(scaffoldAttributes(node.id), attributeMs);
    }
    const known = this.#knownByOpening(node, request.handle);
    if (known !== undefined) return known;
    const checkedAt = this.#context.now();
    const open = this.#nodes.ownHandle(node, request.handle, 'read');
    const fields = await this.#nodes.ask(node, new FileRequest('stat'), 'read', open);
    node.version = versionOf(fields);
    node.checkedAt = checkedAt;
    return emitAttributes(present(fields), lifetimes[node.source].attributeMs);
  }

  /**
   * What a file was when it was just opened: who opens one mostly looks at it (fstat(2)), and what the kernel knew may have
   * been made void by its opening, or by what was written before. Once, so that whoever asks again is told anew.
   */
  #knownByOpening(node: FileNode, handle: number | undefined): Uint8Array | undefined {
    const {opened} = node;
    node.opened = undefined;
    const {snapshots, handle: handleOf, now} = this.#context;
    if (opened === undefined || opened.changes !== snapshots.changes) return undefined;
    if (handle !== undefined && handleOf(handle)?.source !== node.source) return undefined;
    const {attributeMs} = younger(lifetimes[node.source], now() - opened.askedAt);
    return attributeMs > 0 ? emitAttributes(present(opened.attributes), attributeMs) : undefined;
  }

  async setattr(request: RequestOf<'setattr'>): Promise<Uint8Array> {
    const node = this.#nodes.get(request.node);
    const {valid, size, times, mode} = request;
    const view = new DataView(times.buffer, times.byteOffset, times.byteLength);
    const change = new FileRequest('setattr').u32(valid & ~SETATTR.handle).u32(mode);
    const handle = (valid & SETATTR.handle) !== 0 ? request.handle : undefined;
    const isCut = (valid & SETATTR.size) !== 0;
    // What is open need not be open to be written; else it stands for its name.
    const open = isCut
      ? this.#nodes.openHandle(node, handle, 'write')
      : this.#nodes.ownHandle(node, handle, 'write');
    const source = open?.source ?? this.#nodes.spot(node, 'write').source;
    change
      .u32(this.#idThere(request.uid, 'uid', source))
      .u32(this.#idThere(request.gid, 'gid', source));
    change.u64(size);
    change.u64(view.getBigUint64(0, true)).u32(view.getUint32(24, true));
    change.u64(view.getBigUint64(8, true)).u32(view.getUint32(28, true));
    if (isCut) this.#context.changing(node);
    this.#context.changed(node);
    const fields = await this.#nodes.ask(node, change, 'write', open);
    if (source === node.source) this.#context.tree.identify(node, identityOf(fields));
    if (isCut && source === 'host' && !node.isGone) {
      this.#context.sources.made(this.#context.tree.path(node));
    }
    return emitAttributes(present(fields), lifetimes[node.source].attributeMs);
  }

  async readlink(request: RequestOf<'readlink'>): Promise<Uint8Array> {
    const {client, path} = this.#nodes.spot(this.#nodes.get(request.node), 'read');
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
    const oldNode = this.#nodes.get(request.oldNode);
    if (oldNode.isGone) return await this.#christen(request, oldNode);
    const old = this.#nodes.spot(oldNode, 'write');
    const place = {parent: this.#nodes.directory(request.node), name: latin1(request.child)};
    const path = tree.childPath(place.parent, place.name);
    const spot = sources.spot(path, 'write');
    if (spot.source !== old.source) throw new FileError(EXDEV);
    const ask = new FileRequest('link').string(old.path).string(spot.path);
    const attributes = present(await this.#change(spot.client, ask, [place.parent, oldNode]));
    if (spot.source === 'host') sources.made(path);
    const linked = sources.linked(path, attributes);
    const isSame =
      linked !== undefined && oldNode.source === spot.source && oldNode.ino === linked.ino;
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
    const place = {parent: this.#nodes.directory(request.node), name: latin1(request.child)};
    const path = tree.childPath(place.parent, place.name);
    const spot = sources.spot(path, 'write');
    const open = this.#nodes.openHandle(node, undefined, 'read');
    if (open === undefined || node.ino === undefined) throw new FileError(ENOENT);
    if (spot.source !== open.source) throw new FileError(EXDEV);
    const ask = new FileRequest('name').u32(open.remote).string(spot.path);
    const attributes = present(await this.#change(spot.client, ask, [place.parent, node]));
    if (spot.source === 'host') sources.made(path);
    tree.christen(node, place);
    return emitEntry({node: node.id, attributes, lifetimes: lifetimes[spot.source]});
  }

  async unlink(request: RequestOf<'unlink'>): Promise<Uint8Array> {
    const parent = this.#nodes.directory(request.node);
    const name = latin1(request.child);
    const path = this.#context.tree.childPath(parent, name);
    const spot = this.#context.sources.spot(path, 'write');
    const ask = new FileRequest(request.name).string(spot.path);
    // Other names of it tell that it has one less.
    await this.#change(spot.client, ask, [parent, this.#context.tree.child(parent, name)]);
    this.#context.sources.removed(path);
    this.#context.tree.remove(parent, name);
    return new Uint8Array(0);
  }

  async rename(request: RequestOf<'rename'>): Promise<Uint8Array> {
    const {tree, sources} = this.#context;
    const from = {parent: this.#nodes.directory(request.node), name: latin1(request.child)};
    const to = {parent: this.#nodes.directory(request.newParent), name: latin1(request.newChild)};
    const [oldPath, newPath] = [from, to].map(({parent, name}) => tree.childPath(parent, name));
    if (oldPath === undefined || newPath === undefined) throw new FileError(EINVAL);
    const old = sources.spot(oldPath, 'write');
    const target = sources.spot(newPath, 'write');
    if (old.source !== target.source) throw new FileError(EXDEV);
    const rename = new FileRequest('rename').u32(request.flags);
    const ask = rename.string(old.path).string(target.path);
    await this.#change(old.client, ask, [from.parent, to.parent]);
    const swaps = request.flags === EXCHANGE;
    if (old.source === 'host') {
      sources.made(newPath);
      const mayHold = ({parent, name}: Place): boolean =>
        tree.child(parent, name)?.ino === undefined;
      if (mayHold(from) || (swaps && mayHold(to))) sources.moved(oldPath, newPath, swaps);
    }
    if (!swaps) sources.removed(oldPath);
    tree.rename(from, to, swaps);
    return new Uint8Array(0);
  }

  async statfs(request: RequestOf<'statfs'>): Promise<Uint8Array> {
    const node = this.#nodes.get(request.node);
    if (node.source === 'scaffold') return scaffoldStatfs();
    return await this.#nodes.askByPath(node, 'read', new FileRequest('statfs'), 0);
  }

  async access(request: RequestOf<'access'>): Promise<Uint8Array> {
    const node = this.#nodes.get(request.node);
    if (node.source === 'scaffold') return new Uint8Array(0);
    const access = (request.mask & 2) === 0 ? 'read' : 'write';
    return await this.#nodes.askByPath(node, access, new FileRequest('access'), request.mask);
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
  async #change(
    client: FileClient,
    request: FileRequest,
    nodes: readonly [FileNode, (FileNode | undefined)?],
  ): Promise<Uint8Array> {
    this.#context.changed(...nodes);
    return await client.request(request);
  }

  /** Makes something with a path as the last field, and enters it. */
  async #make(
    {node, child}: {readonly node: number; readonly child: Uint8Array},
    request: FileRequest,
  ): Promise<Uint8Array> {
    const {tree, sources} = this.#context;
    const parent = this.#nodes.directory(node);
    const name = latin1(child);
    const path = tree.childPath(parent, name);
    const spot = sources.spot(path, 'write');
    const attributes = present(
      await this.#change(spot.client, request.string(spot.path), [parent]),
    );
    if (spot.source === 'host') sources.made(path);
    return this.#enter(parent, name, {source: spot.source, isFollowed: false, attributes});
  }

  /** A user or group of the sandbox as the other side knows it. */
  #idThere(id: number, kind: keyof Identity, source: Source): number {
    const only = onlyIdentity();
    if (source !== 'pod' || only === null || id !== only[kind]) return id;
    return this.#context.identity[kind];
  }
}
