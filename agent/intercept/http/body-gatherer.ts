/** Reads the whole body of a request, if it is small and comes soon, for filters that look at it. */

import type {Exchange} from './exchange.ts';
import type {Signal} from './signal.ts';

export interface GatherLimits {
  readonly maxBodyBytes: number;
  readonly bodyTimeoutMs: number;
}

/** The connection that it comes by. */
export interface BodySource {
  readonly isAtEnd: boolean;
  readonly isBroken: boolean;
  read(): Buffer | undefined;
  /** Puts bytes of the last `read` back. */
  unread(bytes: Buffer): void;
}

export class BodyGatherer {
  readonly #exchange: Exchange;
  readonly #client: BodySource;
  readonly #maxBodyBytes: number;
  readonly #deadline: number;
  readonly #cancel: () => void;
  readonly #body = Promise.withResolvers<Uint8Array | undefined>();

  constructor(
    exchange: Exchange,
    client: BodySource,
    {signal, maxBodyBytes, bodyTimeoutMs}: GatherLimits & {readonly signal: Signal},
  ) {
    this.#exchange = exchange;
    this.#client = client;
    this.#maxBodyBytes = maxBodyBytes;
    this.#deadline = performance.now() + bodyTimeoutMs;
    this.#cancel = signal.notifyIn(bodyTimeoutMs + 1);
  }

  /** Resolves to the payload; undefined when it is too large, too slow, or no body. */
  get body(): Promise<Uint8Array | undefined> {
    return this.#body.promise;
  }

  /** Reads on; returns whether that is over. */
  step(): boolean {
    if (this.#wantsMore()) return false;
    this.#cancel();
    const {reader} = this.#exchange;
    const isWhole = reader.isDone && this.#exchange.isWithin(this.#maxBodyBytes);
    this.#body.resolve(isWhole ? this.#exchange.payload() : undefined);
    return true;
  }

  #wantsMore(): boolean {
    const client = this.#client;
    const {reader, head} = this.#exchange;
    if (head.framing.kind === 'length' && head.framing.bytes > this.#maxBodyBytes) return false;
    while (!reader.isDone && !reader.isBroken && this.#exchange.isWithin(this.#maxBodyBytes)) {
      const chunk = client.read();
      if (chunk === undefined)
        return !(client.isBroken || client.isAtEnd || performance.now() >= this.#deadline);
      client.unread(chunk.subarray(this.#exchange.takeEarly(chunk)));
    }
    return false;
  }
}
