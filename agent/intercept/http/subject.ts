/** A request of HTTP/1 as filters see it. Strings are made of what is asked for only. */

import type {Exchange} from './exchange.ts';
import type {FilterSubject} from './filter/matcher.ts';
import {arePlain, headersOf} from './lines.ts';

export class RequestSubject implements FilterSubject {
  readonly #exchange: Exchange;
  readonly #gather: (exchange: Exchange) => Promise<Uint8Array | undefined>;
  #headers: readonly string[] | undefined;
  #small: string | undefined;
  #body: Promise<Uint8Array | undefined> | undefined;

  /** `gather` reads the body. */
  constructor(exchange: Exchange, gather: (exchange: Exchange) => Promise<Uint8Array | undefined>) {
    this.#exchange = exchange;
    this.#gather = gather;
  }

  get method(): string {
    return this.#exchange.head.method;
  }

  get target(): string {
    const {head, headBytes} = this.#exchange;
    return headBytes.toString('latin1', head.targetStart, head.targetEnd);
  }

  get headers(): readonly string[] {
    this.#headers ??= headersOf(this.#exchange.headBytes, this.#exchange.head.lines);
    return this.#headers;
  }

  lacks(text: string): boolean {
    this.#small ??= this.#smallLines();
    return this.#small !== '' && !this.#small.includes(text);
  }

  body(): Promise<Uint8Array | undefined> {
    this.#body ??= this.#gather(this.#exchange);
    return this.#body;
  }

  /** All lines in small letters; '' if one of them is written in another way than filters see it. */
  #smallLines(): string {
    const {head, headBytes} = this.#exchange;
    const {lines} = head;
    if (!arePlain(headBytes, lines)) return '';
    return headBytes.toString('latin1', lines[0], headBytes.length).toLowerCase();
  }
}
