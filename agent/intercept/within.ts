/** Whether a connection is one within the pod, and came by `lo`. */

import {isOwnAddress, socketOfConnection} from '../native.ts';
import type {Ends} from './tunnel-socket.ts';

/** By the address that it comes from; or, where a proxy speaks for its client (Istio's ztunnel), by its socket. */
export function isWithin({peer, local}: Ends): boolean {
  return isOwnAddress(peer.address) || socketOfConnection(peer, local) !== undefined;
}
