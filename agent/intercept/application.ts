/** The agent's own connections to the application, which the rules let go. */

import type {PassageRoute} from '../../sockets/passage.ts';
import type {TunnelEndpoint} from '../../tunnel/messages.ts';
import {errnoOf} from '../errno.ts';
import {connectMarked} from '../native.ts';
import {PASS_MARK} from './rules.ts';

/** 127.0.0.0/8, ::1, or ::6, which a mesh gives to `lo`. */
function isOfLoopback(address: Uint8Array): boolean {
  if (address.length === 4) return address[0] === 127;
  const last = address[15];
  return address.subarray(0, 15).every((byte) => byte === 0) && (last === 1 || last === 6);
}

/** Where a connection goes on, for who takes it over: as `connectToApplication`. */
export function passageRoute(to: TunnelEndpoint, peer: TunnelEndpoint): PassageRoute {
  return {destination: to, source: isOfLoopback(peer.address) ? peer.address : undefined};
}

/**
 * Connects to where the application is; returns the descriptor. From where the peer is, if that is the pod's loopback: the
 * proxy of a mesh comes from 127.0.0.6, which is what the application has always seen, and what the mesh's own
 * rules let go. Throws what connect(2) fails with.
 */
export function connectToApplication(to: TunnelEndpoint, peer: TunnelEndpoint): number {
  if (!isOfLoopback(peer.address)) return connectMarked(to, PASS_MARK);
  try {
    return connectMarked(to, PASS_MARK, peer.address);
  } catch (error) {
    if (errnoOf(error) !== 'EADDRNOTAVAIL') throw error;
    return connectMarked(to, PASS_MARK);
  }
}
