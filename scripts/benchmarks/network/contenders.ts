/**
 * The ways from a program to a server that are compared, and how each is set up: with a load client where the program
 * would be, that has the same server to talk to.
 *
 *   loopback              client and server in one network: the limit
 *   mirrord               `mirrord exec -t process/PID`, the server in that process' network: sandbox, tunnel, agent
 *   mirrord, local        the same, but a filter makes the server's address this machine's: no tunnel, no agent
 *   slirp4netns, pasta    a namespace with the helper's tap device, at two MTUs
 *
 * On this machine all reach the same server process; but for mirrord, whose server is another process in the pod's
 * network, which the agent reaches by its loopback.
 */

import {execFileSync} from 'node:child_process';
import {readFileSync, writeFileSync} from 'node:fs';
import os from 'node:os';
import {join} from 'node:path';
import {BenchError} from './error.ts';
import type {LoadPorts, LoadProcess} from './load.ts';
import {mirrordPath, type Person} from './person.ts';
import {Processes, pidOf, until} from './processes.ts';
import {descendants} from './usage.ts';

export const contenderNames = [
  'loopback',
  'mirrord',
  'mirrord, local',
  'slirp4netns, MTU 1500',
  'slirp4netns, MTU 65520',
  'pasta, MTU 1500',
  'pasta, MTU 65520',
] as const;
/** `kernel TCP` is what mirrord is compared with on a link with a delay (delayed.ts). */
export type ContenderName = (typeof contenderNames)[number] | 'kernel TCP';

export interface Contender {
  readonly load: LoadProcess;
  /** Where the load client finds the server. */
  readonly host: string;
  readonly ports: LoadPorts;
  /** The processes that carry the traffic; mirrord's first, then the agent's. */
  readonly carriers: readonly number[];
}

export interface Contenders extends AsyncDisposable {
  readonly all: ReadonlyMap<ContenderName, Contender>;
}

/** For documentation and benchmarks (RFC 2544): nobody's. In the pod each of them is local. */
const podNetwork = '198.18.0.0/24';
const podServer = '198.18.0.1';
const podAddress = '198.18.1.2/24';
/** slirp4netns' address for this machine's loopback; pasta gets the same. */
const peerGateway = '10.0.2.2';
const peerAddress = '10.0.2.100';

/** The congestion control of the sandbox, in the peers' namespaces too: a machine's BBR paces on a link that can't be full. */
const congestionControl = `for each in reno cubic; do
  echo $each 2>/dev/null >/proc/sys/net/ipv4/tcp_congestion_control && break
done`;

/** Prepares the pod: an interface with address and MTU, and a network that is local. */
const podSetUp = `set -e
ip link set lo up
ip link add eth0 type veth peer name peer0
ip addr add ${podAddress} dev eth0
ip link set eth0 up
ip link set peer0 up
ip route add local ${podNetwork} dev lo
exec "$0" serve`;

/** This machine's own address, which a namespace can tell from its own loopback. */
function machineAddress(): string {
  const addresses = Object.values(os.networkInterfaces()).flatMap((each) => each ?? []);
  const found = addresses.find(({family, internal}) => family === 'IPv4' && !internal);
  if (found === undefined) throw new BenchError('this machine has no IPv4 address but loopback');
  return found.address;
}

/** Whether a process' network has a default route by this device. */
function hasRoute(pid: number, device: string): boolean {
  return readFileSync(`/proc/${pid}/net/route`, 'latin1').includes(`${device}\t00000000\t`);
}

/** Throws a BenchError when a program is not installed. */
export function needProgram(name: string, debianPackage: string): void {
  try {
    execFileSync('sh', ['-c', `command -v ${name}`], {stdio: 'ignore'});
  } catch {
    throw new BenchError(`${name} is not installed: scripts/setup --bench (${debianPackage})`);
  }
}

/** Starts servers and the wanted contenders; each answers when this resolves. */
export async function openContenders(
  person: Person,
  load: string,
  wanted: readonly ContenderName[],
): Promise<Contenders> {
  const all = new Map<ContenderName, Contender>();
  const processes = new Processes(person);
  const here = processes.start('server', [load, 'serve']);
  const herePorts = await here.said<LoadPorts>();
  const hereAddress = machineAddress();

  async function openPod(): Promise<{pid: number; ports: LoadPorts}> {
    const namespaces = ['unshare', '--user', '--map-root-user', '--net', '--uts', '--'];
    const pod = processes.start('pod', [...namespaces, 'sh', '-c', podSetUp, load]);
    return {ports: await pod.said<LoadPorts>(), pid: pidOf(pod)};
  }
  let pod: ReturnType<typeof openPod> | undefined;

  async function openMirrord(name: 'mirrord' | 'mirrord, local'): Promise<Contender> {
    pod ??= openPod();
    const {pid, ports} = await pod;
    const isLocal = name !== 'mirrord';
    const filter = isLocal ? {filter: {local: [hereAddress]}} : {};
    const file = join(person.directory, `${isLocal ? 'local' : 'tunnel'}.json`);
    const config = {
      target: `process/${pid}`,
      feature: {network: {incoming: 'off', outgoing: filter}, fs: 'local'},
    };
    writeFileSync(file, JSON.stringify(config), {mode: 0o644});
    const client = await processes.startClient(name, [
      mirrordPath,
      'exec',
      '-f',
      file,
      '--',
      load,
      'client',
    ]);
    const own = pidOf(client);
    const agents = (): number[] => descendants(own, 'agent/main.ts');
    const carriers = [own, ...agents()];
    return isLocal
      ? {load: client, host: hereAddress, ports: herePorts, carriers}
      : {load: client, host: podServer, ports, carriers};
  }

  /** A client in a namespace of its own, with a device that a helper gives it. */
  async function openPeer(
    name: ContenderName,
    device: string,
    helper: (pid: number) => readonly string[],
  ): Promise<Contender> {
    const namespaces = ['unshare', '--user', '--map-root-user', '--net', '--'];
    const script = `${congestionControl}; ip link set lo up; exec "$0" client`;
    const client = await processes.startClient(name, [...namespaces, 'sh', '-c', script, load]);
    const pid = pidOf(client);
    const running = processes.start(name, helper(pid));
    await until(`${name} to be ready`, () => {
      if (running.child.exitCode !== null) throw new BenchError(`${name} does not start`);
      return hasRoute(pid, device);
    });
    return {load: client, host: peerGateway, ports: herePorts, carriers: [pidOf(running)]};
  }

  const open = async (name: ContenderName): Promise<Contender> => {
    switch (name) {
      case 'kernel TCP':
        throw new Error(`${name} has a link of its own`);
      case 'loopback':
        return {
          load: await processes.startClient(name, [load, 'client']),
          host: hereAddress,
          ports: herePorts,
          carriers: [],
        };
      case 'mirrord':
      case 'mirrord, local':
        return await openMirrord(name);
      case 'slirp4netns, MTU 1500':
      case 'slirp4netns, MTU 65520':
        return await openPeer(name, 'tap0', (pid) => {
          const mtu = name.split(' ').at(-1);
          return ['slirp4netns', '--configure', `--mtu=${mtu}`, String(pid), 'tap0'];
        });
      case 'pasta, MTU 1500':
      case 'pasta, MTU 65520':
        return await openPeer(name, 'tap0', (pid) => {
          const mtu = name.split(' ').at(-1) ?? '';
          const addresses = ['-a', peerAddress, '-n', '24', '-g', peerGateway];
          const ports = ['-t', 'none', '-u', 'none', '-T', 'none', '-U', 'none'];
          const device = ['--config-net', '-I', 'tap0', '-m', mtu];
          return ['pasta', '-f', ...device, ...addresses, ...ports, String(pid)];
        });
    }
  };

  try {
    for (const name of wanted) all.set(name, await open(name));
  } catch (error) {
    await processes[Symbol.asyncDispose]();
    throw error;
  }
  return {all, [Symbol.asyncDispose]: () => processes[Symbol.asyncDispose]()};
}
