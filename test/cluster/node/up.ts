/**
 * Brings the cluster up: builds what isn't built, starts the node, and waits until it is ready for pods.
 *
 * The node is process 1 of its own namespaces (`init.sh`), and all that it starts. It is made in steps whose
 * traces are where `down` looks for them: the control group with its processes, and the cluster's directory.
 * `cluster.json`, which says that a cluster is complete, comes last.
 */

import {spawn} from 'node:child_process';
import {
  accessSync,
  constants,
  cpSync,
  mkdirSync,
  openSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import {get} from 'node:https';
import {delimiter, join} from 'node:path';
import {fileURLToPath} from 'node:url';
import {build, pinnedVersion} from './build.ts';
import {groupsOf, makeGroups} from './cgroups.ts';
import {down} from './down.ts';
import {writeImages} from './images.ts';
import {kubeconfig, makePki} from './pki.ts';
import {
  type ClusterInfo,
  clusterInfo,
  clusterName,
  inCluster,
  kubeconfigPath,
  nodePid,
} from './place.ts';
import {handOutPort} from './port.ts';
import {ClusterError, output, say, waitUntil} from './process.ts';

const here = fileURLToPath(new URL('.', import.meta.url));
const kubernetes = 'k8s.io/kubernetes';

/** What the node needs of this machine, and the Debian packages that have it. */
const requirements: Readonly<Record<string, string>> = {
  runc: 'runc',
  iptables: 'iptables',
  ip: 'iproute2',
  openssl: 'openssl',
  curl: 'curl',
  cc: 'gcc libc6-dev',
  nsenter: 'util-linux',
  dig: 'bind9-dnsutils',
  'redis-server': 'redis-server',
};

const startLimitMs = 30_000;
const readyLimitMs = 120_000;
const waitFlag = `--timeout=${readyLimitMs / 1000}s`;

function isInstalled(program: string): boolean {
  const path = `${process.env['PATH'] ?? ''}${delimiter}/usr/sbin${delimiter}/sbin`;
  return path.split(delimiter).some((directory) => {
    try {
      accessSync(join(directory, program), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

function checkRequirements(): void {
  const missing = Object.keys(requirements).filter((program) => !isInstalled(program));
  if (missing.length === 0) return;
  const packages = missing.map((program) => requirements[program]).join(' ');
  throw new ClusterError(`${missing.join(', ')} missing: apt-get install ${packages}`);
}

async function makeDirectory(programs: string): Promise<void> {
  mkdirSync(inCluster(), {mode: 0o700});
  for (const name of ['root', 'bin', 'log', 'images', 'tools']) mkdirSync(inCluster(name));
  for (const name of ['etcd', 'containerd', 'kubelet', 'cni']) {
    mkdirSync(inCluster('data', name), {recursive: true, mode: 0o700});
  }
  cpSync(join(here, 'etc'), inCluster('etc'), {recursive: true});
  symlinkSync(join(programs, 'kubectl'), inCluster('tools/kubectl'));
  await makePki(inCluster('pki'), 'https://127.0.0.1:6443');
  await writeImages(inCluster('images'), programs);
}

/** The end of a log of the cluster's, for a message. */
function endOfLog(name: string): string {
  return readFileSync(inCluster('log', name), 'utf8').split('\n').slice(-20).join('\n');
}

/** Starts process 1 of the node and returns its number. */
async function startNode(programs: string): Promise<number> {
  const log = openSync(inCluster('log/init.log'), 'a');
  const namespaces = ['--mount', '--pid', '--net', '--uts', '--ipc', '--fork', '--kill-child'];
  const groups = groupsOf(clusterName());
  const init = [join(here, 'init.sh'), clusterName(), inCluster(), programs, ...groups];
  const child = spawn('unshare', [...namespaces, ...init], {
    cwd: '/',
    env: {PATH: '/usr/sbin:/usr/bin:/sbin:/bin'},
    detached: true,
    stdio: ['ignore', log, log],
  });
  child.unref();
  await waitUntil('the node has started', startLimitMs, () => {
    if (child.exitCode !== null) throw new ClusterError(`no node:\n${endOfLog('init.log')}`);
    return nodePid() !== undefined;
  });
  return nodePid() ?? 0;
}

/** Gives the API server a port on this machine, and returns its address. */
async function openPort(node: number): Promise<string> {
  const port = await handOutPort(node, openSync(inCluster('log/port.log'), 'a'), (pid) => {
    // It is the node's, too, and ends with it.
    for (const group of groupsOf(clusterName())) {
      writeFileSync(join(group, 'system/cgroup.procs'), String(pid));
    }
  });
  return `https://127.0.0.1:${port}`;
}

/** Whether the API server says that it is ready. */
export async function isReady(server: string): Promise<boolean> {
  const ca = readFileSync(inCluster('pki/ca.crt'));
  const {promise, resolve} = Promise.withResolvers<boolean>();
  const request = get(`${server}/readyz`, {ca, agent: false, timeout: 5_000}, (response) => {
    response.resume();
    resolve(response.statusCode === 200);
  });
  request.on('timeout', () => request.destroy());
  request.on('error', () => resolve(false));
  return await promise;
}

/** Runs the cluster's kubectl as its administrator and returns what it wrote. */
export async function kubectl(args: readonly string[], input?: string): Promise<string> {
  const env = {...process.env, KUBECONFIG: kubeconfigPath()};
  return await output(inCluster('tools/kubectl'), args, {
    env,
    ...(input === undefined ? {} : {input}),
  });
}

async function waitForApiServer(server: string): Promise<void> {
  await waitUntil('the API server is ready', readyLimitMs, async () => {
    if (nodePid() === undefined) throw new ClusterError(`the node ended:\n${endOfLog('init.log')}`);
    return await isReady(server);
  });
}

async function waitForNode(): Promise<void> {
  // Pods need the account besides the node.
  await kubectl(['wait', '--for=create', 'serviceaccount/default', waitFlag]);
  await kubectl(['wait', '--for=create', 'node/node', waitFlag]);
  await kubectl(['wait', '--for=condition=Ready', 'node/node', waitFlag]);
  await kubectl(['rollout', 'status', '-n', 'kube-system', 'deployment/coredns', waitFlag]);
}

async function start(programs: string): Promise<ClusterInfo> {
  const startedAt = new Date();
  const since = (): string => `${((Date.now() - startedAt.getTime()) / 1000).toFixed(1)} s`;
  makeGroups(clusterName());
  await makeDirectory(programs);
  say(`${since()}: keys and images are made`);
  const server = await openPort(await startNode(programs));
  writeFileSync(kubeconfigPath(), kubeconfig(inCluster('pki'), 'admin', server), {mode: 0o600});
  await waitForApiServer(server);
  say(`${since()}: the API server is ready`);
  await kubectl(['create', '--validate=false', '-f', join(here, 'system.yaml')]);
  await waitForNode();
  say(`${since()}: the node is ready`);
  const info: ClusterInfo = {
    server,
    kubernetes: pinnedVersion(kubernetes),
    startedAt: startedAt.toISOString(),
  };
  writeFileSync(inCluster('cluster.json'), JSON.stringify(info));
  return info;
}

/** Makes sure that a cluster is up and ready. Throws `ClusterError` if it can't be, and says why. */
export async function up(): Promise<ClusterInfo> {
  const info = clusterInfo();
  if (info !== undefined && nodePid() !== undefined) {
    await waitForApiServer(info.server);
    await waitForNode();
    return info;
  }
  const programs = await build();
  checkRequirements();
  // What a cluster left that didn't come to its end as it should.
  await down();
  try {
    return await start(programs);
  } catch (error) {
    say(`what it said is in ${inCluster('log')}`);
    throw error;
  }
}
