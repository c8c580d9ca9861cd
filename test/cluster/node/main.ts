/**
 * `scripts/cluster`: the test cluster's command line.
 */

import {spawn} from 'node:child_process';
import {once} from 'node:events';
import {copyFileSync, rmSync} from 'node:fs';
import os from 'node:os';
import {basename} from 'node:path';
import {build} from './build.ts';
import {down} from './down.ts';
import {inCluster, inNode, kubeconfigPath} from './place.ts';
import {ClusterError, output} from './process.ts';
import {describeStatus, status} from './status.ts';
import {up} from './up.ts';

/** Runs a program with this one's terminal, and ends as it does. */
async function become([file, args]: [string, readonly string[]], env = process.env): Promise<void> {
  const child = spawn(file, args, {stdio: 'inherit', env});
  const [code, signal] = (await once(child, 'exit')) as [number | null, NodeJS.Signals | null];
  process.exitCode = code ?? 128 + os.constants.signals[signal ?? 'SIGHUP'];
}

/** Gives the node an image of a tar file, as `writeImage` makes them. */
async function loadImage(file: string): Promise<void> {
  const name = basename(file);
  // So that the node sees it, too.
  const copy = inCluster('images', `loading-${process.pid}-${name}`);
  const [program, args] = inNode(['ctr', '--namespace', 'k8s.io', 'images', 'import']);
  copyFileSync(file, copy);
  try {
    process.stdout.write(await output(program, [...args, `/cluster/images/${basename(copy)}`]));
  } finally {
    rmSync(copy);
  }
}

async function showStatus(args: readonly string[]): Promise<void> {
  const now = await status();
  const asJson = args.join(' ') === '-o json';
  process.stdout.write(asJson ? `${JSON.stringify(now, undefined, 2)}\n` : describeStatus(now));
  if (now.state !== 'ready') process.exitCode = 1;
}

const commands: Readonly<Record<string, (args: string[]) => unknown>> = {
  build: async () => process.stdout.write(`${await build()}\n`),
  up: async () => {
    await up();
    process.stdout.write(`${kubeconfigPath()}\n`);
  },
  down,
  status: showStatus,
  env: () => {
    process.stdout.write(
      `export KUBECONFIG=${kubeconfigPath()} PATH="${inCluster('tools')}:$PATH"\n`,
    );
  },
  kubectl: (args) =>
    become([inCluster('tools/kubectl'), args], {...process.env, KUBECONFIG: kubeconfigPath()}),
  exec: (args) => become(inNode(args.length > 0 ? args : ['sh'])),
  'load-image': async (files) => {
    for (const file of files) await loadImage(file);
  },
};

const [name = '', ...rest] = process.argv.slice(2);
try {
  const command = Object.hasOwn(commands, name) ? commands[name] : undefined;
  if (command === undefined) throw new ClusterError(`no such command: ${name}`);
  await command(rest);
} catch (error) {
  if (!(error instanceof ClusterError)) throw error;
  process.stderr.write(`cluster: ${error.message}\n`);
  process.exitCode = 1;
}
