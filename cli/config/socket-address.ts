/** An address with a port, as a configuration names a place to listen at. */

import {isIP} from 'node:net';

/** Reads `ADDRESS:PORT`, an IPv6 address in brackets; undefined when it is none, or the port is 0. */
export function parseSocketAddress(text: string): {address: string; port: number} | undefined {
  const {six, four, digits} =
    /^(?:\[(?<six>[^\]%]+)\]|(?<four>[^:]+)):(?<digits>\d{1,5})$/.exec(text)?.groups ?? {};
  const address = six ?? four ?? '';
  const port = Number(digits);
  const fits = isIP(address) === (six === undefined ? 4 : 6);
  return fits && port > 0 && port <= 65_535 ? {address, port} : undefined;
}
