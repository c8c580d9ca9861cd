/** Opens directories: at whoever lists them, with what is mounted there besides, and the pod's ahead of who walks through them. */

import {FileRequest, type OpenedDirectory, parseOpenedDirectory} from '../../tunnel/files.ts';
import type {FilesContext} from './context.ts';
import type {FileClient} from './file-client.ts';
import {findEntry} from './find-entry.ts';
import {lifetimes} from './lifetimes.ts';
import {ListingMemory} from './listing-memory.ts';
import {directoryBytes, OpenDirectory} from './open-directory.ts';
import type {Spot} from './sources.ts';
import type {FileNode} from './tree.ts';
import {type Opened, WalkAhead, type WalkAheadCounters} from './walk-ahead.ts';

/** A directory, with whoever has it open. */
interface ListedDirectory extends OpenedDirectory {
  readonly client: FileClient;
}

export interface DirectoriesOptions {
  readonly context: Pick<FilesContext, 'tree' | 'sources' | 'scaffold' | 'snapshots'>;
  readonly now: () => number;
}

export class Directories implements Disposable {
  readonly #options: DirectoriesOptions;
  readonly #walk: WalkAhead<ListedDirectory>;
  readonly #memory = new ListingMemory();

  constructor(options: DirectoriesOptions) {
    this.#options = options;
    const {sources} = options.context;
    this.#walk = new WalkAhead({
      open(path) {
        if (sources.decide(path, 'read') !== 'pod') return undefined;
        return openDirectory(sources.at(path, 'pod'));
      },
      close({client, handle}) {
        const ask = new FileRequest('close').u32(handle);
        client.request(ask, undefined, true).catch(() => undefined);
      },
      lifetimeMs: lifetimes.pod.attributeMs,
      now: options.now,
    });
  }

  get counters(): Readonly<WalkAheadCounters> {
    return this.#walk.counters;
  }

  /** Entries that open directories hold. */
  get entries(): number {
    return this.#memory.entries;
  }

  /** Forgets what was listed ahead: the program has changed something. */
  changed(): void {
    this.#walk.clear();
  }

  [Symbol.dispose](): void {
    this.#walk[Symbol.dispose]();
  }

  async open(node: FileNode): Promise<OpenDirectory> {
    const {context, now} = this.#options;
    const {tree, sources} = context;
    const path = tree.path(node);
    const extras = await this.#extras(node, path);
    const common = {context, node, path, extras, now, memory: this.#memory};
    if (node.source === 'scaffold') {
      return new OpenDirectory({...common, listed: undefined, first: undefined});
    }
    const spot = sources.at(path, node.source);
    // What was listed ahead is as of now: it is forgotten when anything is changed.
    const {changes} = context.snapshots;
    const first = {...(await this.#first(path, spot)), changes};
    const {source} = spot;
    const {client, handle} = first.directory;
    return new OpenDirectory({
      ...common,
      listed: {source, client, remote: handle},
      first,
      onListed: (entries) => {
        if (source === 'pod') this.#walk.listed(path, entries, false);
      },
    });
  }

  /** Names of what others have in a directory. */
  async #extras(node: FileNode, path: string): Promise<string[]> {
    const {context} = this.#options;
    const extras: string[] = [];
    for (const name of context.scaffold.get(path) ?? []) {
      const {source} = await findEntry(context, context.tree.childPath(node, name));
      if (node.source === 'scaffold' || source !== node.source) extras.push(name);
    }
    return extras;
  }

  async #first(path: string, spot: Spot): Promise<Opened<ListedDirectory>> {
    const known = spot.source === 'pod' ? await this.#walk.take(path) : undefined;
    if (known !== undefined) return known;
    const askedAt = this.#options.now();
    const directory = await openDirectory(spot);
    if (spot.source === 'pod') this.#walk.listed(path, directory.entries, true);
    return {askedAt, directory};
  }
}

/** Has a directory opened, with its first entries. Rejects with FileError. */
async function openDirectory({client, path}: Spot): Promise<ListedDirectory> {
  const ask = new FileRequest('opendir').string(path).u32(directoryBytes);
  return {...parseOpenedDirectory(await client.request(ask)), client};
}
