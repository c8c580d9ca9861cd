/**
 * The files of a session: the root of its sandbox put together, and served.
 *
 * Order matters. The FUSE mount is made first and answered from then on, for the rest is bound from it. It is bound
 * by another process (`Launcher.batch`), since the launcher must not wait for us while we wait for it; and so
 * the program is started (`Launcher.execServed`). Whatever the launcher is told later must not name a path that
 * we serve: `isServed`.
 */

import {
  accessSync,
  constants,
  lstatSync,
  readdirSync,
  readlinkSync,
  realpathSync,
  statSync,
} from 'node:fs';
import {compileSooner} from '../../sockets/compile-sooner.ts';
import {type FileEntry, FileRequest, parseOpenedDirectory, SUBJECT} from '../../tunnel/files.ts';
import type {Mux} from '../../tunnel/mux.ts';
import type {Log} from '../log.ts';
import {fuseDevice, goNear, stayAwake} from '../native/native.ts';
import {makePrivate, runtimeDirectory} from '../runtime-directory.ts';
import type {Launcher} from '../sandbox/launcher.ts';
import {explainSandboxFailure} from '../sandbox/preconditions.ts';
import {kindOf, S_IFDIR, S_IFLNK, S_IFREG} from './attributes.ts';
import type {Surroundings} from './default-rules.ts';
import {type FileClient, FileError, hostFiles, type Identity, podFiles} from './file-client.ts';
import {FileServer, requestBytes} from './file-server.ts';
import {FileSystem} from './file-system.ts';
import {
  type MountPlan,
  type PlanStep,
  planMounts,
  scaffoldOf,
  type TopEntry,
} from './mount-plan.ts';
import {Nearness} from './nearness.ts';
import {type FilePolicy, type FileRules, filePolicy} from './policy.ts';
import {Sources} from './sources.ts';
import {Vigil} from './vigil.ts';

/** Requests that are read at once. */
const ringSlots = 8;
/** Entries of the pod's root that are looked at; no image has so many. */
const topLimit = 1000;
/** Room for as many, bytes. */
const topBytes = 262_144;

export interface FilesOptions {
  readonly rules: FileRules;
  /** Bytes that are read at first from a file of the pod (`feature.fs.readonly_file_buffer`). */
  readonly firstBytes: number;
  readonly around: Surroundings;
}

export interface ServeFilesOptions {
  readonly files: FilesOptions;
  readonly launcher: Launcher;
  readonly mux: Mux;
  /** Paths of files that the sandbox shows by itself. */
  readonly ownFiles: readonly string[];
  readonly warn: (message: string) => void;
  readonly log: Log;
}

export interface ServedFiles extends Disposable {
  /** Whether a path is served by us: the launcher must not be told to touch it. */
  isServed(path: string): boolean;
}

/** Makes the root of the sandbox and serves it; undefined where all files are this machine's. */
export async function serveFiles(options: ServeFilesOptions): Promise<ServedFiles | undefined> {
  const {rules, around} = options.files;
  const policy = filePolicy(rules, around);
  if (policy.mode === 'local') return undefined;
  const missing = deviceProblem();
  if (missing !== undefined) {
    options.warn(allLocal(missing));
    return undefined;
  }
  using stack = new DisposableStack();
  const pod = stack.use(podFiles(options.mux));
  let identity: Identity;
  let podTop: TopEntry[];
  try {
    // Together: each of them is a round trip.
    [identity, podTop] = await Promise.all([pod.hello(), listTop(pod)]);
  } catch (error) {
    if (!(error instanceof FileError)) throw error;
    options.warn(allLocal(explain(error)));
    return undefined;
  }
  const planned = planMounts({
    policy,
    rules,
    around,
    hostTop: hostTop(),
    podTop,
    isHostDirectory: (path) => lstatSync(path, {throwIfNoEntry: false})?.isDirectory() === true,
    isHostFile: (path) => lstatSync(path, {throwIfNoEntry: false})?.isFile() === true,
    isHostLink,
    isWritable,
    hostDirectories,
    ownFiles: options.ownFiles,
    ownDirectories: [sessionsPlace()],
  });
  for (const pattern of planned.vague) {
    options.warn(
      `feature.fs: ${pattern} names no directory, so this machine's own stay as they are`,
    );
  }
  const plan = await withoutAbsent(planned, pod);
  const systems = {
    pod: stack.use(
      new FileSystem(pod, {
        start: () => (options.mux.isClosed ? undefined : podFiles(options.mux)),
        onReplaced: () => options.warn(replaced("the pod's files, in the pod,")),
        now: () => performance.now(),
      }),
    ),
    host: stack.use(
      new FileSystem(hostFiles(), {
        start: hostFiles,
        onReplaced: () => options.warn(replaced("this machine's files")),
        now: () => performance.now(),
      }),
    ),
  };
  const served = await mount(options, {policy, plan, systems, identity});
  stack.use(served);
  const resources = stack.move();
  return {isServed: served.isServed, [Symbol.dispose]: () => resources.dispose()};
}

/** What a path is in the pod, its links followed; undefined: it has none. */
async function kindInPod(path: string, pod: FileClient): Promise<number | undefined> {
  try {
    return kindOf(
      await pod.request(new FileRequest('stat').u8(SUBJECT.followed).string(Buffer.from(path))),
    );
  } catch (error) {
    if (error instanceof FileError) return undefined;
    throw error;
  }
}

/** Leaves out what the pod has not; what is no directory there needs no place for others in it. */
async function withoutAbsent(plan: MountPlan, pod: FileClient): Promise<MountPlan> {
  const asked = new Set([...plan.optional, ...plan.ways]);
  const kinds = new Map(
    await Promise.all([...asked].map(async (path) => [path, await kindInPod(path, pod)] as const)),
  );
  const absent = plan.optional.filter((path) => kinds.get(path) === undefined);
  const ways = plan.ways.filter((path) => kinds.get(path) === S_IFDIR);
  const scaffold = scaffoldOf(ways, new Map(plan.scaffold));
  for (const path of plan.optional) {
    if (kinds.get(path) !== S_IFDIR) scaffold.delete(Buffer.from(path).toString('latin1'));
  }
  return {...plan, scaffold, steps: plan.steps.filter(({path}) => !absent.includes(path))};
}

/** Where the session's socket will be, which the launcher has to remove: it must be there to be mounted. */
function sessionsPlace(): string {
  const path = runtimeDirectory();
  makePrivate(path, 'MIRRORD_SESSIONS_UNSAFE');
  return path;
}

/** Why there can be no FUSE mount; undefined when there can. */
function deviceProblem(): string | undefined {
  try {
    accessSync('/dev/fuse', constants.R_OK | constants.W_OK);
    return undefined;
  } catch {
    return '/dev/fuse is missing or closed to this user (see: mirrord diagnose)';
  }
}

/** What a person is told who may have meant to read the pod's. */
function allLocal(why: string): string {
  return `all files are local: ${why}; with --fs-mode local nobody asks for others`;
}

/** What a person is told when what served files has died. */
function replaced(what: string): string {
  return `the process that served ${what} has ended; there is another one, but what was open is lost (EIO)`;
}

/** Why the pod's files can't be had, for a person. */
function explain({errno}: FileError): string {
  if (errno === 1 || errno === 13) {
    return "the agent may not look at the target's (EACCES): it takes SYS_PTRACE, and the target's user or root";
  }
  if (errno === 38) return 'the agent is older and serves none';
  return `the agent can't serve the target's (errno ${errno})`;
}

interface Mounting {
  readonly policy: FilePolicy;
  readonly plan: MountPlan;
  readonly systems: {readonly pod: FileSystem; readonly host: FileSystem};
  readonly identity: Identity;
}

async function mount(
  {files, launcher, log}: ServeFilesOptions,
  {policy, plan, systems, identity}: Mounting,
): Promise<ServedFiles> {
  const fd = openDevice(launcher);
  const ring = new Uint8Array(ringSlots * requestBytes);
  const lengths = new Uint32Array(ringSlots);
  const nearness = new Nearness({now: () => performance.now(), goNear});
  const server = new FileServer({
    sources: new Sources({policy, ...systems}),
    scaffold: plan.scaffold,
    identity,
    firstBytes: files.firstBytes,
    now: () => performance.now(),
    vigil: new Vigil({now: () => performance.now(), stayAwake}),
    nearness,
    // A request that was taken back meanwhile can't be answered: ENOENT.
    write: (head, parts) => device.write(head, head.length, parts, parts.length),
  });
  const device = fuseDevice.open({
    fd,
    ring,
    slotSize: requestBytes,
    lengths,
    onBatch(count) {
      for (let index = 0; index < count; index++) {
        const at = index * requestBytes;
        server.receive(ring.subarray(at, at + (lengths[index] ?? 0)));
      }
    },
  });
  const dispose = (): void => {
    log('files: counters', {
      server: server.counters,
      sizes: server.sizes,
      tricks: {...server.tricks, nearness: nearness.counters},
      pod: systems.pod.counters,
      host: systems.host.counters,
    });
    server[Symbol.dispose]();
    device[Symbol.dispose]();
  };
  try {
    await launcher.batch([...plan.steps.map(commandOf), ['root-enter']]);
  } catch (error) {
    dispose();
    throw explainSandboxFailure(step, error);
  }
  compileSooner();
  log('files: root', {steps: plan.steps});
  return {isServed: (path) => isServed(plan, path), [Symbol.dispose]: dispose};
}

const step = "make a root of the pod's files and this machine's";

/** Begins the root and mounts FUSE in it. Returns the device, which is the caller's. */
function openDevice(launcher: Launcher): number {
  try {
    launcher.command('root-begin');
    return launcher.open('fuse').fd;
  } catch (error) {
    throw explainSandboxFailure(step, error);
  }
}

function commandOf(step: PlanStep): [string, ...string[]] {
  if ('link' in step) return ['root-link', step.path, step.link];
  if ('thaw' in step) return ['root-thaw', step.path, ...step.thaw];
  return ['root-show', step.show, step.path];
}

function isServed({steps}: MountPlan, path: string): boolean {
  const step = steps.findLast(({path: place}) => path === place || path.startsWith(`${place}/`));
  return step !== undefined && 'show' in step && step.show === 'fuse';
}

function hostTop(): TopEntry[] {
  return readdirSync('/', {withFileTypes: true}).map((entry) => {
    const {name} = entry;
    if (entry.isSymbolicLink()) return {name, kind: 'link', target: readlinkSync(`/${name}`)};
    return {name, kind: entry.isDirectory() ? 'directory' : entry.isFile() ? 'file' : 'other'};
  });
}

/** A link into the directory that the root is made in could not be followed from there. */
function isHostLink(path: string): boolean {
  try {
    const isLink = lstatSync(path).isSymbolicLink() && statSync(path).isDirectory();
    return isLink && !`${realpathSync(path)}/`.startsWith('/tmp/');
  } catch {
    return false; // not there, or it leads nowhere
  }
}

function isWritable(path: string): boolean {
  try {
    accessSync(path, constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

function hostDirectories(path: string): string[] {
  try {
    return readdirSync(path, {withFileTypes: true})
      .filter((entry) => entry.isDirectory())
      .map(({name}) => name);
  } catch {
    return []; // not there, or not to be looked at: then nobody uses it
  }
}

/** What is in the pod's root: two round trips. */
async function listTop(pod: FileClient): Promise<TopEntry[]> {
  const ask = new FileRequest('opendir').string(Buffer.from('/')).u32(topBytes);
  const {handle, entries} = parseOpenedDirectory(await pod.request(ask));
  const [top] = await Promise.all([
    Promise.all(entries.slice(0, topLimit).map((entry) => topEntry(pod, entry))),
    pod.request(new FileRequest('close').u32(handle)),
  ]);
  return top;
}

async function topEntry(pod: FileClient, {name: bytes, attributes}: FileEntry): Promise<TopEntry> {
  const name = Buffer.from(bytes).toString();
  const kind = kindOf(attributes);
  if (kind === S_IFLNK) return {name, kind: 'link', target: await readLink(pod, `/${name}`)};
  if (kind === S_IFDIR) return {name, kind: 'directory'};
  return {name, kind: kind === S_IFREG ? 'file' : 'other'};
}

async function readLink(pod: FileClient, path: string): Promise<string> {
  const target = await pod.request(new FileRequest('readlink').string(Buffer.from(path)));
  return Buffer.from(target).toString();
}
