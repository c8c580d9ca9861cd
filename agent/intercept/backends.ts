/** The tools that are here. */

import type {Backend} from './backend.ts';
import {Iptables} from './iptables.ts';
import {Nftables} from './nftables.ts';
import {findTool} from './tools.ts';

/** What may be tried here, best first; `id`: 8 hexadecimal digits, this agent's own. */
export function findBackends(id: string): Backend[] {
  const nft = findTool('nft');
  return [
    ...(nft === undefined ? [] : [new Nftables(nft, id)]),
    ...(['nft', 'legacy'] as const).flatMap((variant) => Iptables.find(variant, id) ?? []),
  ];
}
