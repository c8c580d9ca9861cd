/**
 * `host.mirrord.internal`: the name by which the program reaches this machine's loopback.
 *
 * Its addresses are such as nobody else can have: 192.0.0.8, which may be a source but never a destination
 * on any network (RFC 7600; IANA's registry of special addresses), and one of the block for documentation
 * (RFC 3849). Connections to them are dialled here. Pure.
 */

import {addressText} from './address.ts';

const name = 'host.mirrord.internal';
const address4 = '192.0.0.8';
const address6 = '2001:db8::8';

/**
 * The addresses here that one of the name's stands for, or undefined for all others. Many servers bind but
 * one family of loopback: the asked one comes first, the other after it.
 */
export function hostCandidates(address: Uint8Array): readonly string[] | undefined {
  switch (addressText(address)) {
    case address4:
      return ['127.0.0.1', '::1'];
    case address6:
      return ['::1', '127.0.0.1'];
    default:
      return undefined;
  }
}

/** The name's address of one family. */
export function hostAddress(family: 4 | 6): string {
  return family === 4 ? address4 : address6;
}

/** A hosts file that has the name too: by the families that the pod's own addresses have. */
export function withHostName(hosts: string, podAddresses: readonly string[]): string {
  const has = (isSix: boolean): boolean =>
    podAddresses.some((each) => each.includes(':') === isSix);
  const lines = [
    ...(has(false) ? [`${address4}\t${name}\n`] : []),
    ...(has(true) ? [`${address6}\t${name}\n`] : []),
  ];
  return `${hosts}${hosts === '' || hosts.endsWith('\n') ? '' : '\n'}${lines.join('')}`;
}
