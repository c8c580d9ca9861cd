/**
 * One stream of HTTP/2: the client's request, and its answer from whoever is asked.
 *
 * Bytes flow both ways at once, and neither side is read faster than the other takes it. Resets cross with their
 * codes; interim responses, trailers, and answers of trailers only are what they were. What was sent of
 * a request is kept up to a limit until the answer begins, so that it can go to somebody else.
 */

import {
  type ClientHttp2Stream,
  constants,
  type IncomingHttpHeaders,
  type OutgoingHttpHeaders,
  type ServerHttp2Stream,
} from 'node:http2';
import {type RawHeaders, sendTrailers} from './http2-upstream.ts';
import {type HeaderChange, LOST_REQUEST_TEXT} from './response-head.ts';

const {NGHTTP2_FLAG_END_STREAM, NGHTTP2_NO_ERROR, NGHTTP2_CANCEL, NGHTTP2_PROTOCOL_ERROR} =
  constants;

/** Takes a copy of the request. */
export interface RequestCopy {
  write(chunk: Buffer): void;
  end(trailers: RawHeaders | undefined): void;
  cancel(): void;
}

interface Events {
  /** Whoever was asked is gone before the answer began, or has refused to look at the request. */
  onLost(): void;
}

export class Http2Exchange {
  readonly stream: ServerHttp2Stream;
  readonly headers: RawHeaders;
  /** The head is all of the request. */
  readonly hasNoBody: boolean;
  readonly #copies: RequestCopy[] = [];
  readonly #events: Events;
  readonly #saveLimit: number;
  #saved: Buffer[] | undefined = [];
  #savedBytes = 0;
  #hasEnded: boolean;
  #isFlowing = false;
  #requestTrailers: RawHeaders | undefined;
  #responseTrailers: RawHeaders | undefined;
  #request: ClientHttp2Stream | undefined;
  #changes: readonly HeaderChange[] = [];
  #onProgress: (() => void) | undefined;
  #lostCode: number = NGHTTP2_NO_ERROR;

  constructor(
    stream: ServerHttp2Stream,
    {headers, flags}: {readonly headers: RawHeaders; readonly flags: number},
    {saveLimit, ...events}: Events & {readonly saveLimit: number},
  ) {
    this.stream = stream;
    this.headers = headers;
    this.#events = events;
    this.#saveLimit = saveLimit;
    this.hasNoBody = (flags & NGHTTP2_FLAG_END_STREAM) !== 0;
    this.#hasEnded = this.hasNoBody;
    stream.on('trailers', (_trailers, _flags, raw?: string[]) => {
      this.#requestTrailers = raw;
    });
    stream.on('data', (chunk: Buffer) => this.#onData(chunk));
    stream.on('end', () => this.#onEnd());
    stream.on('drain', () => this.#request?.resume());
    stream.on('wantTrailers', () => sendTrailers(stream, this.#responseTrailers));
    // The code is in rstCode.
    stream.on('error', () => {});
    stream.on('close', () => this.#onClose());
    stream.pause();
  }

  /** What was sent can be sent again. */
  get canMove(): boolean {
    return this.#saved !== undefined;
  }

  /**
   * Reads the body while it is not larger than `limit`. Resolves to all of it; undefined when it is larger, or not
   * complete in time.
   */
  gather(limit: number, timeoutMs: number): Promise<Buffer | undefined> {
    return new Promise((resolve) => {
      const finish = (): void => {
        clearTimeout(timer);
        this.#onProgress = undefined;
        this.stream.pause();
        this.#isFlowing = false;
        const isAll = this.#hasEnded && this.#saved !== undefined && this.#savedBytes <= limit;
        resolve(isAll ? Buffer.concat(this.#saved ?? []) : undefined);
      };
      const timer = setTimeout(finish, timeoutMs);
      this.#onProgress = () => {
        if (this.#hasEnded || this.#savedBytes > limit || this.stream.destroyed) finish();
      };
      this.#isFlowing = true;
      this.stream.resume();
      this.#onProgress();
    });
  }

  /** Adds someone who gets a copy, from the beginning. */
  addCopy(copy: RequestCopy): void {
    this.#copies.push(copy);
    for (const chunk of this.#saved ?? []) copy.write(chunk);
    if (this.#hasEnded) copy.end(this.#requestTrailers);
  }

  /**
   * Asks with the request as far as it was read, and everything that follows. `isKept`: it may have to go to somebody
   * else.
   */
  ask(
    request: ClientHttp2Stream,
    {changes, isKept}: {readonly changes: readonly HeaderChange[]; readonly isKept: boolean},
  ): void {
    const {session} = request;
    this.#request = request;
    this.#changes = changes;
    const isCurrent = (): boolean => this.#request === request;
    request.on('headers', (headers) => isCurrent() && this.#onInterim(headers));
    request.on('response', (_headers, flags, raw?: string[]) => {
      if (!isCurrent()) return;
      this.#onResponse(raw ?? [], flags);
      request.resume();
    });
    request.on('trailers', (_trailers, _flags, raw?: string[]) => {
      if (isCurrent()) this.#responseTrailers = raw;
    });
    request.on('data', (chunk: Buffer) => {
      if (isCurrent() && !this.stream.destroyed && !this.stream.write(chunk)) request.pause();
    });
    // A session on anything but a socket tells of data before it tells of the head in the same piece.
    request.pause();
    request.on('end', () => {
      if (isCurrent() && this.stream.headersSent) this.stream.end();
    });
    request.on('drain', () => isCurrent() && this.#flow());
    request.on('wantTrailers', () => sendTrailers(request, this.#requestTrailers));
    request.on('error', () => {});
    request.on('close', () => {
      const isRefused = request.rstCode === constants.NGHTTP2_REFUSED_STREAM;
      if (isCurrent()) this.#onRequestClose(request, isRefused || session?.destroyed !== false);
    });
    for (const chunk of this.#saved ?? []) request.write(chunk);
    if (!isKept) this.#saved = undefined;
    if (this.#hasEnded) request.end();
    this.#flow();
  }

  /** Says that nobody will answer. */
  fail(): void {
    this.#request = undefined;
    if (this.stream.destroyed) return;
    if (this.stream.headersSent) {
      this.stream.close(constants.NGHTTP2_INTERNAL_ERROR);
      return;
    }
    this.stream.respond({':status': 502, 'content-type': 'text/plain; charset=utf-8'});
    this.stream.end(LOST_REQUEST_TEXT);
    this.stream.resume();
  }

  // ---- from the client ----

  #flow(): void {
    this.#isFlowing = true;
    this.stream.resume();
  }

  #onData(chunk: Buffer): void {
    if (this.#saved !== undefined) {
      this.#savedBytes += chunk.length;
      this.#saved.push(chunk);
      // What nobody was asked with yet has to be kept, whatever its size: it is one chunk too much.
      if (this.#savedBytes > this.#saveLimit && this.#request !== undefined)
        this.#saved = undefined;
    }
    for (const copy of this.#copies) copy.write(chunk);
    const request = this.#request;
    if (request !== undefined && !request.destroyed && !request.write(chunk)) {
      this.#isFlowing = false;
      this.stream.pause();
    }
    this.#onProgress?.();
  }

  #onEnd(): void {
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    for (const copy of this.#copies) copy.end(this.#requestTrailers);
    this.#request?.end();
    this.#onProgress?.();
  }

  #onClose(): void {
    const {rstCode} = this.stream;
    const isAborted = this.stream.aborted || rstCode !== NGHTTP2_NO_ERROR;
    if (isAborted) for (const copy of this.#copies) copy.cancel();
    const request = this.#request;
    this.#request = undefined;
    if (request !== undefined && !request.closed) {
      request.close(rstCode === NGHTTP2_NO_ERROR ? NGHTTP2_CANCEL : rstCode);
    }
    this.#onProgress?.();
  }

  // ---- from who is asked ----

  #onInterim(headers: IncomingHttpHeaders): void {
    if (!this.stream.destroyed && !this.stream.headersSent) {
      this.stream.additionalHeaders(headers as OutgoingHttpHeaders);
    }
  }

  #onResponse(raw: RawHeaders, flags: number): void {
    this.#saved = undefined;
    if (this.stream.destroyed) return;
    const endStream = (flags & NGHTTP2_FLAG_END_STREAM) !== 0;
    try {
      // Its types don't know yet that it takes what it gives.
      const headers = changeHeaders(raw, this.#changes) as unknown as OutgoingHttpHeaders;
      this.stream.respond(headers, {endStream, waitForTrailers: !endStream});
    } catch {
      // Node does not send every head that it takes.
      this.stream.close(NGHTTP2_PROTOCOL_ERROR);
    }
  }

  #onRequestClose(request: ClientHttp2Stream, isLost: boolean): void {
    const {rstCode = NGHTTP2_NO_ERROR} = request;
    const {stream} = this;
    if (stream.destroyed) return;
    if (!stream.headersSent && isLost) {
      this.#request = undefined;
      this.#lostCode = rstCode;
      this.#pauseForMove();
      this.#events.onLost();
    } else if (!stream.headersSent || rstCode !== NGHTTP2_NO_ERROR) stream.close(rstCode);
    // Answered before the request was complete: the rest is not wanted.
    else if (!this.#hasEnded) {
      if (stream.writableFinished) stream.close(NGHTTP2_NO_ERROR);
      else stream.once('finish', () => stream.close(NGHTTP2_NO_ERROR));
    }
  }

  /** Ends the stream with a code; without one, with that of who was asked last. */
  refuse(code: number = this.#lostCode || constants.NGHTTP2_INTERNAL_ERROR): void {
    this.#request = undefined;
    if (!this.stream.destroyed) this.stream.close(code);
  }

  #pauseForMove(): void {
    if (this.#isFlowing) this.stream.pause();
    this.#isFlowing = false;
  }
}

function changeHeaders(raw: RawHeaders, changes: readonly HeaderChange[]): string[] {
  const names = new Map(changes.map(({name, value}) => [name.toLowerCase(), value]));
  const headers: string[] = [];
  for (let at = 0; at + 1 < raw.length; at += 2) {
    const name = raw[at] ?? '';
    if (!names.has(name)) headers.push(name, raw[at + 1] ?? '');
  }
  for (const [name, value] of names) headers.push(name, value);
  return headers;
}
