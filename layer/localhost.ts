/**
 * Localhost of the pod: a port on which nothing in the sandbox listens, but something in the pod does,
 * reaches the pod's loopback.
 *
 * Theory of operation. In the sandbox's network namespace, packets on `lo` pass a filter chain before
 * their socket is looked up for good. The chain first lets go what already has a socket here (`socket
 * wildcard`): an established connection, or a listener, so that the program always wins, at the very
 * moment it listens. What is left, and goes to a port that the pod has open, is handed to a transparent
 * listener of ours (tproxy); anything else meets the kernel's RST. No port is taken and nothing races.
 * The listeners are sockets of the sandbox used outside of it: what they accept has the address that
 * the program wanted as its own (Documentation/networking/tproxy.rst).
 */

import {existsSync} from 'node:fs';
import type {ListeningPorts} from '../tunnel/target.ts';
import type {Log} from './log.ts';
import {type OpenStream, serveLoopbackTcp} from './loopback-tcp.ts';
import {createLoopbackUdp, type LoopbackUdp} from './loopback-udp.ts';
import type {Launcher} from './sandbox/launcher.ts';

type SetName = keyof ListeningPorts;

/** The ports of our transparent listeners; a family may be missing. */
export type ListenerPorts = Readonly<Partial<Record<SetName, number>>>;

const table = 'inet mirrord';
const setNames: readonly SetName[] = ['tcp4', 'tcp6', 'udp4', 'udp6'];

/** nft(8)'s place; never by PATH, where an npm package of the same name may come first. */
export function findNft(): string | undefined {
  return ['/usr/sbin/nft', '/sbin/nft', '/usr/bin/nft', '/usr/local/sbin/nft'].find((path) =>
    existsSync(path),
  );
}

/** The rules, to be loaded once into the sandbox. */
export function localhostRules(listeners: ListenerPorts): string {
  const sets = setNames.map((name) => `  set ${name} { type inet_service; }`);
  const handOver = setNames.flatMap((name) => {
    const port = listeners[name];
    if (port === undefined) return [];
    const [protocol, family] = [name.slice(0, 3), name.slice(3)];
    const [match, to] =
      family === '4'
        ? ['ip daddr 127.0.0.0/8', 'ip to 127.0.0.1']
        : ['ip6 daddr ::1', 'ip6 to [::1]'];
    return [`    ${match} ${protocol} dport @${name} tproxy ${to}:${port} accept`];
  });
  return [
    `table ${table} {`,
    ...sets,
    '  chain localhost {',
    '    type filter hook prerouting priority -150; policy accept;',
    '    iif != lo accept',
    '    meta l4proto { tcp, udp } socket wildcard 0 accept',
    '    meta l4proto { tcp, udp } socket wildcard 1 accept',
    ...handOver,
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
  /** What is open on the pod's loopback now. */
  setPorts(ports: ListeningPorts): void;
}

export interface LocalhostOptions {
  open: OpenStream;
  warn: (message: string) => void;
  log: Log;
}

/** Makes a transparent socket of the sandbox; undefined where the kernel has not the family. */
function openListener(launcher: Launcher, name: SetName): {fd: number; port: number} | undefined {
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
  const listeners = new Map(setNames.map((name) => [name, openListener(launcher, name)]));
  const fds = (protocol: 'tcp' | 'udp'): number[] =>
    setNames
      .filter((name) => name.startsWith(protocol))
      .flatMap((name) => listeners.get(name)?.fd ?? []);
  const tcp = serveLoopbackTcp(fds('tcp'), options.open);
  const udp = createLoopbackUdp({
    transparent: fds('udp'),
    raw4: openRaw(launcher, '4'),
    raw6: openRaw(launcher, '6'),
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
  const ports = Object.fromEntries(setNames.map((name) => [name, listeners.get(name)?.port]));
  if (!load(localhostRules(ports))) {
    options.warn(
      "this kernel can't hand over loopback connections (nft socket, tproxy): localhost stays local",
    );
  }
  return {
    udp,
    setPorts: (open) => {
      load(localhostUpdate(open));
    },
    [Symbol.dispose]: () => tcp[Symbol.dispose](),
  };
}
