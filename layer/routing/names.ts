/**
 * Which names an address is known by: what DNS answered to the program, and what hosts files say. Pure.
 *
 * An answer's address has the name that was asked for and every alias on the way to it (CNAME). Where many
 * names have one address, it has them all: connections show addresses only, and mirrord compares by address
 * as well. Nothing expires: programs keep addresses longer than their time to live.
 */

import type {AnsweredAddress} from './dns/message.ts';
import type {Side} from './options.ts';
import {isUnder, plainName} from './search-domains.ts';

/** Addresses that are remembered; the one that was learned longest ago makes room. */
const addressLimit = 16_384;
/** Names of one address, which a big load balancer has more of than anybody needs. */
const nameLimit = 64;

/** What is known of one address. */
interface Known {
  /** By name: who answered, and whether it was the name asked for, last learned last. */
  readonly names: Map<string, {origin: Side; isAlias: boolean}>;
}

export class Names {
  readonly counters = {learned: 0, forgotten: 0};
  /** Called when an address of loopback has got a new name. */
  onLoopback: (() => void) | undefined;
  readonly #known = new Map<string, Known>();

  /** Takes in what `origin` answered. */
  learn(answers: readonly AnsweredAddress[], origin: Side): void {
    let isLoopbackNew = false;
    for (const {address, names} of answers) {
      const known = this.#take(address);
      for (const [index, name] of names.entries()) {
        isLoopbackNew ||= !known.names.has(name) && /^(127\.|::1$)/.test(address);
        this.#add(known, name, {origin, isAlias: index > 0});
      }
    }
    if (isLoopbackNew) this.onLoopback?.();
  }

  /** The names of an address in text form, in lower case. */
  of(address: string): Iterable<string> {
    return this.#known.get(address)?.names.keys() ?? [];
  }

  /**
   * By which name this machine should look for an address that the pod's DNS gave: the last one that was
   * asked for and that means something outside of the pod's own domains. Undefined: by the address.
   */
  outsideName(address: string, podDomains: readonly string[]): string | undefined {
    const entries = [...(this.#known.get(address)?.names ?? [])];
    if (entries.some(([, {origin}]) => origin === 'host')) return undefined; // it is an address of here
    const isMeant = ([name, {isAlias}]: (typeof entries)[number]): boolean =>
      !isAlias && !isUnder(name, podDomains);
    return entries.findLast(isMeant)?.[0];
  }

  /** What is known of an address, which becomes the last learned one. */
  #take(address: string): Known {
    const known = this.#known.get(address) ?? {names: new Map()};
    this.#known.delete(address);
    this.#known.set(address, known);
    this.counters.learned++;
    if (this.#known.size > addressLimit) this.#forgetFirst(this.#known);
    return known;
  }

  #add({names}: Known, name: string, about: {origin: Side; isAlias: boolean}): void {
    names.delete(name);
    names.set(name, about);
    if (names.size > nameLimit) this.#forgetFirst(names);
  }

  #forgetFirst(map: Map<string, unknown>): void {
    const first = map.keys().next();
    if (first.done === true) return;
    map.delete(first.value);
    this.counters.forgotten++;
  }
}

/** Reads a hosts file (hosts(5)): the names of each address. */
export function parseHosts(text: string): AnsweredAddress[] {
  return text.split('\n').flatMap((line) => {
    const [address = '', ...names] = line.replace(/#.*/, '').trim().split(/\s+/);
    return names.length === 0
      ? []
      : [{address: address.toLowerCase(), names: names.map(plainName)}];
  });
}
