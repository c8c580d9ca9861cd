/**
 * Whether a user namespace is needed first.
 */

import {readFileSync} from 'node:fs';

/** CAP_SYS_ADMIN makes namespaces, CAP_NET_ADMIN a TUN device and addresses (linux/capability.h). */
const needed = (1n << 21n) | (1n << 12n);

/** Whether this process may make network and mount namespaces as it is: root, mostly. */
export function isPrivileged(): boolean {
  const status = readFileSync('/proc/self/status', 'utf8');
  const effective = /^CapEff:\s*([0-9a-f]+)/m.exec(status)?.[1] ?? '0';
  return (BigInt(`0x${effective}`) & needed) === needed;
}
