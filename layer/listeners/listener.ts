/** What a listening TCP socket of the sandbox is known by. */

import type {IpAddress} from '../../netstack/types.ts';
import {addressText} from '../address.ts';

/** A listening TCP socket. */
export interface Listener {
  /** Where it is bound, in the usual text form: `0.0.0.0`, `::1`, …; a mapped address as the IPv4 one. */
  readonly address: string;
  readonly port: number;
}

const mappedPrefix = '0,0,0,0,0,0,0,0,0,0,255,255';

/** Makes a listener of an address in network byte order. */
export function listenerAt(address: IpAddress, port: number): Listener {
  const isMapped = address.length === 16 && address.subarray(0, 12).join() === mappedPrefix;
  return {address: addressText(isMapped ? address.subarray(12) : address), port};
}
