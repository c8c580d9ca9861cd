/**
 * The addresses of the namespace, compared as words: asked for each packet that comes in.
 */
import type {IpAddress} from './types.ts';
import type {IpHeader} from './wire/ip.ts';
import {type Octets, octets} from './wire/octets.ts';

export class AddressSet {
  readonly #v4 = new Set<number>();
  readonly #v6: DataView[] = [];

  constructor(addresses: readonly IpAddress[]) {
    for (const address of addresses) {
      const {view} = octets(address.slice());
      if (address.length === 4) {
        this.#v4.add(view.getInt32(0));
      } else {
        this.#v6.push(view);
      }
    }
  }

  /** Whether the source of a packet is in the set. */
  hasSource({view}: Octets, ip: IpHeader): boolean {
    const at = ip.sourceAt;
    if (ip.version === 4) {
      return this.#v4.has(view.getInt32(at));
    }
    for (const address of this.#v6) {
      if (
        address.getInt32(12) === view.getInt32(at + 12) &&
        address.getInt32(8) === view.getInt32(at + 8) &&
        address.getInt32(4) === view.getInt32(at + 4) &&
        address.getInt32(0) === view.getInt32(at)
      ) {
        return true;
      }
    }
    return false;
  }
}
