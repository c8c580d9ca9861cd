/**
 * Copies of the requests of one connection for one client that mirrors them.
 *
 * The original never waits: a copy is a few pointers to the same bytes. They are sent one request after the
 * other, the next when the program has answered, and answers are thrown away. What waits for the program
 * has a limit; the request that exceeds it is cut off, with its connection if it had begun, and the
 * client is told once. Later requests are copied again.
 */

import {waitingCopies} from '../waiting-copies.ts';
import {BodyReader} from './body.ts';
import type {HttpCounters} from './counters.ts';
import {parseResponseHead, type RequestHead, type ResponseHead} from './head.ts';
import {HeadBuffer} from './head-buffer.ts';
import {Leg} from './leg.ts';
import {Signal} from './signal.ts';
import type {HttpSubscription} from './types.ts';
import {warnOnce} from './warnings.ts';

/** What may wait for the program, of all requests of the connection: a good second at 2 Mbit/s. */
const WAITING_BYTES = 262_144;
/** What a waiting request costs besides its bytes. */
const REQUEST_OVERHEAD_BYTES = 512;
/** How long the program may take with what waits when the client's connection has ended. */
const LINGER_MS = 5000;

/** One request on its way to the program. */
export class MirrorCopy {
  readonly head: RequestHead;
  readonly chunks: Buffer[] = [];
  isWhole = false;
  isCut = false;

  constructor(head: RequestHead) {
    this.head = head;
  }
}

export class MirrorCopies {
  readonly #subscription: HttpSubscription;
  readonly #counters: HttpCounters;
  readonly #signal = new Signal();
  readonly #waiting: MirrorCopy[] = [];
  #waitingBytes = 0;
  #leg: Leg | undefined;
  #isRunning = false;
  #isClosing = false;
  #linger: NodeJS.Timeout | undefined;

  constructor(subscription: HttpSubscription, counters: HttpCounters) {
    this.#subscription = subscription;
    this.#counters = counters;
  }

  /** Begins a request; returns what takes its bytes from the head on. */
  begin(head: RequestHead): MirrorCopy {
    const copy = new MirrorCopy(head);
    if (this.#isTooMuch(REQUEST_OVERHEAD_BYTES)) {
      this.#tooSlow(copy);
      return copy;
    }
    this.#waiting.push(copy);
    this.#change(REQUEST_OVERHEAD_BYTES);
    this.#counters.mirroredRequests++;
    if (!this.#isRunning) void this.#run();
    return copy;
  }

  /** Adds bytes of the request, which must not change afterwards. */
  add(copy: MirrorCopy, chunk: Buffer): void {
    if (copy.isCut) return;
    if (this.#isTooMuch(chunk.length)) {
      this.#tooSlow(copy);
      return;
    }
    copy.chunks.push(chunk);
    this.#change(chunk.length);
    this.#signal.notify();
  }

  /** The request is complete. */
  finish(copy: MirrorCopy): void {
    copy.isWhole = true;
    this.#signal.notify();
  }

  /** The request will not be completed. */
  cut(copy: MirrorCopy): void {
    if (copy.isWhole) return;
    copy.isCut = true;
    this.#drop(copy);
    this.#signal.notify();
  }

  /** No more requests; what waits is still sent, if the program takes it soon. */
  close(): void {
    this.#isClosing = true;
    if (!this.#isRunning) this.#leg?.close();
    else {
      this.#linger = setTimeout(() => {
        for (const copy of this.#waiting.splice(0)) this.#forget(copy);
        this.#leg?.reset();
        this.#signal.notify();
      }, LINGER_MS);
    }
  }

  /** Whether so much more may not wait. */
  #isTooMuch(bytes: number): boolean {
    return this.#waitingBytes + bytes > WAITING_BYTES || waitingCopies.isFull;
  }

  #change(bytes: number): void {
    this.#waitingBytes += bytes;
    waitingCopies.change(bytes);
  }

  #drop(copy: MirrorCopy): void {
    for (const chunk of copy.chunks.splice(0)) this.#change(-chunk.length);
  }

  /** It does not wait any more. */
  #forget(copy: MirrorCopy): void {
    this.#drop(copy);
    this.#change(-REQUEST_OVERHEAD_BYTES);
  }

  #tooSlow(copy: MirrorCopy): void {
    this.cut(copy);
    this.#counters.cutMirrors++;
    const slow = 'the program takes copies of requests more slowly than they come: some are lost';
    warnOnce(this.#subscription, 'MIRRORD_HTTP_MIRROR_SLOW', slow);
  }

  async #run(): Promise<void> {
    this.#isRunning = true;
    for (;;) {
      const copy = this.#waiting.shift();
      if (copy === undefined) break;
      if (!(await this.#send(copy))) {
        this.#leg?.reset();
        this.#leg = undefined;
      }
      this.cut(copy);
      this.#forget(copy);
    }
    this.#isRunning = false;
    clearTimeout(this.#linger);
    if (this.#isClosing) this.#leg?.close();
  }

  /** Returns whether the connection is good for another request. */
  async #send(copy: MirrorCopy): Promise<boolean> {
    try {
      if (this.#leg?.isStirring) this.#leg.reset();
      if (this.#leg === undefined || this.#leg.isBroken) {
        this.#leg = new Leg(await this.#subscription.connect(), this.#signal);
      }
    } catch {
      // The program is gone, or does not listen: nothing is lost but the copy.
      return false;
    }
    const leg = this.#leg;
    const answer = discardResponse(leg, this.#signal, copy);
    for (;;) {
      if (leg.isBroken || copy.isCut) break;
      if (!leg.isWritable) await this.#signal.wait();
      else {
        const chunk = copy.chunks.shift();
        if (chunk !== undefined) {
          this.#change(-chunk.length);
          leg.write(chunk);
        } else if (copy.isWhole) break;
        else await this.#signal.wait();
      }
    }
    return (await answer) && copy.isWhole;
  }
}

/** Reads the answer to a request; returns whether it ended where the next one can begin. */
async function discardResponse(leg: Leg, signal: Signal, copy: MirrorCopy): Promise<boolean> {
  const buffer = new HeadBuffer();
  let head: ResponseHead | undefined;
  let reader: BodyReader | undefined;
  for (;;) {
    if (copy.isCut || leg.isBroken || leg.isAtEnd) return false;
    const chunk = leg.read();
    if (chunk === undefined) {
      await signal.wait();
      continue;
    }
    if (reader === undefined) {
      const length = buffer.push(chunk);
      if (length === 'more') continue;
      if (length === 'broken') return false;
      const bytes = buffer.take();
      leg.unread(bytes.subarray(length));
      head = parseResponseHead(bytes.subarray(0, length), copy.head);
      if (head === undefined || head.isSwitch) return false;
      if (!head.isInterim) reader = new BodyReader(head.framing);
    } else leg.unread(chunk.subarray(reader.take(chunk)));
    if (reader?.isBroken) return false;
    if (reader?.isDone) return head?.isLast === false;
  }
}
