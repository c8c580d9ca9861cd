/**
 * Says of every flow of the program who opens its stream: the agent, or this machine.
 *
 * A process may be exempt from the pod (`isSkipped`): all its flows are this machine's.
 */

import type {Endpoint} from '../../netstack/types.ts';
import {addressText} from '../address.ts';
import {createHostDialer} from '../host-dialer.ts';
import {hostCandidates} from '../host-name.ts';
import type {OpenStream} from '../streams.ts';
import {defaultNetwork, type NetworkOptions} from './options.ts';
import {createPolicy, type Protocol} from './policy.ts';

/** Who opens the stream of a flow. */
export type Route = (kind: Protocol, source: Endpoint, destination: Endpoint) => OpenStream;

/** Whether a flow is of a process that stays out of the pod. */
export type IsSkipped = (kind: Protocol, source: Endpoint, destination: Endpoint) => boolean;

export interface RouterOptions {
  /** Opens a stream to the agent. */
  open: OpenStream;
  network?: NetworkOptions;
  /** The pod's own addresses, in network byte order. */
  addresses: readonly Uint8Array[];
  /** Asked for every new flow, those of DNS included. */
  isSkipped?: IsSkipped;
}

export interface Router extends Disposable {
  readonly route: Route;
  readonly counters: object;
}

/** Makes the router of a session. */
export function createRouter(options: RouterOptions): Router {
  const {open, network = defaultNetwork, addresses, isSkipped} = options;
  const host = createHostDialer((address) => hostCandidates(address) ?? [addressText(address)]);
  const policy = createPolicy(network, {own: addresses, searchDomains: []});
  return {
    counters: host.counters,
    route(protocol, source, destination) {
      const {address, port} = destination;
      if (hostCandidates(address) !== undefined) return host.open;
      if (isSkipped?.(protocol, source, destination) === true) return host.open;
      if (policy.isAllAgent) return open;
      return policy.side({protocol, address, port, names: []}) === 'agent' ? open : host.open;
    },
    [Symbol.dispose]: () => host[Symbol.dispose](),
  };
}
