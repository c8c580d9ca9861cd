/**
 * Lists directories of the pod's ahead of who walks through a tree, so that a walk does not wait for a round trip in each.
 *
 * Theory of operation. Who goes through a tree (find, grep -r, tar, a build) lists a directory, and then those in it, one after the
 * other, each with what is in it before the next. So once WALK_STEPS directories in a row were ones whose names had just
 * been listed, those that follow in the same way are asked for: WIDTH_MIN at first, twice as many each time that one of them is
 * wanted before it is there, up to WIDTH_MAX. They follow as the directory lists them, or by name (ls -R), or by inode (tar, cp):
 * whichever the walk has kept to so far.
 *
 * What was listed ahead is believed for as long as any answer is, from when it was asked for; entries are passed on with
 * what is left of that. After that it is given up, and so is all as soon as the program changes anything, for nobody should
 * list what he has just removed. What is given up was in vain: then half as much is asked for, and when nothing else was
 * wanted meanwhile, nothing for a while.
 */

import type {FileEntry, OpenedDirectory} from '../../tunnel/files.ts';
import {inoOf, kindOf, S_IFDIR} from './attributes.ts';

/** Directories in a row that make a walk. */
const WALK_STEPS = 2;
/** Directories that are listed ahead: with a first answer of 256 KiB each, 8 MiB at most. */
const WIDTH_MIN = 2;
const WIDTH_MAX = 32;
/** Directories whose directories are remembered, and how many of each: as deep as a tree is, and what is listed ahead. */
const LISTINGS_MAX = 64;
const CHILDREN_MAX = 4096;
/** Directories for which nothing is tried after all was in vain, at first and at last. */
const REST_MIN = 8;
const REST_MAX = 256;

/** A directory that was opened by the other side. */
export interface Opened<D extends OpenedDirectory = OpenedDirectory> {
  readonly directory: D;
  /** When it was asked for. */
  readonly askedAt: number;
}

export interface WalkAheadOptions<D extends OpenedDirectory> {
  /** Opens a directory of the pod's; undefined for a path that is none of its. Rejects if that fails. */
  readonly open: (path: string) => Promise<D> | undefined;
  /** Closes one that nobody wants. */
  readonly close: (directory: D) => void;
  readonly lifetimeMs: number;
  readonly now: () => number;
}

export interface WalkAheadCounters {
  /** Directories that were asked for ahead. */
  walkAsked: number;
  /** Those of them that were wanted in time. */
  walkHits: number;
}

interface Child {
  readonly name: string;
  readonly ino: bigint;
}

interface Listing {
  readonly children: Child[];
  /** The places of names in each of the orders; of those that were needed. */
  readonly orders: Map<Order, readonly string[]>;
  last: string | undefined;
}

interface Ahead<D> {
  readonly askedAt: number;
  readonly directory: Promise<D | undefined>;
  isThere: boolean;
}

type Order = 'listed' | 'name' | 'inode';
const orderNames: readonly Order[] = ['listed', 'name', 'inode'];

export class WalkAhead<D extends OpenedDirectory = OpenedDirectory> implements Disposable {
  readonly counters: WalkAheadCounters = {walkAsked: 0, walkHits: 0};
  readonly #options: WalkAheadOptions<D>;
  readonly #listings = new Map<string, Listing>();
  readonly #ahead = new Map<string, Ahead<D>>();
  #order: Order = 'listed';
  #steps = 0;
  /** Which directory was opened last, and when. */
  #last = '';
  #lastAt = Number.NEGATIVE_INFINITY;
  /** How many are asked for ahead; 0 while nothing is tried. */
  #width = WIDTH_MIN;
  /** Those that were wanted since one was given up. */
  #hits = 0;
  /** Directories that nothing is tried for, and for how many next time. */
  #rest = 0;
  #nextRest = REST_MIN;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: WalkAheadOptions<D>) {
    this.#options = options;
  }

  /** Notes what is in a directory: entries, the first ones or more of them. Paths have a character for each byte. */
  listed(path: string, entries: readonly FileEntry[], isFirst: boolean): void {
    const known = isFirst ? undefined : this.#listings.get(path);
    const children = known?.children ?? [];
    for (const {name, attributes} of entries) {
      if (children.length >= CHILDREN_MAX) break;
      if (kindOf(attributes) !== S_IFDIR) continue;
      children.push({name: latin1(name), ino: inoOf(attributes)});
    }
    this.#listings.delete(path);
    this.#listings.set(path, {children, orders: new Map(), last: known?.last});
    const [oldest] = this.#listings.keys();
    if (this.#listings.size > LISTINGS_MAX && oldest !== undefined) this.#listings.delete(oldest);
    if (path === this.#last && this.#steps >= WALK_STEPS) this.#askAhead(path);
  }

  /** Is told that a directory is opened; returns it if that was foreseen. */
  async take(path: string): Promise<Opened<D> | undefined> {
    const {now, lifetimeMs} = this.#options;
    this.#giveUpOld();
    const isStep = this.#step(path);
    const at = now();
    this.#steps = isStep && at - this.#lastAt < lifetimeMs ? this.#steps + 1 : 0;
    this.#last = path;
    this.#lastAt = at;
    if (this.#rest > 0) this.#rest--;
    const known = this.#ahead.get(path);
    if (known !== undefined) {
      this.#ahead.delete(path);
      this.#hits++;
      this.#nextRest = REST_MIN;
      if (!known.isThere) this.#width = Math.min(WIDTH_MAX, 2 * this.#width);
    }
    if (this.#rest === 0) this.#width = Math.max(WIDTH_MIN, this.#width);
    if (this.#steps >= WALK_STEPS) this.#askAhead(path);
    if (known === undefined) return undefined;
    const directory = await known.directory;
    if (directory === undefined) return undefined;
    this.counters.walkHits++;
    return {directory, askedAt: known.askedAt};
  }

  /** The program has changed something: what was listed before need not be true. */
  clear(): void {
    for (const path of this.#ahead.keys()) this.#drop(path);
    this.#steps = 0;
  }

  [Symbol.dispose](): void {
    this.clear();
    clearTimeout(this.#timer);
  }

  /** Whether a directory is one of those that were listed; learns in which order they are gone through. */
  #step(path: string): boolean {
    const {parent, name} = split(path);
    this.#keepAbove(path);
    const listing = this.#listings.get(parent);
    if (listing === undefined) return false;
    const {last} = listing;
    const follows = (order: Order): boolean => {
      const names = namesOf(listing, order);
      return names[last === undefined ? 0 : names.indexOf(last) + 1] === name;
    };
    if (!follows(this.#order)) this.#order = orderNames.find(follows) ?? this.#order;
    listing.last = name;
    return namesOf(listing, this.#order).includes(name);
  }

  /** What is above a directory is remembered longest: the walk comes back to it. */
  #keepAbove(path: string): void {
    for (let at = path; at !== '/'; ) {
      at = split(at).parent;
      const listing = this.#listings.get(at);
      if (listing === undefined) return;
      this.#listings.delete(at);
      this.#listings.set(at, listing);
    }
  }

  #askAhead(path: string): void {
    let asked = 0;
    for (const next of this.#following(path)) {
      if (asked >= this.#width) return;
      asked++;
      if (!this.#ahead.has(next)) this.#ask(next);
    }
  }

  /** What a walk comes to after a directory: what is in it, what is beside it, and so on upwards. */
  *#following(path: string): Generator<string> {
    yield* this.#within(path);
    for (let at = path; at !== '/'; ) {
      const {parent, name} = split(at);
      const listing = this.#listings.get(parent);
      if (listing === undefined) return;
      const names = namesOf(listing, this.#order);
      for (const next of names.slice(names.indexOf(name) + 1)) {
        const beside = join(parent, next);
        yield beside;
        yield* this.#within(beside);
      }
      at = parent;
    }
  }

  *#within(path: string): Generator<string> {
    const listing = this.#listings.get(path);
    if (listing === undefined) return;
    for (const name of namesOf(listing, this.#order)) {
      const below = join(path, name);
      yield below;
      yield* this.#within(below);
    }
  }

  #ask(path: string): void {
    const opening = this.#options.open(path);
    if (opening === undefined) return;
    this.counters.walkAsked++;
    const ahead: Ahead<D> = {
      askedAt: this.#options.now(),
      isThere: false,
      directory: opening.then(
        (directory) => {
          ahead.isThere = true;
          this.listed(path, directory.entries, true);
          return directory;
        },
        () => undefined, // who opens it hears why
      ),
    };
    this.#ahead.set(path, ahead);
    this.#timer ??= setTimeout(() => this.#onTimer(), this.#options.lifetimeMs);
  }

  /** What nobody has come for is open in the pod: it must not stay so. */
  #onTimer(): void {
    this.#timer = undefined;
    this.#giveUpOld();
    if (this.#ahead.size === 0) return;
    this.#timer = setTimeout(() => this.#onTimer(), this.#options.lifetimeMs);
  }

  #giveUpOld(): void {
    const {now, lifetimeMs} = this.#options;
    const at = now();
    const old = [...this.#ahead].filter(([, {askedAt}]) => at - askedAt >= lifetimeMs);
    if (old.length === 0) return;
    for (const [path] of old) this.#drop(path);
    if (this.#hits > 0) this.#width = Math.max(WIDTH_MIN, this.#width >>> 1);
    else {
      this.#width = 0;
      this.#rest = this.#nextRest;
      this.#nextRest = Math.min(REST_MAX, 2 * this.#nextRest);
    }
    this.#hits = 0;
  }

  #drop(path: string): void {
    const ahead = this.#ahead.get(path);
    this.#ahead.delete(path);
    void ahead?.directory.then((directory) => {
      if (directory !== undefined) this.#options.close(directory);
    });
  }
}

function namesOf({children, orders}: Listing, order: Order): readonly string[] {
  const known = orders.get(order);
  if (known !== undefined) return known;
  const ordered = [...children];
  if (order === 'name') ordered.sort((one, other) => compare(one.name, other.name));
  if (order === 'inode') ordered.sort((one, other) => compare(one.ino, other.ino));
  const names = ordered.map(({name}) => name);
  orders.set(order, names);
  return names;
}

function compare<T extends string | bigint>(one: T, other: T): number {
  return one < other ? -1 : one > other ? 1 : 0;
}

function split(path: string): {readonly parent: string; readonly name: string} {
  const slash = path.lastIndexOf('/');
  return {parent: path.slice(0, slash) || '/', name: path.slice(slash + 1)};
}

function join(parent: string, name: string): string {
  return parent === '/' ? `/${name}` : `${parent}/${name}`;
}

function latin1(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1');
}
