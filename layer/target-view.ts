/**
 * What of the target the sandbox shows: its addresses, MTU and resolver files. Pure.
 */

import {isIPv6} from 'node:net';
import type {TargetInfo, TargetInterface} from '../tunnel/target.ts';
import {withHostName} from './host-name.ts';
import type {NetworkOptions} from './routing/options.ts';
import {hostHosts, hostResolvConf} from './routing/resolver-files.ts';

const resolvConf = '/etc/resolv.conf';
const hostsFile = '/etc/hosts';

/** The pod's MTU when it can't be known, bytes. */
const defaultMtu = 1_500;
/** The least that IPv6 works with, and the most that a TUN device takes, bytes. */
const mtuRange = [1_280, 65_535] as const;

/** The interface whose addresses are the pod's: that of the default route, else the first one. */
function mainInterface({
  interfaces,
  defaultRoute4,
  defaultRoute6,
}: TargetInfo): TargetInterface | undefined {
  const name = defaultRoute4 ?? defaultRoute6;
  const outward = interfaces.filter(({isLoopback}) => !isLoopback);
  return outward.find((candidate) => candidate.name === name) ?? outward[0];
}

/**
 * The pod's own addresses, as text, for the sandbox's eth0. Link-local ones stay out: they mean
 * something on the pod's link only. A target without a network gets 127.0.0.1's company alone.
 */
export function podAddresses(target: TargetInfo): string[] {
  return (mainInterface(target)?.addresses ?? [])
    .map(({address}) => address)
    .filter((address) => !/^(fe[89ab]|169\.254\.)/i.test(address));
}

/** The MTU for the sandbox's eth0, bytes. */
export function podMtu(target: TargetInfo): number {
  const mtu = mainInterface(target)?.mtu ?? defaultMtu;
  return Math.min(Math.max(mtu, mtuRange[0]), mtuRange[1]);
}

/** The text of a file of the target; empty when it has none. */
export function podText(target: TargetInfo, path: string): string {
  return Buffer.from(target.files[path] ?? new Uint8Array()).toString('utf8');
}

/** The pod's addresses as far as the program has their family. */
export function sandboxAddresses(target: TargetInfo, {ipv6}: NetworkOptions): string[] {
  return podAddresses(target).filter((address) => ipv6 || !isIPv6(address));
}

/**
 * The files that the program sees instead of the local ones: the pod's, with this machine's name in the hosts
 * file; or with resolver files of this machine, whose texts `readHost` gives, where names are its business.
 */
export function sandboxFiles(
  target: TargetInfo,
  network: NetworkOptions,
  readHost: (path: string) => string,
): {path: string; content: string}[] {
  const addresses = sandboxAddresses(target, network);
  const texts = new Map(Object.keys(target.files).map((path) => [path, podText(target, path)]));
  if (!network.dns.isEnabled) {
    texts.set(resolvConf, hostResolvConf(readHost(resolvConf), addresses));
    texts.set(hostsFile, hostHosts(readHost(hostsFile), podText(target, hostsFile), addresses));
  }
  const hosts = texts.get(hostsFile);
  if (hosts !== undefined) texts.set(hostsFile, withHostName(hosts, addresses));
  return [...texts].map(([path, content]) => ({path, content}));
}
