/**
 * What the root of the sandbox is made of. Pure.
 *
 * Theory of operation. The root is a tmpfs. Directories that are this machine's with all that is in them are bind
 * mounts: they cost nothing, and a path below `/usr` or the working directory never meets us. All others are shown
 * from the FUSE mount, where each path is decided by itself. The other shape that was thought of is a FUSE mount as
 * the root: one place would decide all, and a new name in the pod's `/` would appear; but then every absolute path
 * begins with us, and a mirrord that is stopped (a debugger, Ctrl-Z) stops every program on this machine's files too.
 *
 * This machine's directories inside the pod's (the working directory in `/srv`, `/var/tmp`) are mounted over what
 * FUSE shows there, and what the pod has inside ours (`/etc/ssl/certs`, or what a pattern names) over the bind
 * mounts. Where this machine has no such name (`/etc/myapp`), its directory is thawed: a tmpfs with its entries bound
 * into it, and room for one more; if the program may write to it, it is served instead, lest what is made there be
 * lost. A pattern can do that only if it says where: one that names no directory (`\.pem$`) counts where
 * FUSE is anyway.
 *
 * A link of this machine's on the way to such a place (`/var/run`, on the way to `/var/run/secrets`) gives way to
 * what it leads to: what is mounted must not be mounted there.
 */

import {posix} from 'node:path';
import {
  hiddenInHome,
  loaderDirectories,
  localDirectories,
  remoteDirectories,
  type Surroundings,
  treeRule,
} from './default-rules.ts';
import type {FilePolicy, FileRules} from './policy.ts';

/** What is in a directory, by name. */
export interface TopEntry {
  readonly name: string;
  readonly kind: 'directory' | 'file' | 'link' | 'other';
  /** Where a link leads. */
  readonly target?: string;
}

export interface PlanInput {
  readonly policy: FilePolicy;
  readonly rules: FileRules;
  readonly around: Surroundings;
  /** `/` of this machine and of the pod. */
  readonly hostTop: readonly TopEntry[];
  readonly podTop: readonly TopEntry[];
  /** Whether this machine has a directory of that path, which is no link. */
  isHostDirectory(path: string): boolean;
  isHostFile(path: string): boolean;
  /** Whether it is a link of this machine's to a directory. */
  isHostLink(path: string): boolean;
  /** Whether the program may make files in a directory of this machine's. */
  isWritable(path: string): boolean;
  /** Names of the directories in a directory of this machine. */
  hostDirectories(path: string): readonly string[];
  /** Paths of files that the sandbox shows by itself. */
  readonly ownFiles: readonly string[];
  /** Directories that the launcher must reach without us. */
  readonly ownDirectories: readonly string[];
}

/** A step of making the root, in order. */
export type PlanStep =
  | {readonly show: 'host' | 'fuse' | 'empty'; readonly path: string}
  // Makes room for names in a directory that is shown by then; links of these names go.
  | {readonly thaw: readonly string[]; readonly path: string}
  | {readonly link: string; readonly path: string};

export interface MountPlan {
  readonly steps: readonly PlanStep[];
  /** Directories that FUSE must show whoever has them: something is mounted there. What each holds. */
  readonly scaffold: Map<string, Set<string>>;
  /** Places in this machine's directories that are shown only if the pod has something there. */
  readonly optional: readonly string[];
  /** Directories on the way to what patterns name, in FUSE: part of the scaffold if the pod has them. */
  readonly ways: readonly string[];
  /** Patterns that name no directory. */
  readonly vague: readonly string[];
}

/** Names that a command has room for. */
const thawLimit = 12;

/** Kernel directories can't be the pod's: they would not be the sandbox' own. */
const kernelDirectories = ['/proc', '/sys', '/dev'];

/** The path that a pattern begins with; undefined when it begins with none. A dot by itself is taken to mean a dot. */
export function literalStart(pattern: string): string | undefined {
  const text = pattern.replace(/^\^/, '').replaceAll(/\\([^A-Za-z0-9])/g, '\u0000$1');
  let start = '';
  for (let index = 0; index < text.length; index++) {
    const letter = text[index] ?? '';
    if (letter === '\u0000') start += text[++index] ?? '';
    else if (letter === '.' && !/[*+?{]/.test(text[index + 1] ?? '')) start += letter;
    else if (/[.*+?^${}()|[\]\\]/.test(letter)) {
      // What may be repeated or left out is not literal.
      if (/[*?{]/.test(letter)) start = start.slice(0, -1);
      break;
    } else start += letter;
  }
  return start.startsWith('/') ? start : undefined;
}

function isWithin(path: string, directory: string): boolean {
  return path === directory || path.startsWith(directory === '/' ? '/' : `${directory}/`);
}

export function planMounts(input: PlanInput): MountPlan {
  const {policy, rules, around, isHostDirectory} = input;
  const vague: string[] = [];

  const optional = new Set<string>();
  const thawed = new Map<string, string[]>();
  const links = new Set<string>();
  const ways = new Set<string>();
  const makeRoom = (directory: string, name: string): void => {
    const room = thawed.get(directory) ?? [];
    if (!room.includes(name)) thawed.set(directory, [...room, name]);
  };
  /** The place that must be FUSE's for a pattern to count. */
  const placeFor = (pattern: string): string | undefined => {
    const start = literalStart(pattern);
    if (start === undefined) {
      vague.push(pattern);
      return undefined;
    }
    const whole = posix.normalize(start);
    const path = whole.replace(/(?<=.)\/$/, '');
    for (let end = whole.indexOf('/', 1); end > 0; end = whole.indexOf('/', end + 1)) {
      ways.add(whole.slice(0, end));
    }
    // The first part that is no directory of this machine's decides.
    let directory = '/';
    for (const name of path.split('/').slice(1)) {
      const at = posix.join(directory, name);
      if (!isHostDirectory(at)) {
        const isLink = directory !== '/' && at !== path && input.isHostLink(at);
        if (at === path && input.isHostFile(at)) {
          optional.add(at);
          return at;
        }
        if (directory === '/' || input.isWritable(directory)) return directory;
        makeRoom(directory, name);
        if (!isLink) {
          optional.add(at);
          return at;
        }
        links.add(at);
      }
      directory = at;
    }
    return path;
  };
  const patterns = [
    ...rules.readOnly,
    ...rules.readWrite,
    ...rules.notFound,
    ...Object.keys(rules.mapping),
    ...(rules.mounted ?? []).map(treeRule),
  ];
  const hidden = hiddenInHome.map((name) => posix.join(around.home, name));
  const carved = [...new Set([...patterns.map(placeFor), ...remoteDirectories, ...hidden])]
    .filter((path): path is string => path !== undefined && path !== '' && path !== '/')
    .filter((path) => optional.has(path) || isHostDirectory(path))
    .filter((path) => !kernelDirectories.some((directory) => isWithin(path, directory)))
    .sort();

  const isLocal = (path: string): boolean =>
    ['read', 'write'].every((access) =>
      [path, `${path}/x`].every(
        (each) => policy.decide(each, access as 'read' | 'write').place === 'local',
      ),
    );
  const isOurTree = (path: string): boolean =>
    kernelDirectories.includes(path) || (isLocal(path) && !carved.includes(path));

  const steps: PlanStep[] = [];
  const fuse: string[] = [];
  const hostNames = new Map(input.hostTop.map((entry) => [entry.name, entry]));
  const names = new Map([...input.podTop, ...input.hostTop].map((entry) => [entry.name, entry]));
  // This machine's directories inside of what is FUSE's.
  const inner = [
    ...[...localDirectories, ...loaderDirectories, around.temporary, around.cwd],
    ...(around.installation === undefined ? [] : [around.installation]),
    ...hiddenDirectories(input),
  ].filter((path) => posix.dirname(path) !== '/' && isOurTree(path) && isHostDirectory(path));
  inner.push(...input.ownDirectories.filter(isHostDirectory));

  for (const name of names.keys()) {
    const path = `/${name}`;
    const host = hostNames.get(name);
    const pod = input.podTop.find((entry) => entry.name === name);
    // A pattern names what is in a directory that only the pod has.
    const isWay = host === undefined && pod?.kind === 'directory' && ways.has(path);
    if (isOurTree(path) && !isWay) {
      if (host?.kind === 'link') steps.push({path, link: host.target ?? ''});
      else if (host !== undefined && host.kind !== 'other') steps.push({show: 'host', path});
    } else if (pod?.kind === 'link') {
      steps.push({path, link: pod.target ?? ''});
    } else if (
      (pod !== undefined && pod.kind !== 'other') ||
      isWay ||
      carved.includes(path) ||
      inner.some((tree) => isWithin(tree, path)) ||
      (host !== undefined &&
        host.kind !== 'link' &&
        policy.decide(path, 'read').place === 'local') ||
      // What is written into it is written here.
      (host?.kind === 'directory' && policy.decide(path, 'write').place === 'local')
    ) {
      steps.push({show: 'fuse', path});
      fuse.push(path);
    }
  }
  /** What is seen at a path by the steps so far. */
  const seenBy = (path: string): string | undefined =>
    steps.findLast((step) => 'show' in step && isWithin(path, step.path))?.path;

  for (const [path, room] of [...thawed].sort()) {
    if (fuse.some((place) => isWithin(path, place)) || seenBy(path) === undefined) continue;
    if (kernelDirectories.some((directory) => isWithin(path, directory))) continue;
    steps.push({thaw: room.slice(0, thawLimit), path});
    for (const place of room.map((name) => posix.join(path, name))) {
      if (links.has(place)) steps.push({show: 'host', path: place});
    }
  }
  // What the pod has, or patterns change, in this machine's directories; the outer ones first.
  for (const path of carved) {
    if (fuse.some((place) => isWithin(path, place)) || seenBy(path) === undefined) continue;
    if (policy.decide(path, 'read').place === 'not-found') steps.push({show: 'empty', path});
    else {
      steps.push({show: 'fuse', path});
      fuse.push(path);
    }
  }
  // And this machine's in what is FUSE's by now.
  const shown = new Set<string>();
  for (const path of [...new Set(inner)].sort()) {
    const isInFuse = fuse.some((place) => isWithin(path, place));
    if (!isInFuse || [...shown].some((outer) => isWithin(path, outer))) continue;
    steps.push({show: 'host', path});
    shown.add(path);
  }
  // Files of the sandbox's own in a directory that is FUSE's by now.
  const files = input.ownFiles.filter((path) => fuse.some((place) => isWithin(path, place)));
  for (const path of files) steps.push({show: 'host', path});

  const served = [...ways]
    .filter((path) => fuse.some((place) => isWithin(path, place)))
    .filter((path) => policy.decide(policy.map(path), 'read').place === 'local');
  return {
    steps,
    scaffold: scaffoldOf([...fuse, ...shown]),
    optional: [...optional],
    ways: served,
    vague,
  };
}

/** Hidden directories in a home that is not this machine's as a whole (root's). */
function hiddenDirectories({around, hostDirectories}: PlanInput): string[] {
  const {home} = around;
  if (home === '/') return [];
  return hostDirectories(home)
    .filter((name) => name.startsWith('.'))
    .map((name) => posix.join(home, name));
}

/** All directories on the way to some paths, with the names that they hold, one character for each byte; or adds them. */
export function scaffoldOf(
  paths: readonly string[],
  scaffold = new Map<string, Set<string>>([['/', new Set()]]),
): Map<string, Set<string>> {
  for (const text of paths) {
    const path = Buffer.from(text).toString('latin1');
    let at = '/';
    for (const name of path.split('/').filter((part) => part !== '')) {
      scaffold.get(at)?.add(name);
      at = at === '/' ? `/${name}` : `${at}/${name}`;
      if (!scaffold.has(at)) scaffold.set(at, new Set());
    }
  }
  return scaffold;
}
