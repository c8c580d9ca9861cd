/**
 * Says of every flow of the program who opens its stream: the agent, or this machine.
 *
 * Theory of operation. DNS comes first: queries to the name servers of the program's resolv.conf are answered
 * by whom the DNS options name (`dns/`), whatever else is chosen. All other flows are decided about by their
 * destination (`policy.ts`), and by the names that DNS has given it (`names.ts`); where the policy needs
 * no names, nothing is learned and DNS goes to the agent untouched. A process may be exempt from the pod
 * (`isSkipped`): all its flows and names are this machine's.
 *
 * What this machine carries goes where a program outside would get: a destination that the pod's DNS named is
 * looked up again here, since the name may stand for another address.
 */

import {isIP} from 'node:net';
import type {Endpoint, IpAddress} from '../../netstack/types.ts';
import {addressBytes, addressText} from '../address.ts';
import {createHostDialer, refusedStream} from '../host-dialer.ts';
import {hostCandidates} from '../host-name.ts';
import type {OpenStream} from '../streams.ts';
import {createHostResolver} from './dns/host-resolver.ts';
import {createNameServer, divideDns, observeDns} from './dns/name-server.ts';
import {createDnsPolicy, withOutgoingNames} from './dns/policy.ts';
import {Names, parseHosts} from './names.ts';
import {defaultNetwork, type NetworkOptions, type Side} from './options.ts';
import {createPolicy, isLoopback, type Protocol} from './policy.ts';
import {parseResolvConf} from './search-domains.ts';

/** Who opens the stream of a flow. */
export type Route = (kind: Protocol, source: Endpoint, destination: Endpoint) => OpenStream;

/** Whether a flow is of a process that stays out of the pod. */
export type IsSkipped = (kind: Protocol, source: Endpoint, destination: Endpoint) => boolean;

export interface RouterOptions {
  /** Opens a stream to the agent. */
  open: OpenStream;
  network?: NetworkOptions;
  /** The pod's own addresses, in network byte order. */
  addresses: readonly IpAddress[];
  /** The program's /etc/resolv.conf and /etc/hosts. */
  resolvConf?: string;
  hosts?: string;
  /** Asked for every new flow, those of DNS included. */
  isSkipped?: IsSkipped;
  /** Whether a port of this machine's loopback only leads back to the program. */
  isPublished?: (port: number) => boolean;
  /** Names of loopback addresses have changed, and with them what `localhostSide` says. */
  onLocalhost?: () => void;
}

export interface Router extends Disposable {
  readonly route: Route;
  /** Some ports of localhost may be this machine's: `localhostSide` tells. */
  readonly dividesLocalhost: boolean;
  /** Whose a port of localhost is. */
  localhostSide(protocol: Protocol, address: '127.0.0.1' | '::1', port: number): Side;
  readonly counters: object;
}

const dnsPort = 53;

/** Makes the router of a session. */
export function createRouter(options: RouterOptions): Router {
  const {open, network = defaultNetwork, addresses, isSkipped, isPublished} = options;
  const {nameServers, searchDomains} = parseResolvConf(options.resolvConf ?? '');
  const policy = createPolicy(network, {own: addresses, searchDomains});
  const names = new Names();
  names.learn(parseHosts(options.hosts ?? ''), 'agent');
  names.onLoopback = options.onLocalhost;

  const host = createHostDialer((address) => {
    const text = addressText(address);
    const name = isLoopback(address) ? undefined : names.outsideName(text, searchDomains);
    return hostCandidates(address) ?? (name === undefined ? [text] : [name, text]);
  });
  const refuse: OpenStream = (_kind, _body, handler) => refusedStream(handler, 'ECONNREFUSED');

  const dnsOptions = withOutgoingNames(network.dns, network.filter);
  const resolver = createHostResolver();
  const learned = policy.isAllAgent ? undefined : names;
  const observe = (inner: OpenStream, origin: Side): OpenStream =>
    learned === undefined ? inner : observeDns(inner, learned, origin);
  const serve = (decide: ReturnType<typeof createDnsPolicy>, unknown: Side): OpenStream =>
    divideDns(createNameServer(decide, resolver, {names: learned, unknown}), agentDns);
  const agentDns = observe(open, 'agent');
  const hostDns = observe(host.open, 'host');
  const ownDns = serve((name) => ({side: 'host', name}), 'host');
  const isDivided = dnsOptions.isEnabled && dnsOptions.filter !== undefined;
  const podDns = isDivided ? serve(createDnsPolicy(dnsOptions, searchDomains), 'agent') : agentDns;

  const servers = new Set(
    dnsOptions.isEnabled
      ? nameServers
          .map((server) => server.replace(/%.*/, '')) // the scope of a link-local address
          .filter((server) => isIP(server) !== 0)
          .map((server) => addressText(addressBytes(server)))
      : [],
  );

  /** Who carries the traffic to an ordinary destination. */
  const sideOf = (protocol: Protocol, {address, port}: Endpoint): Side =>
    policy.isAllAgent
      ? 'agent'
      : policy.side({protocol, address, port, names: names.of(addressText(address))});

  return {
    counters: {host: host.counters, dns: resolver.counters, names: names.counters},
    dividesLocalhost: !policy.isAllAgent,
    localhostSide: (protocol, address, port) =>
      sideOf(protocol, {address: addressBytes(address), port}),
    route(protocol, source, destination) {
      const {address, port} = destination;
      const isDns = port === dnsPort;
      if (hostCandidates(address) !== undefined) {
        return isDns && !dnsOptions.isEnabled ? ownDns : host.open;
      }
      const skipped = isSkipped?.(protocol, source, destination) === true;
      if (isDns && servers.has(addressText(address))) return skipped ? ownDns : podDns;
      const side = skipped ? 'host' : sideOf(protocol, destination);
      if (side === 'agent') return isDns ? agentDns : open;
      if (isLoopback(address) && isPublished?.(port) === true) return refuse;
      return isDns ? hostDns : host.open;
    },
    [Symbol.dispose]: () => host[Symbol.dispose](),
  };
}
