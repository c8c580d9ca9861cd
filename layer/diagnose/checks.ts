/**
 * The checks of `mirrord diagnose`, in the order in which things depend on each other: where one that is
 * required fails, those after it likely fail for the same reason, and say so.
 */

import {existsSync} from 'node:fs';
import {findNft, localhostRules} from '../localhost.ts';
import {closeFd, launcherPath, socketPair} from '../native/native.ts';
import type {Launcher} from '../sandbox/launcher.ts';
import {kernelSetting} from '../sandbox/preconditions.ts';
import {isPrivileged} from '../sandbox/privilege.ts';
import {type Check, withLauncher, withNamespaces, withTun} from './check.ts';

/** Bits of TUNSETOFFLOAD (linux/if_tun.h). */
const offloadNames: readonly [mask: number, name: string][] = [
  [0x01, 'checksums'],
  [0x06, 'TSO'],
  [0x60, 'USO'],
];

const everything = 'everything: no program can be run in the context of a pod';

function nftOrThrow(): string {
  const nft = findNft();
  if (nft === undefined) throw new Error('nft is not installed');
  return nft;
}

/** Loads the very rules by which the pod's localhost is reached, and the socket that they lead to. */
function tryLocalhost(launcher: Launcher): void {
  const nft = nftOrThrow();
  const {fd, value} = launcher.open('listen', 'tcp', '127.0.0.1', 0, 'transparent');
  try {
    launcher.run(nft, ['-f', '-'], localhostRules({tcp4: Number(value)}, []));
  } finally {
    closeFd(fd);
  }
}

const required: readonly Check[] = [
  {
    name: 'native code',
    required: true,
    costs: everything,
    run() {
      for (const fd of socketPair()) closeFd(fd);
      return launcherPath();
    },
  },
  {
    name: 'user namespaces',
    required: true,
    costs: everything,
    run() {
      if (isPrivileged()) return 'not needed: you are root';
      withLauncher((launcher) => launcher.unshare('user'));
      return `allowed, up to ${kernelSetting('user/max_user_namespaces') ?? '?'}`;
    },
  },
  {
    name: 'apparmor',
    required: true,
    costs: everything,
    run() {
      // Where AppArmor restricts them, user namespaces can be made, but have no rights.
      withNamespaces((launcher) => launcher.command('link', 'lo', 'set', 'up'));
      const restriction = kernelSetting('kernel/apparmor_restrict_unprivileged_userns');
      if (restriction === undefined) return 'does not restrict user namespaces here';
      return `lets mirrord (kernel.apparmor_restrict_unprivileged_userns is ${restriction})`;
    },
  },
  {
    name: 'tun',
    required: true,
    costs: everything,
    run() {
      withTun('tun0', () => undefined);
      return '/dev/net/tun';
    },
  },
  {
    name: 'mounts',
    required: true,
    costs: everything,
    run() {
      withNamespaces((launcher) => launcher.command('file', '/etc/hosts', ''));
      return 'files can be put over others';
    },
  },
];

const optional: readonly Check[] = [
  {
    name: 'tun offloads',
    required: false,
    costs: 'speed: without TSO every segment is handled by itself',
    remedy: 'a kernel with TSO for TUN devices (any since 2.6.27); USO came with Linux 6.2',
    run() {
      const mask = withTun('tun0', (_, offloads) => offloads);
      const taken = offloadNames.filter(([bits]) => (mask & bits) === bits).map(([, name]) => name);
      if (!taken.includes('TSO')) throw new Error(`only ${taken.join(', ') || 'none'}`);
      return taken.join(', ');
    },
  },
  {
    name: 'nft',
    required: false,
    costs: "the pod's localhost (sidecars), and the embedded demo cluster",
    remedy: 'apt-get install nftables, and a kernel with nf_tables (sudo modprobe nf_tables)',
    run() {
      const nft = nftOrThrow();
      withNamespaces((launcher) => launcher.run(nft, ['-f', '-'], 'table inet mirrord { }\n'));
      return nft;
    },
  },
  {
    name: 'nft socket and tproxy',
    required: false,
    costs: "the pod's localhost (sidecars): localhost stays the program's own",
    remedy: 'sudo modprobe -a nft_socket nft_tproxy nf_tproxy_ipv4 nf_tproxy_ipv6',
    run() {
      withNamespaces(tryLocalhost);
      return 'loopback connections can be handed over';
    },
  },
  {
    name: 'ipv6',
    required: false,
    costs: 'pods that have an IPv6 address',
    remedy: 'sudo sysctl net.ipv6.conf.all.disable_ipv6=0, or boot without ipv6.disable=1',
    run() {
      withTun('tun0', (launcher) => {
        launcher.command('link', 'tun0', 'set', 'up');
        launcher.command('address', 'tun0', 'fd00::1/128');
        launcher.command('route', 'default6', '-', 'tun0');
      });
      return 'addresses and routes can be set';
    },
  },
  {
    name: 'low ports',
    required: false,
    costs: 'listening on ports below 1024',
    remedy:
      'Linux 4.11, and a /proc that may be written (a container: --security-opt systempaths=unconfined)',
    run() {
      withNamespaces((launcher) => launcher.sysctl('net.ipv4.ip_unprivileged_port_start', 0));
      return 'the program may listen on any port';
    },
  },
  {
    name: 'ping',
    required: false,
    costs: 'ping without file capabilities',
    remedy: 'a /proc that may be written (a container: --security-opt systempaths=unconfined)',
    run() {
      const group = process.getegid?.() ?? 0;
      withNamespaces((launcher) =>
        launcher.sysctl('net.ipv4.ping_group_range', `${group} ${group}`),
      );
      return 'the program may open ping sockets';
    },
  },
  {
    name: 'fuse',
    required: false,
    costs: "nothing yet: the pod's files will need it",
    remedy:
      'sudo modprobe fuse; sudo chmod 0666 /dev/fuse; in a container: start it with --device /dev/fuse',
    run() {
      // The shell would make a file of that name.
      if (!existsSync('/dev/fuse')) throw new Error('there is no /dev/fuse');
      // Opened inside: the kernel refuses to mount what was opened in another user namespace.
      withNamespaces((launcher) => launcher.run('/bin/sh', ['-c', 'exec 3<>/dev/fuse']));
      return '/dev/fuse';
    },
  },
];

/** All checks. */
export const checks: readonly Check[] = [...required, ...optional];
