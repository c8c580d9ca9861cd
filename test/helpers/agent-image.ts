/**
 * The agent's image of this checkout in the test cluster. It is built once for what is in it, kept outside of
 * the tree, and named after its content: a node never takes an old one for a new one.
 */

import {createHash} from 'node:crypto';
import {existsSync, globSync, mkdirSync, readFileSync, renameSync, rmSync, statSync} from 'node:fs';
import {homedir} from 'node:os';
import {join} from 'node:path';
import {fileURLToPath} from 'node:url';
import type {TestFn} from 'ava';
import {output} from '../cluster/node/process.ts';
import type {TestCluster} from './cluster.ts';

const repository = fileURLToPath(new URL('../..', import.meta.url));
const contents = [
  'agent/**/*.ts',
  'sockets/**/*.ts',
  'tunnel/**/*.ts',
  'package-lock.json',
  'build/linux-*/{launcher,redirected.node,socket.node}',
  'scripts/agent-image.ts',
  'scripts/lib/{agent-root,oci-image.ts,tar.ts}',
];
/** The first time packages are downloaded, milliseconds. */
const buildLimitMs = 10 * 60_000;
/** Each has more than 100 MiB. */
const keptImages = 3;

function imageName(): string {
  const hash = createHash('sha256');
  for (const file of globSync(contents, {cwd: repository}).sort()) {
    hash.update(`${file}\0`).update(readFileSync(join(repository, file)));
  }
  return `mirrord.test/agent:${hash.digest('hex').slice(0, 16)}`;
}

/** Builds the image unless it is there. Returns the file. */
async function build(name: string): Promise<string> {
  const cache = process.env['XDG_CACHE_HOME'] || join(homedir(), '.cache');
  const directory = join(cache, 'mirrord-agent-image');
  const file = join(directory, `${name.replace(/.*:/, '')}.tar`);
  if (existsSync(file)) return file;
  mkdirSync(directory, {recursive: true});
  const unfinished = `${file}.${process.pid}`;
  const flags = ['--output', unfinished, '--tag', name];
  await output(join(repository, 'scripts/agent-image'), flags);
  renameSync(unfinished, file);
  forgetOld(directory);
  return file;
}

/** Removes all images but the last few, which other checkouts may be using. */
function forgetOld(directory: string): void {
  const files = globSync('*.tar', {cwd: directory}).map((name) => join(directory, name));
  const byAge = files.sort((one, other) => statSync(other).mtimeMs - statSync(one).mtimeMs);
  for (const file of byAge.slice(keptImages)) rmSync(file, {force: true});
}

/** Gives the cluster the agent's image, which is built if need be. Returns its name. */
export async function giveAgentImage(cluster: TestCluster, name = imageName()): Promise<string> {
  await cluster.loadImage(await build(name));
  return name;
}

/** Gives the cluster the agent's image before the tests of a file. Returns its name. */
export function useAgentImage(test: TestFn, cluster: TestCluster): string {
  const name = imageName();
  test.serial.before("the cluster has the agent's image", async (t) => {
    t.timeout(buildLimitMs);
    await giveAgentImage(cluster, name);
  });
  return name;
}
