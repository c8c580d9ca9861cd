/** The network of the pod, as the agent sees it from inside its namespace. */

import {readFile} from 'node:fs/promises';
import {networkInterfaces} from 'node:os';
import {setTimeout as delay} from 'node:timers/promises';
import type {TargetInterface} from '../../tunnel/target.ts';

const DEFAULT_MTU = 1500;
/** Linux net.ipv4.ip_local_port_range, its default. */
const DEFAULT_PORT_RANGE = [32_768, 60_999] as const;
/** "Linux include/uapi/linux/ipv6_route.h: RTF_UP, RTF_REJECT". */
const RTF_UP = 0x0001;
const RTF_REJECT = 0x0200;

/** Returns the interfaces that have addresses. */
export async function readInterfaces(): Promise<TargetInterface[]> {
  const found: TargetInterface[] = [];
  for (const [name, addresses = []] of Object.entries(networkInterfaces())) {
    found.push({
      name,
      mtu: await readMtu(name),
      isLoopback: addresses.some(({internal}) => internal),
      addresses: addresses.map(({family, address, cidr}) => ({
        family: family === 'IPv4' ? 4 : 6,
        address,
        prefixLength: Number(cidr?.split('/')[1] ?? (family === 'IPv4' ? 32 : 128)),
      })),
    });
  }
  return found;
}

/** The names of all interfaces. Node's list leaves those out that have no carrier just now. */
async function interfaceNames(): Promise<Set<string>> {
  const lines = (await readText('/proc/self/net/dev')).split('\n');
  return new Set(lines.flatMap((line) => line.match(/^\s*([^:\s]+):/)?.[1] ?? []));
}

/**
 * Resolves when the pod's interfaces are gone, and with them whatever led to it: only we keep its network then. Never, where
 * it had none. Looks every `lookMs` milliseconds, until the signal.
 */
export async function untilPodIsGone(lookMs: number, signal: AbortSignal): Promise<void> {
  const own = Object.entries(networkInterfaces())
    .filter(([, all]) => all?.some(({internal}) => !internal))
    .map(([name]) => name);
  let names: Set<string>;
  do {
    await delay(lookMs, undefined, {signal});
    names = await interfaceNames();
  } while (own.length === 0 || own.some((name) => names.has(name)));
}

/** Returns the names of the interfaces with the default routes. */
export async function readDefaultRoutes(): Promise<{ipv4: string | null; ipv6: string | null}> {
  const [ipv4, ipv6] = await Promise.all([
    readText('/proc/self/net/route'),
    readText('/proc/self/net/ipv6_route'),
  ]);
  return {ipv4: parseRoute4(ipv4), ipv6: parseRoute6(ipv6)};
}

/** Returns net.ipv4.ip_local_port_range. */
export async function readLocalPortRange(): Promise<[number, number]> {
  const text = await readText('/proc/sys/net/ipv4/ip_local_port_range');
  const [first, last] = text.trim().split(/\s+/).map(Number);
  return [first || DEFAULT_PORT_RANGE[0], last || DEFAULT_PORT_RANGE[1]];
}

/** Reads /proc/net/route: Iface Destination Gateway Flags RefCnt Use Metric Mask …, in hex. */
export function parseRoute4(text: string): string | null {
  let best: {name: string; metric: number} | undefined;
  for (const line of text.split('\n').slice(1)) {
    const [name, destination, , flags, , , metric, mask] = line.trim().split(/\s+/);
    if (name === undefined || destination !== '00000000' || mask !== '00000000') continue;
    const bits = Number.parseInt(flags ?? '0', 16);
    if ((bits & RTF_UP) === 0 || (bits & RTF_REJECT) !== 0) continue;
    if (best === undefined || Number(metric) < best.metric) best = {name, metric: Number(metric)};
  }
  return best?.name ?? null;
}

/** Reads /proc/net/ipv6_route: destination, its length, source, its length, hop, metric, …, name. */
export function parseRoute6(text: string): string | null {
  let best: {name: string; metric: number} | undefined;
  for (const line of text.split('\n')) {
    const [destination, length, , , , metric, , , flags, name] = line.trim().split(/\s+/);
    if (name === undefined || length !== '00' || !/^0+$/.test(destination ?? '')) continue;
    const bits = Number.parseInt(flags ?? '0', 16);
    // Where there is no default route the kernel shows one that rejects, on lo.
    if ((bits & RTF_UP) === 0 || (bits & RTF_REJECT) !== 0 || name === 'lo') continue;
    const value = Number.parseInt(metric ?? '0', 16);
    if (best === undefined || value < best.metric) best = {name, metric: value};
  }
  return best?.name ?? null;
}

/** Without sysfs of this namespace the MTU is only shown by IPv6's settings. */
async function readMtu(name: string): Promise<number> {
  if (name.includes('/')) return DEFAULT_MTU;
  const mtu = Number(await readText(`/proc/sys/net/ipv6/conf/${name}/mtu`));
  return mtu > 0 ? mtu : DEFAULT_MTU;
}

/** Returns a file of /proc; empty where the kernel does not have it (IPv6 may be compiled out). */
async function readText(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch {
    return '';
  }
}
