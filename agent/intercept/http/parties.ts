/**
 * Whom the requests of a connection of HTTP/1 can go to: the application, programs that steal, and programs that get
 * copies.
 *
 * There is one connection to the application for each of the client's (mirrord makes one for each request): so limits,
 * timeouts and authentication that belong to a connection (NTLM) stay what they are, and when the application ends it,
 * so do we. It is made with the first request that is for the application. Likewise one for each client that steals, but
 * one that its program ends between requests is made again.
 */

import {socketOfDescriptor} from '../../../sockets/connect.ts';
import type {RelayContext} from './context.ts';
import {Leg} from './leg.ts';
import {MirrorCopies} from './mirror.ts';
import {connectProgram} from './program.ts';
import type {Signal} from './signal.ts';
import type {HttpSubscription} from './types.ts';

export class Parties {
  readonly #context: RelayContext;
  readonly #signal: Signal;
  readonly #programs = new Map<number, Leg>();
  readonly #copies = new Map<number, MirrorCopies>();
  #application: Leg | undefined;
  /** Who answered the last request, or has the connection as it is. */
  last: Leg | undefined;

  constructor(context: RelayContext, signal: Signal) {
    this.#context = context;
    this.#signal = signal;
  }

  /** The connection to the application as it is; undefined if nobody needed it yet. */
  get application(): Leg | undefined {
    return this.#application;
  }

  /** A connection to the application that can be used; undefined if nobody is there, as it would be without us. */
  connectApplication(): Leg | undefined {
    if (this.#application !== undefined && !this.#application.isStirring) return this.#application;
    this.#application?.close();
    this.#application = undefined;
    let fd: number;
    try {
      fd = this.#context.connection.dialApplication();
    } catch {
      return undefined;
    }
    const socket = socketOfDescriptor(fd);
    this.#context.connection.passage.join(socket);
    this.#application = new Leg(socket, this.#signal);
    return this.#application;
  }

  /** A connection into a program; undefined when it refuses. */
  connectProgram(subscription: HttpSubscription): Leg | Promise<Leg | undefined> {
    const known = this.#programs.get(subscription.id);
    if (known !== undefined && !known.isStirring) return known;
    if (known !== undefined) this.#drop(subscription.id, known);
    return this.#dialProgram(subscription);
  }

  async #dialProgram(subscription: HttpSubscription): Promise<Leg | undefined> {
    const socket = await connectProgram(subscription);
    if (socket === undefined) return undefined;
    const leg = new Leg(socket, this.#signal);
    this.#programs.set(subscription.id, leg);
    return leg;
  }

  /** Who takes what is no HTTP: the client that steals everything, or the application. */
  async connectRaw(): Promise<Leg | undefined> {
    const owner = this.#context.connection
      .subscriptions()
      .find(({mode, filter}) => mode === 'steal' && filter === undefined);
    const leg = owner === undefined ? undefined : await this.connectProgram(owner);
    return leg ?? this.connectApplication();
  }

  /** What takes copies for a client that mirrors. */
  copiesFor(subscription: HttpSubscription): MirrorCopies {
    let copies = this.#copies.get(subscription.id);
    if (copies === undefined) {
      copies = new MirrorCopies(subscription, this.#context.counters);
      this.#copies.set(subscription.id, copies);
    }
    return copies;
  }

  /** A program that ends its connection between requests gets another one with the next. */
  dropIdlePrograms(): void {
    if (this.#programs.size === 0) return;
    for (const [id, leg] of this.#programs) if (leg.isStirring) this.#drop(id, leg);
  }

  #drop(id: number, leg: Leg): void {
    this.#programs.delete(id);
    leg.close();
    if (this.last === leg) this.last = undefined;
  }

  /** A program has failed. */
  leave({id}: HttpSubscription): void {
    const leg = this.#programs.get(id);
    this.#programs.delete(id);
    leg?.reset();
  }

  /** The client's connection is broken. */
  reset(): void {
    for (const leg of this.#programs.values()) leg.reset();
    this.#application?.reset();
  }

  /** The client's connection is over. */
  close(): void {
    for (const leg of this.#programs.values()) leg.close();
    for (const copies of this.#copies.values()) copies.close();
    this.#application?.close();
  }
}
