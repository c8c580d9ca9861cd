/**
 * One request of HTTP/1 on its way, and what is kept of it so that it can go another one.
 */

import {BodyReader, NO_BODY} from './body.ts';
import type {RequestHead} from './head.ts';
import type {Leg} from './leg.ts';
import type {MirrorCopies, MirrorCopy} from './mirror.ts';
import type {HttpSubscription} from './types.ts';

/** Bytes that may come before the payload of a small body, per byte of it: chunks of one byte have five. */
const FRAMING_RATIO = 8;

/** A client that gets a copy, and its copy. */
export interface MirrorTarget {
  readonly copies: MirrorCopies;
  readonly copy: MirrorCopy;
}

const NOTHING: readonly never[] = [];

export class Exchange {
  readonly head: RequestHead;
  readonly reader: BodyReader;
  #mirrors: readonly MirrorTarget[] = NOTHING;
  #early: readonly Buffer[] = NOTHING;
  /** Who mirrors has all of it, or never will. */
  #areCopiesEnded = false;
  #headBytes: Buffer;
  /** Who is asked. */
  leg: Leg | undefined;
  /** The client whose program is asked; undefined: the application. */
  steal: HttpSubscription | undefined;
  /** All of the request was written. */
  isSent = false;
  /** Where the request ends can't be known: the rest of the connection is for whoever has it. */
  needsRaw = false;
  #saved: Buffer[] | undefined;
  #savedBytes = 0;
  #savedLimit = 0;
  #payload: Buffer[] | undefined;
  #payloadBytes = 0;

  /** `headBytes` may be lent. */
  constructor(head: RequestHead, headBytes: Buffer) {
    this.head = head;
    this.#headBytes = headBytes;
    this.reader = head.framing === NO_BODY ? BodyReader.none : this.#readBody(head);
  }

  #readBody({framing}: RequestHead): BodyReader {
    this.#payload = [];
    return new BodyReader(framing, (bytes) => {
      this.#payloadBytes += bytes.length;
      this.#payload?.push(bytes);
    });
  }

  get headBytes(): Buffer {
    return this.#headBytes;
  }

  /** It takes time to find out for whom it is: what is lent is copied. */
  keep(): void {
    this.#headBytes = Buffer.from(this.#headBytes);
  }

  /** Bytes of the body that were read before it was known where they go. */
  get early(): readonly Buffer[] {
    return this.#early;
  }

  /** Reads a part of the body that has to wait until it is known where it goes; returns how much was of the body. */
  takeEarly(chunk: Buffer): number {
    const own = Buffer.from(chunk);
    const count = this.reader.take(own);
    this.#early = [...this.#early, own.subarray(0, count)];
    return count;
  }

  /** What was gathered of the body so far is not more than a filter may see. */
  isWithin(maxBodyBytes: number): boolean {
    const raw = this.#early.reduce((sum, chunk) => sum + chunk.length, 0);
    return this.#payloadBytes <= maxBodyBytes && raw <= FRAMING_RATIO * (maxBodyBytes + 64);
  }

  /** The payload that was gathered. */
  payload(): Buffer {
    return Buffer.concat(this.#payload ?? []);
  }

  /** Sends the head, and what was read of the body. */
  begin(mirrors: readonly MirrorTarget[]): void {
    this.#mirrors = mirrors;
    this.write(this.#headBytes);
    for (const chunk of this.#early) this.write(chunk);
    this.#early = NOTHING;
    this.isSent = this.reader.isDone;
    if (this.isSent) this.endCopies();
  }

  /** From here on the body only passes through. */
  forgetPayload(): void {
    this.#payload = undefined;
  }

  /** Keeps what is sent from now on, so that it can be sent again, up to a limit. */
  save(limit: number): void {
    this.#saved = [];
    this.#savedBytes = 0;
    this.#savedLimit = limit + this.#headBytes.length;
  }

  /** Everything that was sent; undefined when it was not kept, or was too much. */
  get saved(): readonly Buffer[] | undefined {
    return this.#saved;
  }

  /** There is an answer: it will not be sent again. */
  forgetSaved(): void {
    this.#saved = undefined;
  }

  get isWritable(): boolean {
    return this.leg?.isWritable === true;
  }

  /** Sends bytes of the request, which may be lent, to everyone who is to have them. */
  write(chunk: Buffer): void {
    if (chunk.length === 0) return;
    this.leg?.write(chunk);
    if (this.#saved === undefined && this.#mirrors.length === 0) return;
    const own = Buffer.from(chunk);
    if (this.#saved !== undefined) {
      this.#savedBytes += own.length;
      if (this.#savedBytes > this.#savedLimit) this.#saved = undefined;
      else this.#saved.push(own);
    }
    for (const {copies, copy} of this.#mirrors) copies.add(copy, own);
  }

  /** Nothing more is sent: whoever got a copy has it whole, or never will. */
  endCopies(): void {
    if (this.#areCopiesEnded) return;
    this.#areCopiesEnded = true;
    for (const {copies, copy} of this.#mirrors) {
      if (this.isSent) copies.finish(copy);
      else copies.cut(copy);
    }
  }

  /** Sends the request, as far as it was read, to the application's leg, and not again. */
  move(leg: Leg, saved: readonly Buffer[]): void {
    this.leg = leg;
    this.steal = undefined;
    this.forgetSaved();
    for (const chunk of saved) leg.write(chunk);
  }
}
