/**
 * ICMP and ICMPv6: echo requests go to the layer, errors that we draw close UDP flows, and errors
 * about packets that we cannot carry go out.
 *
 * Echo is never answered here: a ping that is answered by the laptop says nothing about the pod's
 * network. It is answered when the agent has an answer, or not at all.
 */
import type {Shared} from '../shared.ts';
import type {Echo} from '../types.ts';
import type {Udp} from '../udp/udp.ts';
import {fold, sumWords} from '../wire/checksum.ts';
import {
  createIcmpHeader,
  ECHO_REPLY,
  ECHO_REQUEST,
  ICMP_LENGTH,
  isIcmpError,
  parseIcmp,
  UNREACHABLE,
  V6_ECHO_REPLY,
  V6_ECHO_REQUEST,
  V6_UNREACHABLE,
} from '../wire/icmp.ts';
import {
  copyDestination,
  copySource,
  createIpHeader,
  type IpHeader,
  ipHeaderLength,
  isGroupDestination,
  maxPayload,
  PROTOCOL_ICMP,
  PROTOCOL_ICMPV6,
  PROTOCOL_UDP,
} from '../wire/ip.ts';
import type {Octets} from '../wire/octets.ts';
import {buildIcmp, buildIcmpError, type IcmpMessage} from './message.ts';
import type {RateLimit} from './rate-limit.ts';

const PORT_UNREACHABLE = 3;
const V6_PORT_UNREACHABLE = 4;

export class Icmp {
  readonly #shared: Shared;
  readonly #rate: RateLimit;
  readonly #udp: Udp;
  readonly #header = createIcmpHeader();

  constructor(shared: Shared, rate: RateLimit, udp: Udp) {
    this.#shared = shared;
    this.#rate = rate;
    this.#udp = udp;
  }

  /** Takes the message that `ip` carries. */
  process(frame: Octets, ip: IpHeader): void {
    const {counters, handler} = this.#shared;
    const header = this.#header;
    if (!parseIcmp(frame, ip.payloadAt, ip.payloadLength, header)) {
      counters.malformed += 1;
      return;
    }
    // Always verified: a packet socket may say anything, and ICMP is rare.
    if (!isIntact(frame, ip)) {
      counters.badChecksum += 1;
      return;
    }
    if (isGroupDestination(frame, ip)) {
      counters.groupDestination += 1;
      return;
    }
    const request = ip.version === 4 ? ECHO_REQUEST : V6_ECHO_REQUEST;
    if (header.type === request && header.code === 0) {
      const at = ip.payloadAt + ICMP_LENGTH;
      handler.onEcho({
        source: copySource(frame, ip),
        destination: copyDestination(frame, ip),
        id: header.rest >>> 16,
        seq: header.rest & 0xffff,
        payload: frame.bytes.subarray(at, ip.payloadAt + ip.payloadLength),
      });
      return;
    }
    const isPortUnreachable =
      ip.version === 4
        ? header.type === UNREACHABLE && header.code === PORT_UNREACHABLE
        : header.type === V6_UNREACHABLE && header.code === V6_PORT_UNREACHABLE;
    if (isPortUnreachable) {
      this.#onPortUnreachable(frame, ip);
    }
  }

  /** Finds the datagram of ours that the program's kernel complains about. */
  #onPortUnreachable(frame: Octets, ip: IpHeader): void {
    const start = ip.payloadAt + ICMP_LENGTH;
    const end = ip.payloadAt + ip.payloadLength;
    const embedded = parseEmbedded(frame, start, end);
    if (embedded?.protocol === PROTOCOL_UDP) {
      this.#udp.unreachable(frame, embedded);
    }
  }

  /** Answers an echo request: identifier, sequence and payload as they came. Copies the payload. */
  reply(echo: Echo): void {
    const version = echo.source.length === 4 ? 4 : 6;
    if (
      echo.destination.length !== echo.source.length ||
      ICMP_LENGTH + echo.payload.length > maxPayload(version)
    ) {
      this.#shared.counters.malformed += 1;
      return;
    }
    const message: IcmpMessage = {
      type: version === 4 ? ECHO_REPLY : V6_ECHO_REPLY,
      code: 0,
      rest: ((echo.id << 16) | (echo.seq & 0xffff)) >>> 0,
      from: echo.destination,
      to: echo.source,
    };
    this.#shared.control.push(buildIcmp(message, echo.payload));
  }

  /**
   * Complains about the packet that `ip` describes, unless that must not be: about ICMP errors,
   * group destinations, and fragments but the first (RFC 1122, section 3.2.2; RFC 4443, 2.4e).
   */
  complain(
    frame: Octets,
    ip: IpHeader,
    {type, code, rest, now}: {type: number; code: number; rest: number; now: number},
  ): void {
    if (isGroupDestination(frame, ip) || ip.fragmentOffset > 0 || isAboutError(frame, ip)) {
      return;
    }
    if (!this.#rate.take(now)) {
      this.#shared.counters.icmpRateLimit += 1;
      return;
    }
    const message = {type, code, rest, from: copyDestination(frame, ip), to: copySource(frame, ip)};
    const offender = frame.bytes.subarray(ip.start, ip.end);
    this.#shared.control.push(buildIcmpError(message, offender));
  }
}

function isAboutError({view}: Octets, ip: IpHeader): boolean {
  const isIcmp = ip.protocol === PROTOCOL_ICMP || ip.protocol === PROTOCOL_ICMPV6;
  return isIcmp && ip.payloadLength > 0 && isIcmpError(ip.version, view.getUint8(ip.payloadAt));
}

function isIntact(frame: Octets, ip: IpHeader): boolean {
  const own = sumWords(frame, ip.payloadAt, ip.payloadLength);
  const pseudo =
    ip.version === 6 ? sumWords(frame, ip.sourceAt, 32) + ip.protocol + ip.payloadLength : 0;
  return fold(own + pseudo) === 0xffff;
}

/**
 * Parses what an error embeds: a packet of ours, which has no options, cut off somewhere. At least
 * eight bytes of its payload are there.
 */
function parseEmbedded({view}: Octets, start: number, end: number): IpHeader | undefined {
  if (end - start < 20 + 8) {
    return undefined;
  }
  const version = view.getUint8(start) >> 4;
  if ((version !== 4 && version !== 6) || end - start < ipHeaderLength(version) + 8) {
    return undefined;
  }
  const ip = createIpHeader();
  ip.version = version;
  ip.protocol = view.getUint8(start + (version === 4 ? 9 : 6));
  ip.sourceAt = start + (version === 4 ? 12 : 8);
  ip.destinationAt = start + (version === 4 ? 16 : 24);
  ip.payloadAt = start + ipHeaderLength(version);
  ip.payloadLength = end - ip.payloadAt;
  return ip;
}
