/**
 * Which ports of localhost are handed over (`localhost.ts`): those that the pod has open and that are the
 * pod's, and those that this machine has open and that are this machine's, by the routing's word. All others
 * meet the kernel's refusal, as they should.
 *
 * The agent reports the pod's. This machine's are looked up again and again, where any may be of interest.
 */

import type {Mux} from '../tunnel/mux.ts';
import {type ListeningPorts, subscribeListening} from '../tunnel/target.ts';
import type {Listener} from './listeners/listener.ts';
import {pollAgain} from './listeners/poll.ts';
import {readListeners} from './listeners/read.ts';
import type {Localhost} from './localhost.ts';
import type {Log} from './log.ts';
import {closeFd} from './native/native.ts';
import type {Router} from './routing/router.ts';

const closed: ListeningPorts = {
  tcp4: [],
  tcp6: [],
  udp4: [],
  udp6: [],
  ownTcp4: [],
  ownTcp6: [],
  ownUdp4: [],
  ownUdp6: [],
};

const shared = [
  {name: 'tcp4', protocol: 'tcp', address: '127.0.0.1'},
  {name: 'tcp6', protocol: 'tcp', address: '::1'},
  {name: 'udp4', protocol: 'udp', address: '127.0.0.1'},
  {name: 'udp6', protocol: 'udp', address: '::1'},
] as const;

/** What listens on this machine, by protocol. */
export type HostListeners = Readonly<Record<'tcp' | 'udp', readonly Listener[]>>;

export interface LocalhostShares {
  pod: ListeningPorts;
  host: HostListeners;
  side: Router['localhostSide'];
  /** Whether a port of this machine leads back to the program. */
  isPublished: (port: number) => boolean;
}

/** Whether a socket bound to `bound` is reached at this loopback address. */
function isReachable(bound: string, address: '127.0.0.1' | '::1'): boolean {
  if (bound === '::') return true; // of most sockets; one for IPv6 alone refuses, by a reset
  return address === '::1' ? bound === '::1' : bound === '0.0.0.0' || bound.startsWith('127.');
}

/** The ports to hand over. */
export function shareLocalhost({pod, host, side, isPublished}: LocalhostShares): ListeningPorts {
  const ports = shared.map(({name, protocol, address}) => {
    const podPorts = pod[name].filter((port) => side(protocol, address, port) === 'agent');
    const hostPorts = host[protocol]
      .filter((listener) => isReachable(listener.address, address) && !isPublished(listener.port))
      .map(({port}) => port)
      .filter((port) => side(protocol, address, port) === 'host');
    return [name, [...new Set([...podPorts, ...hostPorts])].sort((a, b) => a - b)] as const;
  });
  return {...pod, ...(Object.fromEntries(ports) as Partial<ListeningPorts>)};
}

export interface FollowOptions {
  localhost: Localhost;
  mux: Mux;
  router: Router;
  isPublished: (port: number) => boolean;
  /** A netlink socket of this machine's namespace, ours to close; undefined: none was needed, or works. */
  hostDiagnostics: number | undefined;
  log: Log;
}

/** Keeps what is handed over up to date. */
export interface FollowedLocalhost extends Disposable {
  /** Resolves with the first reports: the program's first connect counts on them. */
  readonly ready: Promise<void>;
  /** The routing has changed. */
  update(): void;
}

/** Follows the listening ports of the pod, and of this machine if the routing leaves any to it. */
export function followLocalhost(options: FollowOptions): FollowedLocalhost {
  const {localhost, mux, router, isPublished, hostDiagnostics, log} = options;
  let pod = closed;
  let host: HostListeners = {tcp: [], udp: []};
  let last = JSON.stringify(closed);
  const update = (): void => {
    const ports = shareLocalhost({pod, host, side: router.localhostSide, isPublished});
    const text = JSON.stringify(ports);
    if (text === last) return;
    last = text;
    localhost.setPorts(ports);
  };
  const reported = new Promise<void>((resolve) => {
    subscribeListening(
      mux,
      (ports) => {
        pod = ports;
        update();
        resolve();
      },
      (errno) => {
        log('localhost: no more reports', {errno});
        resolve();
      },
    );
  });
  const look = async (): Promise<void> => {
    const source = {fd: hostDiagnostics, pid: 'self'} as const;
    host = {tcp: await readListeners(source, 'tcp'), udp: await readListeners(source, 'udp')};
    if (!isStopped) update();
  };
  let isStopped = false;
  const polling = router.dividesLocalhost ? pollAgain(look) : undefined;
  return {
    ready: Promise.all([reported, router.dividesLocalhost ? look() : undefined]).then(
      () => undefined,
    ),
    update,
    [Symbol.dispose]() {
      isStopped = true;
      polling?.[Symbol.dispose]();
      if (hostDiagnostics !== undefined) closeFd(hostDiagnostics);
    },
  };
}
