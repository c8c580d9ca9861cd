/**
 * Localhost of the pod, and its own address: a port on which nothing in the sandbox listens, but
 * something in the pod does, reaches the pod. Where the routing says so, localhost is this machine's instead;
 * which ports those are is worked out elsewhere (`localhost-ports.ts`).
 *
 * Theory of operation. In the sandbox's network namespace, packets on `lo` pass a filter chain before
 * their socket is looked up for good. The chain first lets go what already has a socket here (`socket
 * wildcard`): an established connection, or a listener, so that the program always wins, at the very
 * moment it listens; and what mirrord itself connects inside, which is for the program or for nobody. What is left, and goes to a port that the pod has open, is handed to a transparent
 * listener of ours (tproxy); anything else meets the kernel's RST. No port is taken and nothing races.
 * The listeners are sockets of the sandbox used outside of it: what they accept has the address that
 * the program wanted as its own (Documentation/networking/tproxy.rst).
 */

import {existsSync} from 'node:fs';
import {isIPv6} from 'node:net';
import type {ListeningPorts} from '../tunnel/target.ts';
import {addressBytes} from './address.ts';
import type {Listener} from './listeners/listener.ts';
import type {Log} from './log.ts';
import {serveLoopbackTcp} from './loopback-tcp.ts';
import {createLoopbackUdp, type LoopbackUdp} from './loopback-udp.ts';
import type {Route} from './routing/router.ts';
import type {Launcher} from './sandbox/launcher.ts';

type SetName = keyof ListeningPorts;
type ListenerName = 'tcp4' | 'tcp6' | 'udp4' | 'udp6';

/** The ports of our transparent listeners; a family may be missing. */
export type ListenerPorts = Readonly<Partial<Record<ListenerName, number>>>;

const table = 'inet mirrord';
/** What connections carry that are made by mirrord to sockets of the sandbox (native/sockets.c). */
const insideMark = 0x2000;
const listenerNames: readonly ListenerName[] = ['tcp4', 'tcp6', 'udp4', 'udp6'];
/** For each listener, the sets of ports that it serves: on loopback, and on the pod's own addresses. */
const setsOf: Readonly<Record<ListenerName, readonly [loopback: SetName, own: SetName]>> = {
  tcp4: ['tcp4', 'ownTcp4'],
  tcp6: ['tcp6', 'ownTcp6'],
  udp4: ['udp4', 'ownUdp4'],
  udp6: ['udp6', 'ownUdp6'],
};
const setNames: readonly SetName[] = listenerNames.flatMap((name) => setsOf[name]);

/** nft(8)'s place; never by PATH, where an npm package of the same name may come first. */
export function findNft(): string | undefined {
  return ['/usr/sbin/nft', '/sbin/nft', '/usr/bin/nft', '/usr/local/sbin/nft'].find((path) =>
    existsSync(path),
  );
}

/** The rules for one listener: packets for its ports that no socket here wants. */
function handOver(name: ListenerName, port: number, addresses: readonly string[]): string[] {
  const isV4 = name.endsWith('4');
  const protocol = name.slice(0, 3);
  const [match, loopback, to] = isV4
    ? ['ip daddr', '127.0.0.0/8', 'ip to 127.0.0.1']
    : ['ip6 daddr', '::1', 'ip6 to [::1]'];
  const own = addresses.filter((address) => isIPv6(address) !== isV4);
  const [loopbackSet, ownSet] = setsOf[name];
  const rule = (destination: string, set: SetName): string =>
    `    ${match} ${destination} ${protocol} dport @${set} tproxy ${to}:${port} accept`;
  return [
    rule(loopback, loopbackSet),
    ...(own.length === 0 ? [] : [rule(`{ ${own.join(', ')} }`, ownSet)]),
  ];
}

/** The rules, to be loaded once into the sandbox, whose own addresses are given. */
export function localhostRules(listeners: ListenerPorts, addresses: readonly string[]): string {
  const sets = setNames.map((name) => `  set ${name} { type inet_service; }`);
  const rules = listenerNames.flatMap((name) => {
    const port = listeners[name];
    return port === undefined ? [] : handOver(name, port, addresses);
  });
  return [
    `table ${table} {`,
    ...sets,
    '  chain localhost {',
    '    type filter hook prerouting priority -150; policy accept;',
    '    iif != lo accept',
    `    meta mark ${insideMark} accept`,
    '    meta l4proto { tcp, udp } socket wildcard 0 accept',
    '    meta l4proto { tcp, udp } socket wildcard 1 accept',
    ...rules,
    '  }',
    '}',
    '',
  ].join('\n');
}

/** The change that makes the sets hold exactly these ports, in one transaction. */
export function localhostUpdate(ports: ListeningPorts): string {
  const lines = setNames.flatMap((name) => [
    `flush set ${table} ${name}`,
    ...(ports[name].length === 0
      ? []
      : [`add element ${table} ${name} { ${[...new Set(ports[name])].join(', ')} }`]),
  ]);
  return `${lines.join('\n')}\n`;
}

export interface Localhost extends Disposable {
  /** For the TUN driver, which owns it. */
  readonly udp: LoopbackUdp;
  /** Whether a listening socket of the sandbox is one of our transparent ones. */
  isOurs(listener: Listener): boolean;
  /** What is to be handed over now. */
  setPorts(ports: ListeningPorts): void;
}

export interface LocalhostOptions {
  /** Who opens the streams of what was handed over. */
  route: Route;
  /** The sandbox's own addresses, as text. */
  addresses: readonly string[];
  warn: (message: string) => void;
  log: Log;
}

/** Makes a transparent socket of the sandbox; undefined where the kernel has not the family. */
function openListener(
  launcher: Launcher,
  name: ListenerName,
): {fd: number; port: number} | undefined {
  try {
    const address = name.endsWith('4') ? '127.0.0.1' : '::1';
    const {fd, value} = launcher.open('listen', name.slice(0, 3), address, 0, 'transparent');
    return {fd, port: Number(value)};
  } catch (error) {
    if (name.endsWith('6')) return undefined; // IPv6 is switched off
    throw error;
  }
}

function openRaw(launcher: Launcher, family: '4' | '6'): number | undefined {
  try {
    return launcher.open('raw', family).fd;
  } catch (error) {
    if (family === '6') return undefined;
    throw error;
  }
}

/**
 * Makes the pod's localhost reachable in a sandbox. Where the machine can't (no nft, a kernel without
 * tproxy), says so once and returns undefined: localhost is the sandbox's own then.
 */
export function openLocalhost(
  launcher: Launcher,
  options: LocalhostOptions,
): Localhost | undefined {
  const nft = findNft();
  if (nft === undefined) {
    options.warn(
      "nft is not installed, so the pod's localhost can't be reached (apt-get install nftables)",
    );
    return undefined;
  }
  const listeners = new Map(listenerNames.map((name) => [name, openListener(launcher, name)]));
  const fds = (protocol: 'tcp' | 'udp'): number[] =>
    listenerNames
      .filter((name) => name.startsWith(protocol))
      .flatMap((name) => listeners.get(name)?.fd ?? []);
  const tcp = serveLoopbackTcp(fds('tcp'), options.route);
  const udp = createLoopbackUdp({
    transparent: fds('udp'),
    raw4: openRaw(launcher, '4'),
    raw6: openRaw(launcher, '6'),
    addresses: ['127.0.0.1', '::1', ...options.addresses].map(addressBytes),
  });
  const load = (script: string): boolean => {
    try {
      launcher.run(nft, ['-f', '-'], script);
      return true;
    } catch (error) {
      options.log('localhost: nft failed', {script, error: String(error)});
      return false;
    }
  };
  const ports: ListenerPorts = Object.fromEntries(
    listenerNames.map((name) => [name, listeners.get(name)?.port]),
  );
  if (!load(localhostRules(ports, options.addresses))) {
    options.warn(
      "this kernel can't hand over loopback connections (nft socket, tproxy): localhost stays local",
    );
  }
  return {
    udp,
    isOurs: ({address, port}) =>
      (address === '127.0.0.1' && port === ports.tcp4) ||
      (address === '::1' && port === ports.tcp6),
    setPorts: (open) => {
      load(localhostUpdate(open));
    },
    [Symbol.dispose]: () => tcp[Symbol.dispose](),
  };
}
