/** The programs that have streams of one client's connection, or get copies: a connection to each, made when it is needed. */

import {connectProgram} from '../program.ts';
import type {HttpSubscription} from '../types.ts';
import {ProgramConnection} from './program-connection.ts';

type Found = ProgramConnection | undefined;

export class Programs {
  readonly #events: {onTurn(): void; onMistake(error: unknown): void};
  /** By subscription: where its next request goes. */
  readonly #current = new Map<number, ProgramConnection | Promise<Found>>();
  /** All that are not over. */
  readonly #connections = new Set<ProgramConnection>();
  #isClosed = false;

  constructor(events: {onTurn(): void; onMistake(error: unknown): void}) {
    this.#events = events;
  }

  /** Returns a connection that takes requests; undefined when nobody is there. */
  connect(subscription: HttpSubscription): ProgramConnection | Promise<Found> {
    const known = this.#current.get(subscription.id);
    if (known !== undefined) return known;
    const made = this.#make(subscription);
    this.#current.set(subscription.id, made);
    return made;
  }

  /** Gives the sockets what was written. */
  turn(): void {
    for (const connection of this.#connections) connection.turn();
  }

  /** Takes no more requests, and ends after those that there are. */
  close(): void {
    this.#isClosed = true;
    for (const connection of this.#connections) connection.close();
  }

  async #make(subscription: HttpSubscription): Promise<Found> {
    const {id} = subscription;
    const socket = await connectProgram(subscription);
    if (socket === undefined) {
      this.#current.delete(id);
      return undefined;
    }
    const {onTurn, onMistake} = this.#events;
    const forget = (connection: ProgramConnection): void => {
      if (this.#current.get(id) === connection) this.#current.delete(id);
    };
    const connection = new ProgramConnection(socket, {
      onTurn,
      onMistake,
      onGone: forget,
      onClosed: (one) => this.#connections.delete(one),
    });
    if (connection.isGone) {
      this.#current.delete(id);
      return undefined;
    }
    this.#connections.add(connection);
    this.#current.set(id, connection);
    // Who has waited for it comes first: copies of what a client has said before it went.
    if (this.#isClosed) setImmediate(() => connection.close());
    return connection;
  }
}
