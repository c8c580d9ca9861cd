/**
 * What passes unread between the client and the application: what an application says that does not speak HTTP/2 (`greeting.ts`),
 * and, from where an end says what makes no sense to us, all that both say. For the latter everything must have passed as it is so
 * far, so that each end has had all of what the other one says.
 */

import {Http2Error} from './blocks.ts';
import type {ClientEnd} from './client-end.ts';
import {greetingOf} from './greeting.ts';
import type {Parts} from './parts.ts';
import {PREFACE, PROTOCOL_ERROR} from './protocol.ts';
import type {Routing} from './routing.ts';

const NOTHING = Buffer.alloc(0);

export class Passthrough {
  readonly #parts: Parts;
  readonly #clientEnd: ClientEnd;
  readonly #routing: Routing;
  /** What the application has said before it is known what it speaks; undefined: it is known. */
  #greeting: Buffer | undefined = NOTHING;
  #isOn = false;

  constructor(parts: Parts, clientEnd: ClientEnd, routing: Routing) {
    this.#parts = parts;
    this.#clientEnd = clientEnd;
    this.#routing = routing;
  }

  /** Whether all passes unread. */
  get isOn(): boolean {
    return this.#isOn;
  }

  /** Takes of what the client says what is not to be read; returns how much that is. */
  fromClient(bytes: Buffer): number {
    if (!this.#isOn) return 0;
    this.#parts.application?.socket.writeLent(bytes);
    return bytes.length;
  }

  /** The same of what the application says. */
  fromApplication(bytes: Buffer): number {
    const {client, application} = this.#parts;
    if (this.#isOn) {
      client.socket.writeLent(bytes);
      return bytes.length;
    }
    const before = this.#greeting;
    if (before === undefined) return 0;
    const beginning = Buffer.concat([before, bytes.subarray(0, PREFACE.length)]);
    const greeting = greetingOf(beginning);
    this.#greeting = greeting === 'more' ? beginning : undefined;
    if (greeting === 'http2') application?.reader.push(before);
    if (greeting === 'other') this.#passOther(before, bytes);
    return greeting === 'http2' ? 0 : bytes.length;
  }

  /** The application has ended: the beginning of what it might have said is all that it says. */
  passGreeting(): void {
    const said = this.#greeting ?? NOTHING;
    this.#greeting = undefined;
    if (said.length > 0 && this.#clientEnd.unacknowledged.length === 0) this.#passOther(said);
  }

  /** What is said makes no sense to us: if everything was passed on so far, so is all that follows. Returns whether it is. */
  passUnread(): boolean {
    if (!this.#parts.isVerbatim) return this.#isOn;
    this.#parts.context.counters.ambiguousConnections++;
    this.#begin();
    return true;
  }

  /** The application speaks something else. */
  #passOther(...said: Buffer[]): void {
    // The client was told that we speak HTTP/2.
    if (this.#clientEnd.unacknowledged.length > 0) throw new Http2Error(PROTOCOL_ERROR);
    this.#begin();
    for (const bytes of said) this.#parts.client.socket.writeLent(bytes);
  }

  /** Passes what was read so far, and not passed on. */
  #begin(): void {
    const {client, application, streams} = this.#parts;
    this.#isOn = true;
    streams.forgetAll();
    if (application === undefined) return;
    this.#routing.close();
    client.output.flush();
    application.output.flush();
    client.socket.writeLent(this.#greeting ?? NOTHING);
    this.#greeting = undefined;
    for (const bytes of client.takeUnread()) application.socket.writeLent(bytes);
    for (const bytes of application.takeUnread()) client.socket.writeLent(bytes);
  }
}
