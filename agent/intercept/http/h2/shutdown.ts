/**
 * How a relayed connection ends: with its client, with its application, by the agent's wish, for a breach of the protocol.
 *
 * What one end says last reaches the other before its end does. A connection that is divided outlives its application for what programs
 * still answer. Who takes nothing any more is cut off after a while.
 */

import type {StreamSocket} from '../../../../sockets/types.ts';
import type {ClientEnd} from './client-end.ts';
import {CLOSE_MS} from './limits.ts';
import type {Parts} from './parts.ts';
import type {Passthrough} from './passthrough.ts';
import {CANCEL, INTERNAL_ERROR, MAX_31, NO_ERROR} from './protocol.ts';
import type {Routing} from './routing.ts';

/** How long what waits for the end of a connection may wait without becoming less. */
const STALLED_MS = 60_000;

const NOTHING = Buffer.alloc(0);

export class Shutdown {
  readonly #parts: Parts;
  readonly #clientEnd: ClientEnd;
  readonly #routing: Routing;
  readonly #passthrough: Passthrough;
  readonly #over = Promise.withResolvers<void>();
  #isApplicationGone = false;
  /** The connection ends with its last stream. */
  #isEnding = false;
  #timer: NodeJS.Timeout | undefined;

  constructor(parts: Parts, clientEnd: ClientEnd, routing: Routing, passthrough: Passthrough) {
    this.#parts = parts;
    this.#clientEnd = clientEnd;
    this.#routing = routing;
    this.#passthrough = passthrough;
  }

  /** Resolves when both connections are over; rejects for a mistake of ours. */
  get over(): Promise<void> {
    return this.#over.promise;
  }

  /** The application says nothing any more, and is told nothing. */
  get isApplicationGone(): boolean {
    return this.#isApplicationGone;
  }

  /** The client has broken the protocol, or floods us. */
  breakOff(code: number): void {
    if (this.#passthrough.passUnread()) return;
    this.#parts.context.counters.brokenSessions++;
    this.#parts.client.output.goaway(this.#parts.streams.lastId, code, NOTHING);
    this.#parts.streams.forgetAll();
    this.#endApplication();
    this.#endClient(false);
  }

  /** The application has broken the protocol. */
  breakOffApplication(code: number): void {
    const {application} = this.#parts;
    if (this.#passthrough.passUnread() || application === undefined) return;
    application.output.goaway(0, code, NOTHING);
    application.output.flush();
    application.socket.destroy();
  }

  /**
   * Ends it after the streams that there are, and those that are on their way (RFC 9113, section 6.8): the client has heard of
   * it when he answers a PING.
   */
  letGo(): void {
    const {client} = this.#parts;
    if (this.#passthrough.isOn || this.#isEnding || client.socket.isClosed) return;
    this.#parts.divide();
    client.output.goaway(MAX_31, NO_ERROR, NOTHING);
    this.#clientEnd.probe(() => this.#takeNoMore());
  }

  #takeNoMore(): void {
    const {client, streams} = this.#parts;
    if (streams.lastOfClient === MAX_31) client.output.goaway(streams.lastId, NO_ERROR, NOTHING);
    streams.lastOfClient = Math.min(streams.lastOfClient, streams.lastId);
    this.#isEnding = true;
    this.endIfIdle();
  }

  /** Ends it if it is to end with its last stream, and that was it. */
  endIfIdle(): void {
    if (!this.#isEnding || this.#parts.streams.ofClient.size > 0) return;
    this.#endClient(false);
    this.#endApplication();
  }

  /** The client says nothing any more. */
  clientEnded(): void {
    const {client, application, toApplication, streams, isVerbatim} = this.#parts;
    if (isVerbatim) {
      for (const bytes of client.takeUnread()) toApplication?.write(bytes);
    } else if (!this.#passthrough.isOn) {
      for (const stream of [...streams.ofClient.values()])
        if (stream.applicationId === 0) streams.forget(stream, CANCEL);
    }
    if (application === undefined || this.#isApplicationGone) this.#endClient(false);
    else this.#endApplication();
  }

  /** The client's connection is over. */
  clientClosed(isBroken: boolean): void {
    const {client, application, toApplication, streams, programs, isVerbatim} = this.#parts;
    this.#routing.close();
    if (isVerbatim && !isBroken)
      for (const bytes of client.takeUnread()) toApplication?.write(bytes);
    streams.forgetAll();
    programs.close();
    if (isBroken) application?.socket.destroy(true);
    else this.#endApplication();
    this.#resolveIfOver();
  }

  /** The application says nothing any more. */
  applicationEnded(): void {
    this.#passthrough.passGreeting();
    if (!this.#parts.isVerbatim && !this.#passthrough.isOn) {
      this.#applicationGone(false);
      return;
    }
    // It may still listen.
    const {client, application} = this.#parts;
    for (const bytes of application?.takeUnread() ?? []) client.output.write(bytes);
    client.output.flush();
    client.socket.end();
  }

  /** The application's connection is over. */
  applicationClosed(isBroken: boolean): void {
    this.#applicationGone(isBroken);
    this.#resolveIfOver();
  }

  #applicationGone(isBroken: boolean): void {
    if (this.#isApplicationGone) return;
    const {client, application, streams} = this.#parts;
    this.#passthrough.passGreeting();
    this.#isApplicationGone = true;
    if (!this.#passthrough.isOn) application?.socket.end();
    if (client.socket.isClosed) return;
    // Half of a frame can't be followed by anything.
    if (!streams.areProgramsAsked || client.output.isOpen) {
      streams.forgetAll();
      this.#endClient(isBroken);
      return;
    }
    // What programs answer goes on.
    this.#clientEnd.acknowledgeAll();
    for (const stream of [...streams.ofApplication.values()])
      streams.resetClient(stream, INTERNAL_ERROR);
    this.#takeNoMore();
  }

  #endApplication(): void {
    const {application} = this.#parts;
    if (application === undefined || application.socket.isClosed) return;
    application.output.flush();
    application.socket.end();
    if (this.#parts.client.socket.isClosed) this.#destroyLater(application.socket);
  }

  #endClient(isBroken: boolean): void {
    const {socket, output} = this.#parts.client;
    if (socket.isClosed) return;
    output.flush();
    if (isBroken && socket.bufferedBytes === 0) {
      socket.destroy(true);
      return;
    }
    socket.end();
    if (!this.#passthrough.isOn) this.#destroyLater(socket);
  }

  /** Closes a socket of which our half has ended, when its kernel has all of it; who takes nothing any more is cut off. */
  #destroyLater(socket: StreamSocket): void {
    clearTimeout(this.#timer);
    const waiting = socket.bufferedBytes;
    const close = (): void => {
      const left = socket.bufferedBytes;
      if (left > 0 && left < waiting) this.#destroyLater(socket);
      else socket.destroy(left > 0);
    };
    this.#timer = setTimeout(close, waiting > 0 ? STALLED_MS : CLOSE_MS);
  }

  /** Both connections are over: there is nothing to wait for any more. */
  close(): void {
    this.#routing.close();
    clearTimeout(this.#timer);
  }

  #resolveIfOver(): void {
    const {client, application} = this.#parts;
    if (client.socket.isClosed && application?.socket.isClosed !== false) this.#over.resolve();
  }

  /** A mistake of ours: both connections are broken off. */
  fail(error: unknown): void {
    const {client, application, programs} = this.#parts;
    this.#over.reject(error);
    application?.socket.destroy(true);
    client.socket.destroy(true);
    programs.close();
  }
}
