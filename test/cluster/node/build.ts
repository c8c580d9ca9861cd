/**
 * The test cluster's programs, built by Go from the published modules that `modules/` pins, once.
 *
 * Each directory of `modules/` is a Go module that only names programs of others (its `tool` lines) and
 * pins all that they are made of (go.sum). They are apart because each project is then built with the
 * versions that it was released with. The results lie outside the checkout, in
 * `~/.cache/mirrord-test-cluster/<hash of the pins and of how they are built>/bin`.
 */

import {spawnSync} from 'node:child_process';
import {createHash} from 'node:crypto';
import {existsSync, mkdirSync, readFileSync, renameSync, rmSync} from 'node:fs';
import os from 'node:os';
import {join} from 'node:path';
import {fileURLToPath} from 'node:url';
import {ClusterError, run, say} from './process.ts';

interface Module {
  directory: string;
  /** The Go module whose version `stamps` are given. */
  of: string;
  /** Variables of the programs that tell their version, for the linker. */
  stamps: readonly string[];
  /** Programs that Go would name otherwise: what it builds, and where. */
  renamed?: readonly [program: string, file: string];
}

const modules: readonly Module[] = [
  {
    directory: 'containerd',
    of: 'github.com/containerd/containerd/v2',
    stamps: ['github.com/containerd/containerd/v2/version.Version'],
  },
  {directory: 'cni', of: 'github.com/containernetworking/plugins', stamps: []},
  {directory: 'coredns', of: 'github.com/coredns/coredns', stamps: []},
  {
    directory: 'kubernetes',
    of: 'k8s.io/kubernetes',
    stamps: ['k8s.io/component-base/version.gitVersion', 'k8s.io/client-go/pkg/version.gitVersion'],
    renamed: ['server', 'etcd'],
  },
];

const flags = ['-trimpath', '-buildvcs=false'];
const environment = {CGO_ENABLED: '0'};
const here = fileURLToPath(new URL('modules/', import.meta.url));
const self = fileURLToPath(import.meta.url);

function pins(module: Module): string[] {
  return ['go.mod', 'go.sum'].map((name) =>
    readFileSync(join(here, module.directory, name), 'utf8'),
  );
}

/** The version of a Go module that `modules/` pins, as `v1.36.2`. */
export function pinnedVersion(of: string): string {
  const module = modules.find((each) => each.of === of);
  const version =
    module && new RegExp(`^\\s*(?:require )?${of} (v\\S+)`, 'm').exec(pins(module)[0] ?? '')?.[1];
  if (version === undefined) throw new Error(`no module pins ${of}`);
  return version;
}

function recipe(): string {
  const hash = createHash('sha256');
  const how = {modules, flags, environment, architecture: process.arch};
  for (const part of [JSON.stringify(how), ...modules.flatMap(pins)]) hash.update(`${part}\0`);
  return hash.digest('hex').slice(0, 16);
}

function cacheDirectory(): string {
  const cache = process.env['XDG_CACHE_HOME'] || join(os.homedir(), '.cache');
  return join(cache, 'mirrord-test-cluster');
}

/** Where the programs are, or will be. */
export function programDirectory(): string {
  return join(cacheDirectory(), recipe(), 'bin');
}

/** Whether they are there. */
export function isBuilt(): boolean {
  return existsSync(programDirectory());
}

/** Whether a Go is installed here that can get the one that `modules/` ask for. */
export function hasGo(): boolean {
  const {stdout} = spawnSync('go', ['version'], {encoding: 'utf8'});
  const [, major, minor] = /go(\d+)\.(\d+)/.exec(stdout ?? '') ?? [];
  return Number(major) > 1 || Number(minor) >= 21;
}

async function buildModule(module: Module, into: string): Promise<void> {
  say(`building ${module.of} ${pinnedVersion(module.of)}`);
  const version = pinnedVersion(module.of);
  const stamps = module.stamps.map((name) => ` -X ${name}=${version}`).join('');
  // "tool" stands for all programs that go.mod names as tools.
  // Whatever else runs, as the tests that needn't wait for it, goes first.
  await run(
    'nice',
    ['-n', '19', 'go', 'build', ...flags, '-ldflags', `-s -w${stamps}`, '-o', into, 'tool'],
    {
      cwd: join(here, module.directory),
      env: {...process.env, ...environment},
    },
  );
  if (module.renamed) renameSync(join(into, module.renamed[0]), join(into, module.renamed[1]));
}

async function buildAll(): Promise<void> {
  const final = programDirectory();
  // Whoever had the lock before us may have built them.
  if (isBuilt()) return;
  const building = `${final}.building`;
  rmSync(building, {recursive: true, force: true});
  mkdirSync(building, {recursive: true});
  for (const module of modules) await buildModule(module, `${building}/`);
  renameSync(building, final);
}

/**
 * Builds what isn't built yet, which takes minutes, and returns the directory with the programs. Of
 * several who call it at a time, one builds and the others wait.
 */
export async function build(): Promise<string> {
  if (!isBuilt()) {
    if (!hasGo()) {
      throw new ClusterError('the test cluster is built by Go, 1.21 or newer: https://go.dev/dl');
    }
    mkdirSync(cacheDirectory(), {recursive: true});
    await run('flock', ['-o', join(cacheDirectory(), 'lock'), process.execPath, self]);
  }
  return programDirectory();
}

if (process.argv[1] === self) await buildAll();
