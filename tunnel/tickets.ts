/**
 * The sessions of an agent that may be resumed, by their tickets.
 *
 * A ticket is 16 unpredictable bytes and names a session; what lets its bearer in is the token, which is
 * looked at first. There is room for so many sessions; one more gets no ticket and ends with its
 * connection.
 */

import {MAX_TICKETS, RESUME_TICKET_BYTES} from './limits.ts';
import type {Resumable} from './mux-types.ts';

export class Tickets {
  readonly #sessions = new Map<string, Resumable>();
  readonly #limit: number;

  constructor(limit: number = MAX_TICKETS) {
    this.#limit = limit;
  }

  /** Sessions that have a ticket. */
  get size(): number {
    return this.#sessions.size;
  }

  /** Returns the ticket of a new session; an empty one when there is no room. */
  issue(session: Resumable, random: () => number): Uint8Array {
    if (this.#sessions.size >= this.#limit) return new Uint8Array(0);
    const ticket = Uint8Array.from({length: RESUME_TICKET_BYTES}, () => random() * 256);
    this.#sessions.set(nameOf(ticket), session);
    return ticket;
  }

  find(ticket: Uint8Array): Resumable | undefined {
    return this.#sessions.get(nameOf(ticket));
  }

  forget(ticket: Uint8Array): void {
    this.#sessions.delete(nameOf(ticket));
  }
}

function nameOf(ticket: Uint8Array): string {
  return ticket.join();
}
