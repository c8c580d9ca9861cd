/**
 * Says for the first packet of each flow whose it is: `curl (4711)`.
 */

import {
  copyDestination,
  copySource,
  createIpHeader,
  PROTOCOL_TCP,
  PROTOCOL_UDP,
} from '../../netstack/wire/ip.ts';
import {parseIp} from '../../netstack/wire/ip-packet.ts';
import type {Octets} from '../../netstack/wire/octets.ts';
import type {FlowProcesses} from '../processes/flow-process.ts';

/** Flows that are remembered; one that is forgotten is told of again. */
const flowLimit = 65_536;
const TCP_SYN = 0x02;
const TCP_ACK = 0x10;

/** A packet among other bytes. */
export interface PacketPlace {
  octets: Octets;
  /** Where its IP header begins, and its length. */
  at: number;
  length: number;
  /** Sent by the program, not to it. */
  isOutbound: boolean;
}

export class FlowComments {
  readonly #find: FlowProcesses['find'];
  readonly #known = new Set<string>();
  readonly #ip = createIpHeader();

  constructor(find: FlowProcesses['find']) {
    this.#find = find;
  }

  /** The comment for a packet; undefined if it is not the first of a flow, or nobody's. */
  comment({octets, at, length, isOutbound}: PacketPlace): string | undefined {
    const ip = this.#ip;
    ip.start = at;
    ip.end = at + length;
    if (parseIp(octets, ip) !== 'ok' || ip.fragmentOffset > 0) return undefined;
    const isTcp = ip.protocol === PROTOCOL_TCP;
    if (ip.payloadLength < (isTcp ? 20 : 8) || !(isTcp || ip.protocol === PROTOCOL_UDP))
      return undefined;
    const {view} = octets;
    const flags = isTcp ? view.getUint8(ip.payloadAt + 13) : 0;
    // A number is used again: a SYN is another connection.
    const isSyn = (flags & (TCP_SYN | TCP_ACK)) === TCP_SYN;
    const source = keyOf(view, ip.version, ip.sourceAt, ip.payloadAt);
    const destination = keyOf(view, ip.version, ip.destinationAt, ip.payloadAt + 2);
    const key = isOutbound ? source + destination : destination + source;
    if (!this.#isNew(isTcp ? key : `${key}u`) && !isSyn) return undefined;
    const from = {address: copySource(octets, ip), port: view.getUint16(ip.payloadAt)};
    const to = {address: copyDestination(octets, ip), port: view.getUint16(ip.payloadAt + 2)};
    const [own, peer] = isOutbound ? [from, to] : [to, from];
    const process = this.#find(isTcp ? 'tcp' : 'udp', own, peer);
    return process && `${process.comm} (${process.pid})`;
  }

  #isNew(key: string): boolean {
    if (this.#known.has(key)) return false;
    if (this.#known.size >= flowLimit) {
      for (const oldest of this.#known) {
        this.#known.delete(oldest);
        break;
      }
    }
    this.#known.add(key);
    return true;
  }
}

/** An address and a port as a string: a character for every 16 bits. */
function keyOf(view: DataView, version: 4 | 6, addressAt: number, portAt: number): string {
  let key = String.fromCharCode(view.getUint16(portAt));
  const end = addressAt + (version === 4 ? 4 : 16);
  for (let at = addressAt; at < end; at += 2) key += String.fromCharCode(view.getUint16(at));
  return key;
}
