/**
 * A session of HTTP/2 that we ask: one to the application, or into a program, made when it is needed, and made again
 * when it was ended.
 */

import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect,
  constants,
  type OutgoingHttpHeaders,
  type ServerHttp2Stream,
} from 'node:http2';
import type {Duplex} from 'node:stream';
import {HEADER_PAIRS} from './http2-limits.ts';

/** What a stream may send us unread: 130 Mbit/s at 60 ms. */
const STREAM_WINDOW_BYTES = 1_048_576;
/** What all streams of a session may send us unread. */
const SESSION_WINDOW_BYTES = 4_194_304;
/** How long streams may go on when the client's connection has ended. */
const LINGER_MS = 5000;

/** Names and values in turn, as they came. */
export type RawHeaders = readonly string[];

export class Upstream {
  readonly #connect: () => Promise<Duplex | undefined>;
  readonly #onGoaway: ((code: number) => void) | undefined;
  #session: ClientHttp2Session | undefined;
  #connecting: Promise<ClientHttp2Session | undefined> | undefined;
  #isClosed = false;

  /** `onGoaway` hears when the other side wants no more streams in a session, or has ended it. */
  constructor(connect: () => Promise<Duplex | undefined>, onGoaway?: (code: number) => void) {
    this.#connect = connect;
    this.#onGoaway = onGoaway;
  }

  /** Returns a session that takes streams; undefined when nobody is there. */
  async session(): Promise<ClientHttp2Session | undefined> {
    const session = this.#session;
    if (session !== undefined && !session.closed && !session.destroyed) return session;
    this.#connecting ??= this.#start().finally(() => {
      this.#connecting = undefined;
    });
    return this.#connecting;
  }

  /** Ends the session after its streams, which have little time left. */
  close(): void {
    this.#isClosed = true;
    const session = this.#session;
    if (session === undefined || session.destroyed) return;
    session.close();
    const timer = setTimeout(() => session.destroy(), LINGER_MS);
    session.once('close', () => clearTimeout(timer));
  }

  async #start(): Promise<ClientHttp2Session | undefined> {
    let stream: Duplex | undefined;
    try {
      stream = await this.#connect();
    } catch {
      // That is what the caller asks about.
    }
    if (stream === undefined) return undefined;
    const connection = stream;
    if (this.#isClosed) {
      connection.destroy();
      return undefined;
    }
    // HTTP/2 knows no half of a connection: without this, Node would not hear of some that are over.
    connection.allowHalfOpen = false;
    const session = connect('http://upstream', {
      createConnection: () => connection,
      settings: {enablePush: false, initialWindowSize: STREAM_WINDOW_BYTES},
      maxHeaderListPairs: HEADER_PAIRS,
    });
    this.#session = session;
    session.on('connect', () => session.setLocalWindowSize(SESSION_WINDOW_BYTES));
    session.on('goaway', (code) => this.#onGone(session, code));
    // Its streams hear of it, each by itself.
    session.on('error', () => {});
    session.on('close', () => this.#onGone(session, 0));
    return session;
  }

  #onGone(session: ClientHttp2Session, code: number): void {
    if (this.#session !== session) return;
    this.#session = undefined;
    if (!this.#isClosed) this.#onGoaway?.(code);
  }
}

/** Starts a request on a session; undefined when Node does not send such a head. */
export function startRequest(
  session: ClientHttp2Session,
  headers: RawHeaders,
  hasNoBody: boolean,
): ClientHttp2Stream | undefined {
  try {
    // Its types don't know yet that it takes what it gives.
    const list = headers as unknown as OutgoingHttpHeaders;
    return session.request(list, {endStream: hasNoBody, waitForTrailers: !hasNoBody});
  } catch {
    return undefined;
  }
}

/** Answers `wantTrailers`: ends the stream, with the trailers if there are any. */
export function sendTrailers(
  stream: ServerHttp2Stream | ClientHttp2Stream,
  raw: RawHeaders = [],
): void {
  const trailers: Record<string, string[]> = {};
  for (let at = 0; at + 1 < raw.length; at += 2) {
    const name = raw[at] ?? '';
    trailers[name] ??= [];
    trailers[name].push(raw[at + 1] ?? '');
  }
  try {
    stream.sendTrailers(trailers);
  } catch {
    // Closed in between, or nothing that Node would send.
    stream.close(constants.NGHTTP2_PROTOCOL_ERROR);
  }
}
