/**
 * One request of HTTP/1 on its way, and what is kept of it so that it can go another one.
 */

import {BodyReader} from './body.ts';
import type {RequestHead} from './head.ts';
import type {Leg} from './leg.ts';
import type {MirrorCopies, MirrorCopy} from './mirror.ts';
import type {HttpSubscription} from './types.ts';

/** Bytes that may come before the payload of a small body, per byte of it: chunks of one byte have five. */
const FRAMING_RATIO = 8;

/** A client that gets a copy, and its copy. */
interface MirrorTarget {
  readonly copies: MirrorCopies;
  readonly copy: MirrorCopy;
}

export class Exchange {
  readonly head: RequestHead;
  readonly headBytes: Buffer;
  readonly reader: BodyReader;
  readonly mirrors: MirrorTarget[] = [];
  /** Bytes of the body that were read before it was known where they go. */
  readonly early: Buffer[] = [];
  /** Who is asked. */
  leg: Leg | undefined;
  /** The client whose program is asked; undefined: the application. */
  steal: HttpSubscription | undefined;
  /** Another leg is being made: nothing can be written. */
  isMoving = false;
  /** All of the request was written. */
  isSent = false;
  /** Where the request ends can't be known: the rest of the connection is for whoever has it. */
  needsRaw = false;
  /** No more of the request is to be written. */
  isStopped = false;
  #saved: Buffer[] | undefined;
  #savedBytes = 0;
  #savedLimit = 0;
  #payload: Buffer[] | undefined = [];
  #payloadBytes = 0;

  constructor(head: RequestHead, headBytes: Buffer) {
    this.head = head;
    this.headBytes = headBytes;
    this.reader = new BodyReader(head.framing, (bytes) => {
      this.#payloadBytes += bytes.length;
      this.#payload?.push(bytes);
    });
  }

  /** What was gathered of the body so far is not more than a filter may see. */
  isWithin(maxBodyBytes: number): boolean {
    const raw = this.early.reduce((sum, chunk) => sum + chunk.length, 0);
    return this.#payloadBytes <= maxBodyBytes && raw <= FRAMING_RATIO * (maxBodyBytes + 64);
  }

  /** The payload that was gathered. */
  payload(): Buffer {
    return Buffer.concat(this.#payload ?? []);
  }

  /** From here on the body only passes through. */
  forgetPayload(): void {
    this.#payload = undefined;
  }

  /** Keeps what is sent from now on, so that it can be sent again, up to a limit. */
  save(limit: number): void {
    this.#saved = [];
    this.#savedBytes = 0;
    this.#savedLimit = limit + this.headBytes.length;
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
    return !this.isMoving && this.leg?.isWritable === true;
  }

  /** Sends bytes of the request to everyone who is to have them. */
  write(chunk: Buffer): void {
    if (chunk.length === 0) return;
    if (this.#saved !== undefined) {
      this.#savedBytes += chunk.length;
      if (this.#savedBytes > this.#savedLimit) this.#saved = undefined;
      else this.#saved.push(chunk);
    }
    this.leg?.write(chunk);
    for (const {copies, copy} of this.mirrors) copies.add(copy, chunk);
  }

  /** Whoever got a copy has it whole, or never will. */
  endCopies(): void {
    for (const {copies, copy} of this.mirrors) {
      if (this.isSent) copies.finish(copy);
      else copies.cut(copy);
    }
  }

  /** Sends the request, as far as it was read, to another leg. */
  move(leg: Leg, saved: readonly Buffer[]): void {
    this.leg = leg;
    for (const chunk of saved) leg.write(chunk);
  }
}
