/**
 * How a connect that the pod could not make is failed: with what a kernel would have got from the
 * network. All of them act at once on a socket in SYN-SENT; after the handshake ICMP errors are soft
 * (RFC 5927), so there is only RST.
 *
 * ETIMEDOUT is silence: the program's kernel reports it after its own SYN retries.
 */
import {icmpForErrno} from '../icmp/errno.ts';
import {buildIcmpError, rebuildOffender} from '../icmp/message.ts';
import type {Errno} from '../types.ts';
import {createPath, PROTOCOL_TCP} from '../wire/ip.ts';
import {octets} from '../wire/octets.ts';
import {createTcpHeader, emitTcp, SYN, TCP_LENGTH} from '../wire/tcp.ts';
import type {Tcb} from './tcb.ts';

/**
 * Builds the ICMP error for a PENDING connection; undefined: RST is the answer. Embedded is the
 * header of the SYN: the kernel looks up the socket by its ports and compares its sequence number.
 */
export function buildRefusal(tcb: Tcb, errno: Errno): Uint8Array | undefined {
  if (errno === 'ECONNREFUSED' || errno === 'EMSGSIZE') {
    return undefined;
  }
  const icmp = icmpForErrno(errno, tcb.path.version);
  if (icmp === undefined) {
    return undefined;
  }
  const syn = octets(new Uint8Array(TCP_LENGTH));
  emitTcp(syn, 0, {
    ...createTcpHeader(),
    sourcePort: tcb.sourcePort,
    destinationPort: tcb.destinationPort,
    seq: tcb.irs,
    flags: SYN,
  });
  const {from, to} = tcb.path;
  const offender = rebuildOffender(createPath(PROTOCOL_TCP, to, from), syn.bytes);
  return buildIcmpError({...icmp, from, to}, offender);
}
