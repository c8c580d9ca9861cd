/** Whether a connection is one within the pod, and came by `lo`. */

import {networkInterfaces} from 'node:os';
import {parseAddress} from '../../sockets/address.ts';
import {socketOfConnection} from '../native.ts';
import type {Ends} from './tunnel-socket.ts';

const LOOPBACK_NETWORK = 127;

/** The pod's addresses, but for those of loopback that no interface names. */
export function ownAddresses(): Uint8Array[] {
  return Object.values(networkInterfaces())
    .flatMap((all) => all ?? [])
    .flatMap((one) => parseAddress(one.address) ?? []);
}

/** Whether an address is one of the pod's. */
export function isOwnAddress(
  address: Uint8Array,
  own: readonly Uint8Array[] = ownAddresses(),
): boolean {
  if (address.length === 4 && address[0] === LOOPBACK_NETWORK) return true;
  return own.some((one) => isSame(one, address));
}

/** By the address that it comes from; or, where a proxy speaks for its client (Istio's ztunnel), by its socket. */
export function isWithin({peer, local}: Ends): boolean {
  return isOwnAddress(peer.address) || socketOfConnection(peer, local) !== undefined;
}

function isSame(one: Uint8Array, other: Uint8Array): boolean {
  return one.length === other.length && one.every((byte, at) => byte === other[at]);
}
