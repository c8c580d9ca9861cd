/**
 * The blocks of a capture file in the pcapng format (draft-ietf-opsawg-pcapng), little-endian. Pure.
 *
 *     block:   u32 type, u32 total length, body, options, u32 total length
 *     option:  u16 code, u16 length, value, padded to 4 bytes; the last one is 0, 0
 *
 *     section header:    u32 byte-order magic, u16 major, u16 minor, i64 section length
 *     interface:         u16 link type, u16 reserved, u32 snapshot length (0: no limit)
 *     enhanced packet:   u32 interface, u32 time high, u32 time low, u32 captured length, u32 original length,
 *                        data, padded to 4 bytes
 *     statistics:        u32 interface, u32 time high, u32 time low
 *
 * There is one interface, 0; times are microseconds since 1970.
 */

import type {Octets} from '../../netstack/wire/octets.ts';

const SECTION_HEADER = 0x0a0d0d0a;
const INTERFACE_DESCRIPTION = 1;
const INTERFACE_STATISTICS = 5;
const ENHANCED_PACKET = 6;
const BYTE_ORDER_MAGIC = 0x1a2b3c4d;
/** LINKTYPE_RAW: packets begin with their IPv4 or IPv6 header. */
const LINKTYPE_RAW = 101;

const OPT_COMMENT = 1;
const SHB_OS = 3;
const SHB_USERAPPL = 4;
const IF_NAME = 2;
const IF_DESCRIPTION = 3;
const IF_TSRESOL = 9;
const EPB_FLAGS = 2;
const ISB_STARTTIME = 2;
const ISB_ENDTIME = 3;
const ISB_IFRECV = 4;
const ISB_IFDROP = 5;
/** Microseconds: the power of ten. */
const TIME_RESOLUTION = 6;
const INBOUND = 1;
const OUTBOUND = 2;

/** Where the data of an enhanced packet begins in its block. */
export const packetDataOffset = 28;
/** The longest comment, in bytes. */
export const commentLimit = 64;
/** What a packet's block has besides its data, at most: head, padding, flags, comment, end, length. */
export const packetOverhead = packetDataOffset + 3 + 8 + (4 + commentLimit) + 4 + 4;

type Option = readonly [code: number, value: Uint8Array];

const encoder = new TextEncoder();

function padded(length: number): number {
  return (length + 3) & ~3;
}

/** A 64-bit number as two words, the upper one first, as times are written. */
function putTime(view: DataView, at: number, timeUs: number): void {
  view.setUint32(at, Math.floor(timeUs / 2 ** 32), true);
  view.setUint32(at + 4, timeUs >>> 0, true);
}

function timeValue(timeUs: number): Uint8Array {
  const bytes = new Uint8Array(8);
  putTime(new DataView(bytes.buffer), 0, timeUs);
  return bytes;
}

/** A count, as the 64-bit number that counts are. */
function countValue(count: number): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(count), true);
  return bytes;
}

/** Writes an option; returns where the next one begins. */
function putOption({bytes, view}: Octets, at: number, [code, value]: Option): number {
  view.setUint16(at, code, true);
  view.setUint16(at + 2, value.length, true);
  const end = at + 4 + padded(value.length);
  bytes.fill(0, at + 4 + value.length, end);
  bytes.set(value, at + 4);
  return end;
}

function block(type: number, body: Uint8Array, options: readonly Option[]): Uint8Array {
  const optionsLength = options.reduce((sum, [, value]) => sum + 4 + padded(value.length), 4);
  const bytes = new Uint8Array(8 + body.length + optionsLength + 4);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, type, true);
  view.setUint32(4, bytes.length, true);
  bytes.set(body, 8);
  let at = 8 + body.length;
  for (const option of options) at = putOption({bytes, view}, at, option);
  view.setUint32(bytes.length - 4, bytes.length, true);
  return bytes;
}

/** The block that a file begins with. */
export function emitSectionHeader(): Uint8Array {
  const body = new Uint8Array(16).fill(0xff); // the section's length is not known
  const view = new DataView(body.buffer);
  view.setUint32(0, BYTE_ORDER_MAGIC, true);
  view.setUint16(4, 1, true);
  view.setUint16(6, 0, true);
  return block(SECTION_HEADER, body, [
    [SHB_OS, encoder.encode('Linux')],
    [SHB_USERAPPL, encoder.encode('mirrord')],
  ]);
}

/** Describes the interface, whose packets are to be read as IP packets. */
export function emitInterface(name: string, description: string): Uint8Array {
  const body = new Uint8Array(8);
  new DataView(body.buffer).setUint16(0, LINKTYPE_RAW, true);
  return block(INTERFACE_DESCRIPTION, body, [
    [IF_NAME, encoder.encode(name)],
    [IF_DESCRIPTION, encoder.encode(description)],
    [IF_TSRESOL, Uint8Array.of(TIME_RESOLUTION)],
  ]);
}

export interface Statistics {
  startUs: number;
  endUs: number;
  /** Packets that crossed the interface. */
  received: number;
  /** Those of them that are not in the file. */
  dropped: number;
}

/** The block that tells at the end how complete the file is. */
export function emitStatistics({startUs, endUs, received, dropped}: Statistics): Uint8Array {
  const body = new Uint8Array(12);
  putTime(new DataView(body.buffer), 4, endUs);
  return block(INTERFACE_STATISTICS, body, [
    [ISB_STARTTIME, timeValue(startUs)],
    [ISB_ENDTIME, timeValue(endUs)],
    [ISB_IFRECV, countValue(received)],
    [ISB_IFDROP, countValue(dropped)],
  ]);
}

export interface PacketInfo {
  timeUs: number;
  /** Bytes of data, all of which are in the file. */
  length: number;
  /** Sent by the program, not to it. */
  isOutbound: boolean;
  /** At most `commentLimit` bytes. */
  comment?: string | undefined;
}

/**
 * Writes the block around a packet whose data stands at `at + packetDataOffset` already. Returns the block's
 * length. `into` must have room for the data and `packetOverhead`.
 */
export function emitPacket(into: Octets, at: number, info: PacketInfo): number {
  const {bytes, view} = into;
  const {length, comment} = info;
  view.setUint32(at, ENHANCED_PACKET, true);
  view.setUint32(at + 8, 0, true);
  putTime(view, at + 12, info.timeUs);
  view.setUint32(at + 20, length, true);
  view.setUint32(at + 24, length, true);
  const dataEnd = at + packetDataOffset + length;
  let next = at + packetDataOffset + padded(length);
  bytes.fill(0, dataEnd, next);
  view.setUint32(next, EPB_FLAGS | (4 << 16), true);
  view.setUint32(next + 4, info.isOutbound ? OUTBOUND : INBOUND, true);
  next += 8;
  if (comment !== undefined) {
    const value = encoder.encode(comment).subarray(0, commentLimit);
    next = putOption(into, next, [OPT_COMMENT, value]);
  }
  view.setUint32(next, 0, true);
  const total = next + 8 - at;
  view.setUint32(next + 4, total, true);
  view.setUint32(at + 4, total, true);
  return total;
}
