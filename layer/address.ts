/** IP addresses between their text and their bytes. */

import {isIP} from 'node:net';
import type {IpAddress} from '../netstack/types.ts';

/** The text of an address: the usual form, in which there is but one for each. */
export function addressText(bytes: IpAddress): string {
  if (bytes.length === 4) return bytes.join('.');
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const groups = Array.from({length: 8}, (_, i) => view.getUint16(2 * i).toString(16));
  return new URL(`http://[${groups.join(':')}]`).hostname.slice(1, -1);
}

/** The bytes of a valid address in text form, in network byte order. */
export function addressBytes(text: string): IpAddress {
  if (isIP(text) === 4) return Uint8Array.from(text.split('.'), Number);
  // The URL parser knows every way to write an IPv6 address, and writes it in groups of hexadecimals.
  const [head = '', tail] = new URL(`http://[${text}]`).hostname.slice(1, -1).split('::');
  const groups = (part: string | undefined): string[] => (part ? part.split(':') : []);
  const [left, right] = [groups(head), groups(tail)];
  const zeros = new Array<string>(8 - left.length - right.length).fill('0');
  const view = new DataView(new ArrayBuffer(16));
  [...left, ...zeros, ...right].forEach((group, i) => {
    view.setUint16(2 * i, Number.parseInt(group, 16));
  });
  return new Uint8Array(view.buffer);
}
