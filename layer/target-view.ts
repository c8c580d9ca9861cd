/**
 * What of the target the sandbox shows: its addresses, MTU and resolver files. Pure.
 */

import type {TargetInfo, TargetInterface} from '../tunnel/target.ts';
import {withHostName} from './host-name.ts';

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

/** The files of the target that replace the local ones; its hosts file has this machine's name too. */
export function podFiles(target: TargetInfo): {path: string; content: string}[] {
  return Object.entries(target.files).map(([path, bytes]) => {
    const text = Buffer.from(bytes).toString('utf8');
    return {
      path,
      content: path === '/etc/hosts' ? withHostName(text, podAddresses(target)) : text,
    };
  });
}
