/**
 * From a path to who serves it: the policy's decision, the file system that it names, and the path there.
 *
 * What the program has made on this machine where it would read the pod's, it reads here for the rest of the
 * session: a file that one has just written should be there.
 */

import os from 'node:os';
import {identityOf, kindOf, linksOf, S_IFDIR} from './attributes.ts';
import {type FileClient, FileError} from './file-client.ts';
import type {FileSystem} from './file-system.ts';
import type {Access, FilePolicy} from './policy.ts';
import type {Linked, Source} from './tree.ts';

/** Paths of the program's own that are remembered; later ones are read where the policy says. */
const ownLimit = 65_536;

/** PATH_MAX, without its zero byte. */
const longestPath = 4095;

const {ENOENT, ENAMETOOLONG} = os.constants.errno;

/** A path in one of the file systems. */
export interface Spot {
  readonly source: Exclude<Source, 'scaffold'>;
  readonly client: FileClient;
  readonly path: Uint8Array;
}

export interface SourceOptions {
  readonly policy: FilePolicy;
  readonly pod: Pick<FileSystem, 'client'>;
  readonly host: Pick<FileSystem, 'client'>;
}

export class Sources {
  readonly #systems: Omit<SourceOptions, 'policy'>;
  readonly #policy: FilePolicy;
  readonly #own = new Set<string>();

  constructor({policy, ...systems}: SourceOptions) {
    this.#policy = policy;
    this.#systems = systems;
  }

  /** Who answers for a file system now; what is open was opened by one, and is asked about there. */
  client(source: Spot['source']): FileClient {
    return this.#systems[source].client;
  }

  /** Who serves a path (one character for each byte) for an access; undefined: it is not there. */
  decide(path: string, access: Access): Spot['source'] | undefined {
    if (this.#own.has(path)) return 'host';
    const {place} = this.#policy.decide(this.#policy.map(textOf(path)), access);
    return place === 'not-found' ? undefined : place === 'remote' ? 'pod' : 'host';
  }

  /** A path in the file system that is asked about it. Throws FileError ENOENT when it is not there. */
  spot(path: string, access: Access): Spot {
    const source = this.decide(path, access);
    if (source === undefined) throw new FileError(ENOENT);
    return this.at(path, source);
  }

  /** What a file at a path is known by to have other names; undefined of a directory. */
  linked(path: string, attributes: Uint8Array): Linked | undefined {
    if (kindOf(attributes) === S_IFDIR) return undefined;
    const isShared = linksOf(attributes) > 1;
    const scope = isShared ? (this.decide(path, 'write') ?? 'nobody') : '';
    return {ino: identityOf(attributes), isShared, scope};
  }

  /** A path in a file system, whatever the policy says. What the program has made here since it was looked at is here. */
  at(path: string, source: Spot['source']): Spot {
    const now = this.#own.has(path) ? 'host' : source;
    return {source: now, client: this.client(now), path: this.#mapped(path)};
  }

  /** Notes that the program has made something on this machine. */
  made(path: string): void {
    if (this.#own.size < ownLimit && this.decide(path, 'read') !== 'host') this.#own.add(path);
  }

  /** Notes that it has removed it. */
  removed(path: string): void {
    this.#own.delete(path);
  }

  /** Notes that what it has made in a directory is in another one now, or, if `swaps`, that each has what the other had. */
  moved(from: string, to: string, swaps: boolean): void {
    const below = [...this.#own].filter((path) => path.startsWith(`${from}/`));
    const beyond = swaps ? [...this.#own].filter((path) => path.startsWith(`${to}/`)) : [];
    for (const path of [...below, ...beyond]) this.removed(path);
    for (const path of below) this.made(to + path.slice(from.length));
    for (const path of beyond) this.made(from + path.slice(to.length));
  }

  #mapped(path: string): Uint8Array {
    const text = textOf(path);
    const mapped = this.#policy.map(text);
    // A name that is no UTF-8 would not survive being a text.
    const bytes = mapped === text ? Buffer.from(path, 'latin1') : Buffer.from(mapped);
    // By renames a tree may become deeper than a path may be long.
    if (bytes.length > longestPath) throw new FileError(ENAMETOOLONG);
    return bytes;
  }
}

/** What the policy reads: bytes that are no UTF-8 become U+FFFD. */
export function textOf(path: string): string {
  return Buffer.from(path, 'latin1').toString();
}
