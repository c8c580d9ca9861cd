/** Whether this process may change the rules of its network at all. */

import {readFileSync} from 'node:fs';

/** "Linux include/uapi/linux/capability.h: CAP_NET_ADMIN". */
const NET_ADMIN = 12n;

/** By the capabilities in a `/proc/PID/status`. */
export function hasNetAdmin(status: string): boolean {
  const [, capabilities = '0'] = /^CapEff:\s*([0-9a-f]+)$/m.exec(status) ?? [];
  return ((BigInt(`0x${capabilities}`) >> NET_ADMIN) & 1n) === 1n;
}

export function mayRedirect(): boolean {
  try {
    return hasNetAdmin(readFileSync('/proc/self/status', 'utf8'));
  } catch {
    return true; // to try tells
  }
}
