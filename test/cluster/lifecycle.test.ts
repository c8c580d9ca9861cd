import {execFileSync} from 'node:child_process';
import {mkdirSync, readdirSync, readFileSync} from 'node:fs';
import {networkInterfaces} from 'node:os';
import ava from 'ava';
import {clusterTest, TestCluster} from '../helpers/cluster.ts';
import {waitFor} from '../helpers/e2e.ts';
import {allProcesses, procFile, signalGroup} from '../helpers/processes.ts';
import type {ClusterStatus} from './node/status.ts';

const test = clusterTest(ava);
/** One of its own, besides that of the other files. */
const name = 'mirrord-test-lifecycle';
const cluster = new TestCluster(name);
const upLimitMs = 30 * 60_000;
/** etcd's, the API server's, the kubelet's, kube-proxy's, the controller manager's and the scheduler's. */
const componentPorts = [2379, 2380, 6443, 10248, 10249, 10250, 10256, 10257, 10259];

/** Directories of control groups that have the cluster's name. */
function groups(): string[] {
  const found = execFileSync('find', ['/sys/fs/cgroup', '-maxdepth', '2', '-name', name]);
  return String(found).split('\n').filter(Boolean);
}

/** What the machine has of a cluster of this name, and what a cluster could have changed of the machine. */
function traces() {
  const sysctls = [
    'vm/overcommit_memory',
    'vm/panic_on_oom',
    'kernel/panic',
    'kernel/panic_on_oops',
  ];
  return {
    processes: allProcesses()
      .filter(({pid, state}) => state !== 'Z' && procFile(pid, 'cgroup').includes(`/${name}`))
      .map(({command}) => command),
    mounts: readFileSync('/proc/self/mountinfo', 'utf8')
      .split('\n')
      .filter((line) => line.includes(name)),
    groups: groups(),
    files: ['/var/lib', '/run'].filter((directory) => readdirSync(directory).includes(name)),
    interfaces: Object.keys(networkInterfaces()).sort(),
    links: readdirSync('/sys/class/net').sort(),
    sysctls: sysctls.map((each) => `${each}=${readFileSync(`/proc/sys/${each}`, 'latin1')}`),
  };
}

test.serial.before('none is up', async () => {
  await cluster.command(['down']);
});

test.serial.after.always('none stays up', async () => {
  await cluster.command(['down']);
});

test.serial(
  'up makes a cluster of nothing; nothing of the machine changes; down leaves nothing',
  async (t) => {
    t.timeout(upLimitMs);
    const before = traces();
    t.like(before, {processes: [], mounts: [], groups: [], files: []});
    t.is(cluster.status().state, 'none');
    await cluster.command(['up']);
    const {state, components} = cluster.status();
    t.is(state, 'ready');
    const names = components.map((each) => each.name);
    for (const each of [
      'etcd',
      'containerd',
      'kube-apiserver',
      'kubelet',
      'kube-proxy',
      'coredns',
    ]) {
      t.true(names.includes(each), each);
    }
    const during = traces();
    t.true(during.processes.length >= names.length);
    t.not(during.groups.length, 0);
    t.deepEqual(during.files, ['/var/lib']);
    t.deepEqual(during.mounts, []);
    t.deepEqual(during.links, before.links);
    t.deepEqual(during.sysctls, before.sysctls);
    // Where the demo's user has a kubeconfig.
    mkdirSync(`/run/${name}`);
    await cluster.command(['down']);
    t.deepEqual(traces(), before);
  },
);

test.serial(
  "up again changes nothing; only the API server's port is open, and only on loopback",
  async (t) => {
    t.timeout(upLimitMs);
    const listening = listeners();
    await cluster.command(['up']);
    const first = cluster.status();
    await cluster.command(['up']);
    t.deepEqual(pids(cluster.status()), pids(first));
    const port = Number(new URL(first.server ?? '').port);
    const ports = [...componentPorts, port].map(hex);
    const opened = listeners().filter(
      (each) => !listening.includes(each) && ports.some((port) => each.endsWith(port)),
    );
    t.deepEqual(opened, [`0100007F${hex(port)}`]);
  },
);

test.serial('after the node was killed, up makes a new one', async (t) => {
  t.timeout(upLimitMs);
  const before = cluster.status();
  process.kill(Number(readFileSync(`/var/lib/${name}/node.pid`, 'latin1')), 'SIGKILL');
  await waitFor('its end', () => cluster.status().state === 'partial');
  await cluster.command(['up']);
  const after = cluster.status();
  t.is(after.state, 'ready');
  t.notDeepEqual(pids(after), pids(before));
  await cluster.command(['down']);
});

test.serial('down removes what an up that was killed has made', async (t) => {
  t.timeout(upLimitMs);
  const before = traces();
  const up = cluster.start(['up']);
  await waitFor('the API server', () =>
    traces().processes.some((command) => command.startsWith('kube-apiserver')),
  );
  signalGroup(up, 'SIGKILL');
  t.is(cluster.status().state, 'partial');
  await cluster.command(['down']);
  t.deepEqual(traces(), before);
});

function pids({components}: ClusterStatus): number[] {
  return components.map(({pid}) => pid).sort((a, b) => a - b);
}

function hex(port: number): string {
  return `:${port.toString(16).toUpperCase().padStart(4, '0')}`;
}

/** Addresses of listening TCP sockets of the machine, as /proc/net/tcp has them. */
function listeners(): string[] {
  return ['tcp', 'tcp6'].flatMap((file) =>
    readFileSync(`/proc/net/${file}`, 'latin1')
      .split('\n')
      .map((line) => line.trim().split(/\s+/))
      .filter((fields) => fields[3] === '0A')
      .map((fields) => fields[1] ?? ''),
  );
}
