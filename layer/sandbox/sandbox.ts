/**
 * The sandbox: namespaces that look like the pod, made without root, with a TUN device handed out.
 *
 * Theory of operation. `createSandbox` starts the launcher and gives it its commands in the order in
 * which they depend on each other: namespaces; the TUN device, which needs a capability in the new
 * user namespace; kernel settings, which must precede `up` (IPv6 configures itself then); addresses;
 * routes; host name and files. The program is started later (`program.ts`). Everything ends with the
 * launcher, and that with us.
 *
 * A step that only makes the illusion better (`attempt`) may fail; the others end the attempt with an
 * explanation. Nothing is written to the disk outside.
 */

import {existsSync, readFileSync} from 'node:fs';
import {isIPv6} from 'node:net';
import {dirname} from 'node:path';
import {openDiagnostics} from '../listeners/watch.ts';
import type {Log} from '../log.ts';
import {SystemError} from '../native/native.ts';
import {Launcher} from './launcher.ts';
import {explainSandboxFailure} from './preconditions.ts';
import {isPrivileged} from './privilege.ts';
import {replaceNsswitch, resolverSockets} from './resolver.ts';

/** The name of the TUN device: what a pod's interface is called. */
export const deviceName = 'eth0';

/**
 * Packets the device may hold for us (`txqueuelen`). The kernel's default of 500 overflows while our
 * loop is busy, silently; 10,000 is the most that was measured to be of use.
 */
const deviceQueue = 10_000;
/** TUN_F_TSO4 | TUN_F_TSO6 (Linux include/uapi/linux/if_tun.h). */
const tsoOffloads = 0x06;

export interface SandboxOptions {
  argv: readonly string[];
  env: NodeJS.ProcessEnv;
  cwd?: string;
  /** What is open for the program, ascending. */
  descriptors: readonly number[];
  hostname: string;
  /** The pod's own addresses, as text. */
  addresses: readonly string[];
  /** Whether the program has IPv6. Without it, sockets of that family can't be made. */
  ipv6: boolean;
  /** The pod's MTU, bytes. */
  mtu: number;
  /** The pod's ephemeral ports, as in net.ipv4.ip_local_port_range, if known. */
  portRange?: string;
  /** Files of the pod that the program sees instead of the local ones. */
  files: readonly {path: string; content: string}[];
  /** Whether this machine's own listeners will be looked at. */
  hostDiagnostics: boolean;
  log: Log;
}

export interface Sandbox extends Disposable {
  readonly launcher: Launcher;
  /** The TUN device, non-blocking, with virtio_net_hdr; the caller's to close. */
  readonly tunFd: number;
  /** What TCP windows may be together, bytes, so that the device's queue holds them; undefined: any. */
  readonly windowBudget: number | undefined;
  /** A netlink socket of this machine's namespace for sock_diag; the caller's to close. */
  readonly hostDiagnostics: number | undefined;
  /** Paths of the files that replace local ones. */
  readonly ownFiles: readonly string[];
  /** The text of a file that replaces a local one; empty when there is none. */
  text(path: string): string;
}

/** Runs a step that the program can do without. */
function attempt(options: SandboxOptions, step: string, act: () => void): void {
  try {
    act();
  } catch (error) {
    options.log('sandbox: skipped', {step, error: String(error)});
  }
}

/** Kernel settings of the new network namespace (Linux Documentation/networking/ip-sysctl.rst). */
function configureKernel(launcher: Launcher, options: SandboxOptions): void {
  const group = process.getegid?.() ?? 0;
  const settings: [string, string | number][] = [
    // A pod's program may listen below 1024, and ping without a capability; a new namespace allows neither.
    ['net.ipv4.ip_unprivileged_port_start', 0],
    ['net.ipv4.ping_group_range', `${group} ${group}`],
    // A host's bbr paces on a link that has no queue.
    ['net.ipv4.tcp_congestion_control', 'reno'],
    ['net.ipv4.tcp_congestion_control', 'cubic'],
    // Large from the beginning: the first megabytes need not wait for the kernel to enlarge them.
    ['net.ipv4.tcp_rmem', '4096 1048576 33554432'],
    ['net.ipv4.tcp_wmem', '4096 1048576 33554432'],
    ['net.core.somaxconn', 4096],
    ...(options.ipv6 ? [] : ([['net.ipv6.conf.all.disable_ipv6', 1]] as [string, number][])),
    // What comes by the device may be from and for the pod's loopback.
    ['net.ipv4.conf.all.rp_filter', 0],
    [`net.ipv4.conf.${deviceName}.rp_filter`, 0],
    [`net.ipv4.conf.${deviceName}.route_localnet`, 1],
    // Addresses are ours to give, and there at once: without detection of others that have them, which takes a second or two.
    [`net.ipv6.conf.${deviceName}.accept_dad`, 0],
    [`net.ipv6.conf.${deviceName}.accept_ra`, 0],
    [`net.ipv6.conf.${deviceName}.router_solicitations`, 0],
    [`net.ipv6.conf.${deviceName}.addr_gen_mode`, 1],
    ...(options.portRange === undefined
      ? []
      : ([['net.ipv4.ip_local_port_range', options.portRange]] as [string, string][])),
  ];
  for (const [name, value] of settings) {
    attempt(options, name, () => launcher.sysctl(name, value));
  }
}

function configureNetwork(launcher: Launcher, options: SandboxOptions): void {
  launcher.command('link', deviceName, 'mtu', options.mtu);
  launcher.command('link', deviceName, 'queue', deviceQueue);
  launcher.command('link', 'lo', 'set', 'up');
  launcher.command('link', deviceName, 'set', 'up');
  for (const address of options.addresses) {
    launcher.command('address', deviceName, `${address}/${isIPv6(address) ? 128 : 32}`);
  }
  // A family that the pod doesn't have gets no route: connects fail with ENETUNREACH, as in there.
  if (options.addresses.some((address) => !isIPv6(address))) {
    launcher.command('route', 'default', '-', deviceName);
  }
  if (options.addresses.some((address) => isIPv6(address))) {
    launcher.command('route', 'default6', '-', deviceName);
  }
}

/** Puts a file over another; where there is none, the directory is thawed to make room. */
function placeFile(launcher: Launcher, path: string, content: string): void {
  try {
    launcher.command('file', path, content);
  } catch (error) {
    if (!(error instanceof SystemError) || error.code !== 'ENOENT') throw error;
    launcher.command('thaw', dirname(path));
    launcher.command('unlink', path); // a link that leads nowhere
    launcher.command('write', path, content, '0644');
  }
}

function configureFiles(launcher: Launcher, options: SandboxOptions): void {
  for (const {path, content} of options.files) placeFile(launcher, path, content);
  if (existsSync('/etc/nsswitch.conf')) {
    const replaced = replaceNsswitch(readFileSync('/etc/nsswitch.conf', 'utf8'));
    if (replaced !== undefined) placeFile(launcher, '/etc/nsswitch.conf', replaced);
  }
  for (const socket of resolverSockets) {
    if (existsSync(socket)) launcher.command('bind', '/dev/null', socket, 'rw');
  }
  attempt(options, 'netsysfs', () => launcher.command('netsysfs'));
}

/** Runs the steps in order; a failing one is named to whoever has to mend it. */
function build(
  launcher: Launcher,
  options: SandboxOptions,
): Pick<Sandbox, 'tunFd' | 'windowBudget' | 'hostDiagnostics'> {
  let step = 'make namespaces';
  try {
    // While the launcher is still in this machine's namespace.
    const hostDiagnostics = options.hostDiagnostics
      ? openDiagnostics(launcher, options.log)
      : undefined;
    if (isPrivileged()) launcher.unshare('net', 'mnt', 'uts');
    else launcher.unshare('user', 'net', 'mnt', 'uts');
    step = 'open the TUN device';
    const tun = launcher.open('tun', deviceName);
    options.log('sandbox: tun', {offloads: tun.value});
    step = 'configure the network';
    configureKernel(launcher, options);
    configureNetwork(launcher, options);
    step = 'set the host name';
    launcher.command('hostname', options.hostname);
    step = "show the pod's files";
    configureFiles(launcher, options);
    // The launcher's own directory: a relative program path, and its view of covered directories.
    launcher.command('chdir', options.cwd ?? process.cwd());
    if (!options.ipv6) attempt(options, 'no-ipv6', () => launcher.command('no-ipv6'));
    const hasTso = (Number(tun.value) & tsoOffloads) === tsoOffloads;
    // The queue counts packets: with TSO they are super-segments, and it is larger than any window.
    const windowBudget = hasTso ? undefined : (deviceQueue * options.mtu) / 2;
    return {tunFd: tun.fd, windowBudget, hostDiagnostics};
  } catch (error) {
    throw explainSandboxFailure(step, error);
  }
}

/** Makes the sandbox. Throws `MirrordError` with a cause and a remedy; nothing is left then. */
export function createSandbox(options: SandboxOptions): Sandbox {
  const launcher = new Launcher({
    argv: options.argv,
    env: options.env,
    descriptors: options.descriptors,
  });
  try {
    const made = build(launcher, options);
    return {
      launcher,
      ...made,
      ownFiles: [...options.files.map(({path}) => path), '/etc/nsswitch.conf'],
      text: (path) => options.files.find((file) => file.path === path)?.content ?? '',
      [Symbol.dispose]: () => launcher[Symbol.dispose](),
    };
  } catch (error) {
    launcher[Symbol.dispose]();
    throw error;
  }
}
