/**
 * The resolver files of a program whose names are this machine's business (`dns.enabled: false`). Pure.
 *
 * They are this machine's, but for the name servers: the program asks us, at the address of
 * `host.mirrord.internal`, and we ask as a program outside would. Hence also a name server on this machine's
 * loopback, which the program couldn't reach, and what getaddrinfo knows beyond DNS, do their work.
 */

import {isIPv6} from 'node:net';
import {hostAddress} from '../host-name.ts';
import {parseHosts} from './names.ts';

/** This machine's resolv.conf for the program, which has the families of the pod's own addresses. */
export function hostResolvConf(text: string, podAddresses: readonly string[]): string {
  const isSixOnly = podAddresses.length > 0 && podAddresses.every((address) => isIPv6(address));
  const others = text.split('\n').filter((line) => !/^\s*(nameserver\s|[#;]|$)/.test(line));
  return [`nameserver ${hostAddress(isSixOnly ? 6 : 4)}`, ...others, ''].join('\n');
}

/** This machine's hosts file, with the pod's names of its own addresses. */
export function hostHosts(text: string, podHosts: string, podAddresses: readonly string[]): string {
  const own = parseHosts(podHosts)
    .filter(({address}) => podAddresses.includes(address))
    .map(({address, names}) => `${address}\t${names.join(' ')}\n`);
  return `${text}${text === '' || text.endsWith('\n') ? '' : '\n'}${own.join('')}`;
}
