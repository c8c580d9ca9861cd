/**
 * Reads listening sockets from a table of /proc/net, for kernels without sock_diag. Pure.
 *
 * `sl local_address rem_address st …`: addresses are 32-bit words in hexadecimal, each in the byte order
 * of the machine (little-endian wherever we run), ports hexadecimal numbers (proc_net_tcp.rst).
 */

import {type Listener, listenerAt} from './listener.ts';

/** "Linux include/net/tcp_states.h": TCP_LISTEN; TCP_CLOSE, which a UDP socket is in that isn't connected. */
const states = {tcp: '0A', udp: '07'} as const;

function parseAddress(text: string): Uint8Array {
  const bytes = Buffer.from(text, 'hex');
  for (let at = 0; at + 4 <= bytes.length; at += 4) bytes.subarray(at, at + 4).reverse();
  return bytes;
}

/** Reads `/proc/net/tcp` or `/proc/net/tcp6`, or those of UDP. */
export function parseTable(table: string, protocol: 'tcp' | 'udp' = 'tcp'): Listener[] {
  return table
    .split('\n')
    .slice(1)
    .flatMap((line) => {
      const [, bound = '', , state] = line.trim().split(/\s+/, 4);
      const [address = '', port = ''] = bound.split(':');
      if (state !== states[protocol]) return [];
      return [listenerAt(parseAddress(address), Number.parseInt(port, 16))];
    });
}
