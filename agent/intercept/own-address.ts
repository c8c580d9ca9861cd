/** Whether an address is one of the pod's: who has it is in the pod, and came by `lo`. */

import {networkInterfaces} from 'node:os';
import {parseAddress} from '../../sockets/address.ts';

const LOOPBACK_NETWORK = 127;

export function isOwnAddress(address: Uint8Array): boolean {
  if (address.length === 4 && address[0] === LOOPBACK_NETWORK) return true;
  return Object.values(networkInterfaces())
    .flatMap((all) => all ?? [])
    .some((one) => isSame(parseAddress(one.address), address));
}

function isSame(one: Uint8Array | undefined, other: Uint8Array): boolean {
  return one?.length === other.length && one.every((byte, at) => byte === other[at]);
}
