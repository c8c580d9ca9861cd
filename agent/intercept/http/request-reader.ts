/** Reads the requests of a connection of HTTP/1, one head at a time. */

import type {RelayContext} from './context.ts';
import {Exchange} from './exchange.ts';
import {parseRequestHead} from './head.ts';
import {HeadBuffer} from './head-buffer.ts';
import type {Leg} from './leg.ts';
import type {Parties} from './parties.ts';
import type {Signal} from './signal.ts';

/** How long a head may take from its first byte on; after that the application may wait for the rest of it. */
export const HEAD_MS = 10_000;

/**
 * How long a client may be silent on a connection that is to be let go, before that is done: nginx's keepalive_timeout. By
 * then its request hardly meets our end on its way, and whoever pools connections has to expect that one is over.
 */
const SILENCE_MS = 75_000;

export class RequestReader {
  readonly #context: RelayContext;
  readonly #client: Leg;
  readonly #parties: Parties;
  readonly #signal: Signal;
  #buffer = new HeadBuffer();
  /** Since when a head is incomplete: performance.now(). */
  #deadline: number | undefined;
  #cancel: (() => void) | undefined;
  /** Since when the client is silent on a connection that is to be let go: performance.now(). */
  #silentSince: number | undefined;
  #cancelSilence: (() => void) | undefined;

  constructor(context: RelayContext, client: Leg, parties: Parties, signal: Signal) {
    this.#context = context;
    this.#client = client;
    this.#parties = parties;
    this.#signal = signal;
  }

  /**
   * The next request. `raw`: what comes, which is unread again, can't be told to be one. `over`: nothing comes any more.
   * `broken`: the connection was reset. `wait`: until the signal tells of something.
   */
  read(): Exchange | 'raw' | 'over' | 'broken' | 'wait' {
    const found = this.#read();
    if (found !== 'wait') this.close();
    return found;
  }

  /** Leaves no timer behind. */
  close(): void {
    this.#cancel?.();
    this.#cancel = this.#deadline = undefined;
    this.#cancelSilence?.();
    this.#cancelSilence = this.#silentSince = undefined;
  }

  #read(): Exchange | 'raw' | 'over' | 'broken' | 'wait' {
    const client = this.#client;
    for (let chunk = client.read(); chunk !== undefined; chunk = client.read()) {
      const length = this.#buffer.push(chunk);
      if (typeof length === 'number') return this.#parse(this.#buffer.take(), length);
      if (length === 'broken') {
        this.noteAmbiguous();
        return this.#giveUp();
      }
      this.#deadline ??= performance.now() + HEAD_MS;
      this.#cancel ??= this.#signal.notifyIn(HEAD_MS + 1);
    }
    const parties = this.#parties;
    parties.dropIdlePrograms();
    if (client.isBroken) return 'broken';
    if (client.isAtEnd) return this.#onLastRequest();
    const {application, last} = parties;
    if (last === application && application?.isStirring) return this.#giveUp();
    if (this.#deadline !== undefined && performance.now() >= this.#deadline) {
      parties.last = undefined;
      return this.#giveUp();
    }
    if (this.#isLetGo()) {
      client.close();
      return 'over';
    }
    return 'wait';
  }

  /** Nobody has asked anything for long enough. */
  #isLetGo(): boolean {
    if (!this.#context.connection.lettingGo.isSaid || this.#deadline !== undefined) return false;
    const now = performance.now();
    this.#silentSince ??= now;
    this.#cancelSilence ??= this.#signal.notifyIn(SILENCE_MS + 1);
    return now - this.#silentSince >= SILENCE_MS;
  }

  #parse(bytes: Buffer, length: number): Exchange | 'raw' {
    const isAll = length === bytes.length;
    const headBytes = isAll ? bytes : bytes.subarray(0, length);
    const head = parseRequestHead(headBytes);
    if (head === undefined) {
      this.#client.unread(bytes);
      this.noteAmbiguous();
      return 'raw';
    }
    if (!isAll) this.#client.unread(bytes.subarray(length));
    return new Exchange(head, headBytes);
  }

  /** What nobody can read in one way only is for the application, or for who owns the port. */
  noteAmbiguous(): void {
    this.#context.counters.ambiguousConnections++;
    this.#parties.last = undefined;
  }

  #giveUp(): 'raw' {
    this.#client.unread(this.#buffer.take());
    return 'raw';
  }

  /** The client asks nothing more. Who answered last may hear of it, and end as well. */
  #onLastRequest(): 'raw' | 'over' {
    const client = this.#client;
    const parties = this.#parties;
    this.#giveUp();
    if (client.hasBytes) parties.last = undefined;
    if (client.hasBytes || (parties.last !== undefined && !parties.last.isStirring)) return 'raw';
    client.close();
    return 'over';
  }
}
