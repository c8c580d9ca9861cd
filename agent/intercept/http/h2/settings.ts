/** SETTINGS that one end says to the other, on their way through the relay. */

import {HEAD_BYTES} from './blocks.ts';
import {type FrameReader, readUint32, writeUint32} from './frames.ts';
import type {Setting} from './link.ts';
import {HEADER_TABLE_SIZE, MAX_CONCURRENT_STREAMS, MAX_HEADER_LIST_SIZE} from './protocol.ts';

/** Streams at a time that are known here. nginx allows 128, Go 250, Node any number. */
export const MAX_STREAMS = 4096;
/** The largest table of headers that we read along: browsers and their servers have this one, most others 4096. */
export const TABLE_BYTES = 65_536;
/** SETTINGS that were not acknowledged. */
export const MAX_UNACKNOWLEDGED = 1000;

/** What a client is told while there is no application. */
export const OWN_SETTINGS: readonly Setting[] = [
  [MAX_CONCURRENT_STREAMS, 1024],
  [MAX_HEADER_LIST_SIZE, HEAD_BYTES],
];

/** Makes a table that is larger than `most` as large as that, in the frame itself. */
export function limitTables({bytes, start, end}: FrameReader, most: number): void {
  for (let at = start; at < end; at += 6) {
    const isTable = bytes[at] === 0 && bytes[at + 1] === HEADER_TABLE_SIZE;
    if (isTable && readUint32(bytes, at + 2) >>> 0 > most) writeUint32(bytes, at + 2, most);
  }
}
