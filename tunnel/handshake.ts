/**
 * The handshake: HELLO from the layer, WELCOME or CLOSE from the agent.
 *
 *     HELLO                                 WELCOME
 *     uint32   magic "mird"                 uint16   version chosen
 *     uint16   lowest version               limits, capabilities, ticket as in HELLO
 *     uint16   highest version
 *     ---- fixed for ever up to here ----
 *     32 bytes token
 *     uint32   capabilities, a bit each
 *     uint32   streams                      (limits.ts)
 *     uint32   opens per second
 *     uint32   bytes of a datagram
 *     uint32   early bytes
 *     uint16   length of the ticket, then the ticket
 *
 * The highest version that both know is chosen; a frame outside the chosen version is an error.
 * The ticket names a session that may be resumed; only WELCOME has one, and only if both sides have the
 * capability. RESUME, which a resumed session has instead of HELLO, is in `resume-frames.ts`.
 */

import {ProtocolError} from './errors.ts';
import {FRAME, newFrame, readUint16, readUint32, writeUint16, writeUint32} from './frames.ts';
import {DATAGRAM_BYTES, HEADER_BYTES, type Limits, TICKET_BYTES} from './limits.ts';

/** The versions of the protocol that this code speaks. */
export const VERSIONS: VersionRange = {lowest: 1, highest: 1};

/** Versions of the protocol, both included. */
export interface VersionRange {
  readonly lowest: number;
  readonly highest: number;
}

/** Abilities that a side may or may not have. A bit that we do not know is ignored. */
export const CAPABILITY = {echo4: 1, echo6: 2, unix: 4, resume: 8} as const;

/** Bytes of a session token: 256 bits. */
export const TOKEN_BYTES = 32;

/** The first bytes of HELLO and RESUME. */
export const MAGIC = 0x6d_69_72_64;
const PREFIX_BYTES = 8;
const TERMS_BYTES = 22;

/** What both sides say about themselves. */
export interface Terms {
  /** A set of bits of `CAPABILITY`. */
  readonly capabilities: number;
  readonly limits: Limits;
  /** Empty, or the ticket of a session. */
  readonly ticket: Uint8Array;
}

export interface Hello extends Terms, VersionRange {
  readonly token: Uint8Array;
}

export interface Welcome extends Terms {
  readonly version: number;
}

/** Returns a new HELLO frame. Throws RangeError when the token is not 32 bytes long. */
export function emitHello(hello: Hello): Uint8Array {
  if (hello.token.length !== TOKEN_BYTES) throw new RangeError('a token has 32 bytes');
  const length = PREFIX_BYTES + TOKEN_BYTES + TERMS_BYTES + hello.ticket.length;
  const bytes = newFrame(FRAME.hello, 0, length);
  writeUint32(bytes, HEADER_BYTES, MAGIC);
  writeUint16(bytes, HEADER_BYTES + 4, hello.lowest);
  writeUint16(bytes, HEADER_BYTES + 6, hello.highest);
  bytes.set(hello.token, HEADER_BYTES + PREFIX_BYTES);
  emitTerms(hello, bytes, HEADER_BYTES + PREFIX_BYTES + TOKEN_BYTES);
  return bytes;
}

/**
 * Reads a HELLO that fills `payload`. Throws ProtocolError HANDSHAKE_MALFORMED, and
 * VERSION_MISMATCH before it looks at anything that a version may define.
 */
export function parseHello(payload: Uint8Array, versions: VersionRange = VERSIONS): Hello {
  if (payload.length < PREFIX_BYTES || readUint32(payload, 0) !== MAGIC) {
    throw new ProtocolError('HANDSHAKE_MALFORMED');
  }
  const lowest = readUint16(payload, 4);
  const highest = readUint16(payload, 6);
  if (lowest > highest) throw new ProtocolError('HANDSHAKE_MALFORMED');
  if (lowest > versions.highest || highest < versions.lowest) {
    throw new ProtocolError('VERSION_MISMATCH');
  }
  if (payload.length < PREFIX_BYTES + TOKEN_BYTES) throw new ProtocolError('HANDSHAKE_MALFORMED');
  const token = payload.slice(PREFIX_BYTES, PREFIX_BYTES + TOKEN_BYTES);
  return {lowest, highest, token, ...parseTerms(payload.subarray(PREFIX_BYTES + TOKEN_BYTES))};
}

/** Returns a new WELCOME frame. */
export function emitWelcome(welcome: Welcome): Uint8Array {
  const bytes = newFrame(FRAME.welcome, 0, 2 + TERMS_BYTES + welcome.ticket.length);
  writeUint16(bytes, HEADER_BYTES, welcome.version);
  emitTerms(welcome, bytes, HEADER_BYTES + 2);
  return bytes;
}

/** Reads a WELCOME. Throws ProtocolError HANDSHAKE_MALFORMED or VERSION_MISMATCH. */
export function parseWelcome(payload: Uint8Array, versions: VersionRange = VERSIONS): Welcome {
  const version = readUint16(payload, 0);
  checkVersion(version, versions);
  return {version, ...parseTerms(payload.subarray(2))};
}

/**
 * Decides about a HELLO: what to answer, with the terms of this side. Throws as `parseHello`, and
 * ProtocolError BAD_TOKEN.
 */
export function answerHello(
  payload: Uint8Array,
  verifyToken: (token: Uint8Array) => boolean,
  {versions, ...terms}: Terms & {readonly versions: VersionRange},
): {readonly hello: Hello; readonly welcome: Welcome} {
  const hello = parseHello(payload, versions);
  if (!verifyToken(hello.token)) throw new ProtocolError('BAD_TOKEN');
  return {hello, welcome: {version: Math.min(hello.highest, versions.highest), ...terms}};
}

/** Throws ProtocolError VERSION_MISMATCH for a version that is not among them. */
export function checkVersion(version: number, {lowest, highest}: VersionRange): void {
  if (version < lowest || version > highest) throw new ProtocolError('VERSION_MISMATCH');
}

/** Compares two tokens in a time that does not depend on where they differ. */
export function isSameToken(one: Uint8Array, other: Uint8Array): boolean {
  let difference = one.length ^ other.length;
  for (let index = 0; index < TOKEN_BYTES; index++) {
    difference |= (one[index] ?? 0) ^ (other[index] ?? 0);
  }
  return difference === 0;
}

function emitTerms(terms: Terms, bytes: Uint8Array, offset: number): void {
  if (terms.ticket.length > TICKET_BYTES) throw new RangeError('the ticket is too long');
  writeUint32(bytes, offset, terms.capabilities);
  writeUint32(bytes, offset + 4, terms.limits.streams);
  writeUint32(bytes, offset + 8, terms.limits.opensPerSecond);
  writeUint32(bytes, offset + 12, terms.limits.datagramBytes);
  writeUint32(bytes, offset + 16, terms.limits.earlyBytes);
  writeUint16(bytes, offset + 20, terms.ticket.length);
  bytes.set(terms.ticket, offset + TERMS_BYTES);
}

function parseTerms(bytes: Uint8Array): Terms {
  if (bytes.length < TERMS_BYTES) throw new ProtocolError('HANDSHAKE_MALFORMED');
  const ticketBytes = readUint16(bytes, 20);
  if (ticketBytes > TICKET_BYTES || bytes.length !== TERMS_BYTES + ticketBytes) {
    throw new ProtocolError('HANDSHAKE_MALFORMED');
  }
  return {
    capabilities: readUint32(bytes, 0),
    limits: {
      streams: readUint32(bytes, 4),
      opensPerSecond: readUint32(bytes, 8),
      // A peer may say that it takes more than a frame can hold.
      datagramBytes: Math.min(readUint32(bytes, 12), DATAGRAM_BYTES),
      earlyBytes: readUint32(bytes, 16),
    },
    ticket: bytes.slice(TERMS_BYTES),
  };
}
