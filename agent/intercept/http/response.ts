/** Passes the answer to one request of HTTP/1 on to the client. */

import {BodyReader} from './body.ts';
import type {Exchange} from './exchange.ts';
import {parseResponseHead, type ResponseHead} from './head.ts';
import {HeadBuffer} from './head-buffer.ts';
import type {Leg} from './leg.ts';
import {changeHead, type HeaderChange} from './response-head.ts';

/**
 * What comes next: the next request; both directions as they are; the end, since the client's connection is broken;
 * somebody else is to be asked, since nothing came; the same again, when the signal tells of something.
 */
export type Progress = 'request' | 'raw' | 'broken' | 'lost' | 'wait';

/** What changes in the heads of answers. */
export interface Changing {
  /** The lines; asked when it is known who answers. */
  changesOf(exchange: Exchange, head: ResponseHead, bytes: Buffer): readonly HeaderChange[];
  /** The head that is written next has `length` bytes, `more` (or fewer) than it came with. */
  onChanged(length: number, more: number): void;
}

export class Response {
  readonly #exchange: Exchange;
  readonly #client: Leg;
  readonly #changing: Changing;
  readonly #buffer = new HeadBuffer();
  #hasBegun = false;
  #head: ResponseHead | undefined;
  #reader: BodyReader | undefined;

  constructor(exchange: Exchange, client: Leg, changing: Changing) {
    this.#exchange = exchange;
    this.#client = client;
    this.#changing = changing;
  }

  /** Passes on what can be now. */
  step(): Progress {
    const {leg} = this.#exchange;
    if (leg === undefined) return 'broken';
    while (this.#reader === undefined) {
      const chunk = leg.read();
      if (chunk === undefined) return this.#awaitHead(leg);
      if (!this.#onHeadBytes(leg, chunk)) return 'raw';
    }
    return this.#passBody(leg, this.#reader);
  }

  #awaitHead(leg: Leg): Progress {
    const exchange = this.#exchange;
    if (this.#client.isBroken) return 'broken';
    const isLost = leg.isBroken || leg.isAtEnd;
    if (!this.#hasBegun && (isLost || isMisplaced(exchange))) return 'lost';
    if (isLost || exchange.needsRaw) {
      leg.unread(this.#buffer.take());
      return 'raw';
    }
    if (exchange.isSent && this.#client.isAtEnd) leg.end();
    return 'wait';
  }

  /** False if this is no head of an answer. */
  #onHeadBytes(leg: Leg, chunk: Buffer): boolean {
    const exchange = this.#exchange;
    this.#hasBegun = true;
    exchange.forgetSaved();
    const length = this.#buffer.push(chunk);
    if (length === 'more') return true;
    const bytes = this.#buffer.take();
    const headBytes = length === 'broken' ? bytes : bytes.subarray(0, length);
    const head = length === 'broken' ? undefined : parseResponseHead(headBytes, exchange.head);
    if (head === undefined) {
      leg.unread(bytes);
      return false;
    }
    if (head.isInterim) {
      this.#client.write(headBytes);
      leg.unread(bytes.subarray(headBytes.length));
      return true;
    }
    this.#head = head;
    this.#reader = new BodyReader(head.framing);
    const count = headBytes.length + this.#reader.take(bytes.subarray(headBytes.length));
    // The head and what came of the body with it.
    const message = count === bytes.length ? bytes : bytes.subarray(0, count);
    const place = {lines: head.lines, headLength: headBytes.length};
    const changes = this.#changing.changesOf(exchange, head, message);
    const parts = changeHead(message, place, changes);
    const more = parts.reduce((sum, part) => sum + part.length, -message.length);
    if (changes.length > 0) this.#changing.onChanged(place.headLength + more, more);
    for (const part of parts) this.#client.write(part);
    if (count < bytes.length) leg.unread(bytes.subarray(count));
    return true;
  }

  #passBody(leg: Leg, reader: BodyReader): Progress {
    const exchange = this.#exchange;
    const client = this.#client;
    while (!reader.isDone) {
      if (reader.isBroken || exchange.needsRaw) return 'raw';
      if (client.isBroken) return 'broken';
      if (!client.isWritable) return 'wait';
      const chunk = leg.read();
      if (chunk !== undefined) passOf(reader, chunk, {from: leg, to: client});
      else if (leg.isBroken || leg.isAtEnd) return 'raw';
      else {
        if (exchange.isSent && client.isAtEnd) leg.end();
        return 'wait';
      }
    }
    if (this.#head?.isLast || this.#head?.isSwitch) return 'raw';
    // The answer is complete; the request may not be.
    if (exchange.isSent) return 'request';
    if (client.isBroken) return 'broken';
    return exchange.needsRaw || leg.isStirring ? 'raw' : 'wait';
  }
}

/** Passes what of the bytes is of the body. */
function passOf(
  reader: BodyReader,
  chunk: Buffer,
  {from, to}: {readonly from: Leg; readonly to: Leg},
): void {
  const count = reader.take(chunk);
  if (count === chunk.length) {
    to.write(chunk);
    return;
  }
  to.write(chunk.subarray(0, count));
  from.unread(chunk.subarray(count));
}

/** A program has a request of which the application alone is to make sense, and nothing was said to it yet. */
function isMisplaced({steal, reader, saved}: Exchange): boolean {
  return steal !== undefined && reader.isBroken && saved !== undefined;
}
