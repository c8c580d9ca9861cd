/**
 * What is in the pod's directories that a program looks around in, so that a thousand names cost one round trip.
 *
 * Theory of operation. The kernel asks for each name by itself. Who looks for a few in the same directory, one soon after the
 * other, and finds them, will look for more (`git status`, `make`): so the directory is asked for
 * with the attributes of all, small ones soon, larger ones when it has gone on for a while, and meanwhile each
 * name as before. Names that are not there don't count, for the answer would not have them (who makes files looks for each first). What came then answers for as long as an answer to a single question would be believed, counted from when
 * it was asked for. A name that is not among them is asked for: somebody in the pod may just have made it, and told us.
 * What has changed since then is noticed when the file is opened (OpenFiles). Anything that the program changes makes all of it void, for
 * nobody should look up what he has just removed.
 */

import {ProtocolError} from '../../tunnel/errors.ts';
import {FileRequest, parseOpenedDirectory} from '../../tunnel/files.ts';
import {isKnown} from './attributes.ts';
import {type FileClient, FileError} from './file-client.ts';

/** After how many names in a row a directory is asked for, and for how many bytes of it: some 600 and 10,000 names. */
const steps = [
  {names: 3, bytes: 65_536},
  {names: 32, bytes: 1_048_000},
] as const;
/** Directories that are remembered; the one that was not looked into for longest goes. */
const directoryLimit = 16;

interface Directory {
  /** Names that were looked for in a row. */
  names: number;
  lastAt: number;
  /** Which of the steps comes next; none for one that is too large, or that can't be listed. */
  step: number;
  isAsked: boolean;
  askedAt: number;
  entries: ReadonlyMap<string, Uint8Array> | undefined;
}

/** What is known of a name, since so many ms. */
export interface Seen {
  readonly attributes: Uint8Array;
  readonly ageMs: number;
}

export interface SnapshotCounters {
  /** Directories that were asked for. */
  asked: number;
  /** Names that need not be asked for. */
  hits: number;
}

export class Snapshots {
  readonly counters: SnapshotCounters = {asked: 0, hits: 0};
  readonly #client: () => FileClient;
  readonly #lifetimeMs: number;
  readonly #now: () => number;
  readonly #directories = new Map<string, Directory>();
  #changes = 0;

  constructor(
    client: () => FileClient,
    {lifetimeMs, now}: {lifetimeMs: number; now: () => number},
  ) {
    this.#client = client;
    this.#lifetimeMs = lifetimeMs;
    this.#now = now;
  }

  /** How often the program has changed something. */
  get changes(): number {
    return this.#changes;
  }

  /** What is known of a path of the pod's; undefined: it must be asked for. */
  find(path: Uint8Array): Seen | undefined {
    const parts = placeOf(path);
    if (parts === undefined) return undefined;
    const {place, name} = parts;
    const directory = this.#directory(place);
    const now = this.#now();
    const isInRow = now - directory.lastAt < this.#lifetimeMs;
    directory.names = isInRow ? directory.names + 1 : 1;
    directory.lastAt = now;
    const ageMs = now - directory.askedAt;
    if (directory.entries !== undefined && ageMs < this.#lifetimeMs) {
      const attributes = directory.entries.get(name);
      // Of some only the kind is known: those need a closer look.
      if (attributes === undefined || !isKnown(attributes)) return undefined;
      this.counters.hits++;
      return {attributes: attributes.slice(), ageMs};
    }
    const step = steps[directory.step];
    if (step !== undefined && directory.names >= step.names && !directory.isAsked) {
      void this.#ask(place, directory, step.bytes);
    }
    return undefined;
  }

  /** A path that was looked for is not there. */
  missed(path: Uint8Array): void {
    const directory = this.#directories.get(placeOf(path)?.place ?? '');
    if (directory !== undefined && directory.names > 0) directory.names--;
  }

  /** The program has changed something. */
  clear(): void {
    this.#changes++;
    if (this.#directories.size > 0) this.#directories.clear();
  }

  #directory(place: string): Directory {
    const known = this.#directories.get(place);
    if (known !== undefined) {
      this.#directories.delete(place);
      this.#directories.set(place, known);
      return known;
    }
    const made = {
      names: 0,
      lastAt: Number.NEGATIVE_INFINITY,
      step: 0,
      isAsked: false,
      askedAt: 0,
      entries: undefined,
    };
    this.#directories.set(place, made);
    const [oldest] = this.#directories.keys();
    if (this.#directories.size > directoryLimit && oldest !== undefined) {
      this.#directories.delete(oldest);
    }
    return made;
  }

  async #ask(place: string, directory: Directory, bytes: number): Promise<void> {
    directory.isAsked = true;
    this.counters.asked++;
    const changes = this.#changes;
    const askedAt = this.#now();
    try {
      const ask = new FileRequest('opendir', true).string(Buffer.from(place, 'latin1')).u32(bytes);
      const client = this.#client();
      const {handle, isWhole, entries} = parseOpenedDirectory(await client.request(ask));
      client.request(new FileRequest('close').u32(handle)).catch(() => undefined);
      if (changes !== this.#changes) return;
      if (isWhole) {
        const known = entries.map(({name, attributes}) => [latin1(name), attributes] as const);
        directory.entries = new Map(known);
        directory.askedAt = askedAt;
      } else directory.step++;
    } catch (error) {
      if (!(error instanceof FileError || error instanceof ProtocolError)) throw error;
      directory.step = steps.length;
    } finally {
      directory.isAsked = false;
    }
  }
}

/** A path as its directory and the name in it; undefined of the root. */
function placeOf(path: Uint8Array): {readonly place: string; readonly name: string} | undefined {
  const text = latin1(path);
  const slash = text.lastIndexOf('/');
  if (slash < 0 || slash === text.length - 1) return undefined;
  return {place: text.slice(0, slash) || '/', name: text.slice(slash + 1)};
}

function latin1(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1');
}
