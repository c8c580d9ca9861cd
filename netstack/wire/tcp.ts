/**
 * The TCP header (RFC 9293, section 3.1) and the options of a SYN.
 *
 *     source port:16 | destination port:16
 *     sequence number:32
 *     acknowledgment number:32
 *     data offset:4 reserved:4 CWR ECE URG ACK PSH RST SYN FIN | window:16
 *     checksum:16 | urgent pointer:16
 *     options
 */
import type {Octets} from './octets.ts';

export const FIN = 0x01;
export const SYN = 0x02;
export const RST = 0x04;
export const PSH = 0x08;
export const ACK = 0x10;

/** Bytes of a header without options. */
export const TCP_LENGTH = 20;

const OPTION_END = 0;
const OPTION_NOP = 1;
const OPTION_MSS = 2;
const OPTION_WINDOW_SCALE = 3;

/** RFC 7323, section 2.3: a larger shift is to be read as 14. */
const MAX_SHIFT = 14;

/** Host-order fields of a header. */
export interface TcpHeader {
  sourcePort: number;
  destinationPort: number;
  /** SEG.SEQ, unsigned. */
  seq: number;
  /** SEG.ACK, unsigned. */
  ack: number;
  /** The low eight flag bits. */
  flags: number;
  /** SEG.WND as it stands in the field, not scaled. */
  window: number;
  /** Bytes, options included. */
  headerLength: number;
}

/** A header of zeros, 20 bytes long. */
export function createTcpHeader(): TcpHeader {
  return {
    sourcePort: 0,
    destinationPort: 0,
    seq: 0,
    ack: 0,
    flags: 0,
    window: 0,
    headerLength: TCP_LENGTH,
  };
}

/** Parses the header in the `length` bytes at `offset`; false: it is none. */
export function parseTcp({view}: Octets, offset: number, length: number, into: TcpHeader): boolean {
  if (length < TCP_LENGTH) {
    return false;
  }
  const headerLength = (view.getUint8(offset + 12) >> 4) * 4;
  if (headerLength < TCP_LENGTH || headerLength > length) {
    return false;
  }
  into.sourcePort = view.getUint16(offset);
  into.destinationPort = view.getUint16(offset + 2);
  into.seq = view.getUint32(offset + 4);
  into.ack = view.getUint32(offset + 8);
  into.headerLength = headerLength;
  into.flags = view.getUint8(offset + 13);
  into.window = view.getUint16(offset + 14);
  return true;
}

/** Writes the 20 fixed bytes at `offset`; the checksum and the urgent pointer are left zero. */
export function emitTcp({view}: Octets, offset: number, header: TcpHeader): void {
  view.setUint16(offset, header.sourcePort);
  view.setUint16(offset + 2, header.destinationPort);
  view.setUint32(offset + 4, header.seq);
  view.setUint32(offset + 8, header.ack);
  view.setUint8(offset + 12, (header.headerLength >> 2) << 4);
  view.setUint8(offset + 13, header.flags);
  view.setUint16(offset + 14, header.window);
  view.setUint32(offset + 16, 0);
}

/** The options of a SYN that we honour. Others, known or not, are skipped. */
export interface SynOptions {
  /** undefined: the option was absent. */
  mss: number | undefined;
  /** The shift count, at most 14. undefined: the peer does not scale, so neither may we. */
  windowScale: number | undefined;
}

/**
 * Parses options in `[offset, end)`. An option of impossible length ends the parse: what was read
 * before it counts (as Linux tcp_parse_options does). RFC 9293 MUST-7: never crashes on one.
 */
export function parseSynOptions({view}: Octets, offset: number, end: number): SynOptions {
  const options: SynOptions = {mss: undefined, windowScale: undefined};
  let at = offset;
  while (at < end) {
    const kind = view.getUint8(at);
    if (kind === OPTION_END) {
      break;
    }
    if (kind === OPTION_NOP) {
      at += 1;
      continue;
    }
    const length = at + 1 < end ? view.getUint8(at + 1) : 0;
    if (length < 2 || at + length > end) {
      break;
    }
    if (kind === OPTION_MSS && length === 4) {
      options.mss = view.getUint16(at + 2);
    } else if (kind === OPTION_WINDOW_SCALE && length === 3) {
      options.windowScale = Math.min(view.getUint8(at + 2), MAX_SHIFT);
    }
    at += length;
  }
  return options;
}

/**
 * Writes the options of a SYN or SYN-ACK at `offset`, padded to a multiple of four, and returns
 * their bytes. RFC 9293 MUST-5 allows the MSS, RFC 7323 section 2.2 the scale, on a SYN only.
 */
export function emitSynOptions({view}: Octets, offset: number, options: SynOptions): number {
  let at = offset;
  if (options.mss !== undefined) {
    view.setUint16(at, (OPTION_MSS << 8) | 4);
    view.setUint16(at + 2, options.mss);
    at += 4;
  }
  if (options.windowScale !== undefined) {
    view.setUint16(at, (OPTION_NOP << 8) | OPTION_WINDOW_SCALE);
    view.setUint16(at + 2, (3 << 8) | options.windowScale);
    at += 4;
  }
  return at - offset;
}
