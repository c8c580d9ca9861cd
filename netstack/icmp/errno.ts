/**
 * Which ICMP error makes a Linux kernel report which errno to the program that connects or sends
 * (net/ipv4/icmp.c: icmp_err_convert; net/ipv6/icmp.c: tab_unreach), and so which one we send for
 * an errno of the pod. Measured on Linux 6.18.
 *
 *     errno         v4     v6
 *     ENETUNREACH   3/0    1/0
 *     EHOSTUNREACH  3/1    1/3    v4: TCP; of datagrams see icmpForUdpErrno
 *     EACCES EPERM  3/13   1/1    v4 programs see EHOSTUNREACH, as in a pod
 *     ENOPROTOOPT   3/2    –      ICMPv6 has no sign for it
 *     EPROTO        12/0   4/1
 *     EMSGSIZE      3/4    2/0    with the MTU; UDP only
 *     ECONNREFUSED  3/3    1/4    UDP only: TCP has RST
 */
import type {Errno} from '../types.ts';
import {
  type IcmpHeader,
  PARAMETER_PROBLEM,
  UNREACHABLE,
  V6_PARAMETER_PROBLEM,
  V6_TOO_BIG,
  V6_UNREACHABLE,
} from '../wire/icmp.ts';

/** A host that claims less is not believed: RFC 1191, section 3 (Linux min_pmtu), RFC 8200. */
const MIN_MTU_V4 = 552;
const MIN_MTU_V6 = 1280;
const MAX_MTU = 0xffff;

/** The ICMP error for an errno; undefined: there is none that a kernel would turn into it. */
export function icmpForErrno(errno: Errno, version: 4 | 6, mtu = 0): IcmpHeader | undefined {
  return version === 4 ? forV4(errno, mtu) : forV6(errno, mtu);
}

/**
 * The same about a datagram. A kernel tells a connected UDP socket of 3/0 and 3/1 nothing, for they may pass (udp_err); so an
 * errno that the pod's socket was told of came by an error that lasts, and the program's must, too: 3/9 and 3/10.
 */
export function icmpForUdpErrno(errno: Errno, version: 4 | 6, mtu = 0): IcmpHeader | undefined {
  const icmp = icmpForErrno(errno, version, mtu);
  const passes = version === 4 && (errno === 'ENETUNREACH' || errno === 'EHOSTUNREACH');
  return passes && icmp !== undefined ? {...icmp, code: errno === 'ENETUNREACH' ? 9 : 10} : icmp;
}

function forV4(errno: Errno, mtu: number): IcmpHeader | undefined {
  switch (errno) {
    case 'ENETUNREACH':
      return {type: UNREACHABLE, code: 0, rest: 0};
    case 'EHOSTUNREACH':
      return {type: UNREACHABLE, code: 1, rest: 0};
    case 'ENOPROTOOPT':
      return {type: UNREACHABLE, code: 2, rest: 0};
    case 'ECONNREFUSED':
      return {type: UNREACHABLE, code: 3, rest: 0};
    case 'EMSGSIZE':
      return {type: UNREACHABLE, code: 4, rest: clampMtu(mtu, MIN_MTU_V4)};
    case 'EACCES':
    case 'EPERM':
      return {type: UNREACHABLE, code: 13, rest: 0};
    case 'EPROTO':
      return {type: PARAMETER_PROBLEM, code: 0, rest: 0};
    case 'ECONNRESET':
    case 'ETIMEDOUT':
      return undefined;
  }
}

function forV6(errno: Errno, mtu: number): IcmpHeader | undefined {
  switch (errno) {
    case 'ENETUNREACH':
      return {type: V6_UNREACHABLE, code: 0, rest: 0};
    case 'EACCES':
    case 'EPERM':
      return {type: V6_UNREACHABLE, code: 1, rest: 0};
    case 'EHOSTUNREACH':
      return {type: V6_UNREACHABLE, code: 3, rest: 0};
    case 'ECONNREFUSED':
      return {type: V6_UNREACHABLE, code: 4, rest: 0};
    case 'EMSGSIZE':
      return {type: V6_TOO_BIG, code: 0, rest: clampMtu(mtu, MIN_MTU_V6)};
    case 'EPROTO':
      // The pointer is at the next header field of the embedded packet.
      return {type: V6_PARAMETER_PROBLEM, code: 1, rest: 6};
    case 'ENOPROTOOPT':
    case 'ECONNRESET':
    case 'ETIMEDOUT':
      return undefined;
  }
}

function clampMtu(mtu: number, least: number): number {
  return Math.min(Math.max(Math.floor(mtu) || 0, least), MAX_MTU);
}
