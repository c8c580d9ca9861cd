/**
 * A stream that is not the application's: for whom it is takes time to find out, or a program answers it. If that has lost it, or
 * it turns out to be the application's, it is no exchange any more (`leave`).
 *
 * The client's side of it is ours then: what he may send, and what he takes of the answer. Bytes flow both ways at once,
 * and neither side sends more than the other takes. What was sent of a request is kept up to a limit until the
 * answer begins, so that it can go to the application.
 */

import {type HeaderChange, LOST_REQUEST_TEXT} from '../response-head.ts';
import type {RequestRest} from './backlog.ts';
import type {Block} from './blocks.ts';
import {BodyQueue, type Sink} from './body-queue.ts';
import type {RequestCopy} from './copies.ts';
import type {FrameReader} from './frames.ts';
import {changedFields} from './head.ts';
import type {Field} from './hpack/field.ts';
import type {AnswerEvents, ProgramConnection, ProgramStream} from './program-connection.ts';
import {
  CANCEL,
  END_STREAM,
  FLOW_CONTROL_ERROR,
  INTERNAL_ERROR,
  MAX_31,
  NO_ERROR,
  REFUSED_STREAM,
} from './protocol.ts';

/** What the client may send is told to him in pieces of this size, or when he has as little left. */
const GRANT_BYTES = 16_384;

/** The client's connection, as an exchange needs it. */
export interface ExchangeHost {
  /** What of DATA the connection takes now, beside the stream's own window. */
  readonly answerRoom: number;
  /** There is no memory to keep requests in. */
  readonly isFull: boolean;
  readonly changes: readonly HeaderChange[];
  /** `block`: where the fields are from, if they are always the same for it. */
  sendHead(exchange: Exchange, fields: readonly Field[], isLast: boolean, block?: Block): void;
  sendData(exchange: Exchange, bytes: Uint8Array, isLast: boolean): void;
  /** Ends the stream. */
  reset(exchange: Exchange, code: number): void;
  /** The client may send so much more. */
  grant(exchange: Exchange, bytes: number): void;
  /** So many bytes more are kept. */
  onKept(bytes: number): void;
}

/** The head of a request. */
export interface Request {
  readonly block: Block;
  /** The head is all of it. */
  readonly isWhole: boolean;
}

export class Exchange implements AnswerEvents, Sink {
  readonly streamId: number;
  readonly block: Block;
  /** The head is all of the request. */
  readonly isWhole: boolean;
  /** Whoever was asked is gone before the answer began, or has refused to look at the request. */
  onAbandoned: (() => void) | undefined;
  /** What the client takes of the answer; and what he has added to it. */
  window: number;
  windowUpdates = 0;
  readonly #host: ExchangeHost;
  readonly #saveLimit: number;
  readonly #copies: RequestCopy[] = [];
  readonly #request: BodyQueue;
  readonly #answer: BodyQueue;
  /** What he believes that he may send; below 0 when he has set that it is less. */
  #receiveWindow: number;
  #ungranted = 0;
  /** Granted before it was taken. */
  #advance = 0;
  #saved: Buffer[] | undefined = [];
  #savedBytes = 0;
  #keptBytes = 0;
  #hasEnded: boolean;
  #trailers: readonly Field[] | undefined;
  #isAsked = false;
  #isOver = false;
  #program: ProgramStream | undefined;
  #hasAnswer = false;
  #resetAfter: number | undefined;
  #onProgress: (() => void) | undefined;

  /** `window`: what the client takes; `receiveWindow`: what he believes that he may send. */
  constructor(
    host: ExchangeHost,
    streamId: number,
    request: Request & {
      readonly window: number;
      readonly receiveWindow: number;
      readonly saveLimit: number;
    },
  ) {
    this.#host = host;
    this.streamId = streamId;
    this.block = request.block;
    this.isWhole = request.isWhole;
    this.#hasEnded = request.isWhole;
    this.window = request.window;
    this.#receiveWindow = request.receiveWindow;
    this.#saveLimit = request.saveLimit;
    this.#request = new BodyQueue((bytes) => this.#grant(bytes));
    this.#answer = new BodyQueue((bytes) => this.#program?.consumed(bytes));
  }

  /** Somebody was asked, who may have done something. */
  get isAsked(): boolean {
    return this.#isAsked;
  }

  /** What has come of the request, as long as all of it is there. */
  get rest(): RequestRest | undefined {
    if (this.#saved === undefined) return undefined;
    return {
      pieces: this.#saved,
      hasEnded: this.#hasEnded,
      trailers: this.#trailers,
      receiveWindow: this.#receiveWindow,
    };
  }

  /** Who gets copies of it. */
  get copies(): readonly RequestCopy[] {
    return this.#copies;
  }

  /** Nothing more happens to it. */
  get isOver(): boolean {
    return this.#isOver;
  }

  // ---- whom to ask ----

  /**
   * Reads the body while it is not larger than `limit`. Resolves to all of it; undefined when it is larger, or not
   * complete in time.
   */
  gather(limit: number, timeoutMs: number): Promise<Buffer | undefined> {
    return new Promise((resolve) => {
      const finish = (): void => {
        clearTimeout(timer);
        this.#onProgress = undefined;
        const isAll = this.#hasEnded && this.#savedBytes <= limit;
        resolve(isAll && this.#saved !== undefined ? Buffer.concat(this.#saved) : undefined);
      };
      const timer = setTimeout(finish, timeoutMs);
      this.#onProgress = () => {
        if (this.#hasEnded || this.#savedBytes > limit || this.#isOver) finish();
        else if (this.#receiveWindow <= 0) {
          // The window is the application's, and may be smaller than what a filter sees.
          const missing = GRANT_BYTES - this.#receiveWindow;
          this.#advance += missing;
          this.#grantNow(this.#ungranted + missing);
        }
      };
      this.#onProgress();
    });
  }

  /** Adds someone who gets a copy, from the beginning. */
  addCopy(copy: RequestCopy): void {
    this.#copies.push(copy);
    for (const bytes of this.#saved ?? []) copy.write(bytes);
    if (this.#hasEnded) copy.end(this.#trailers);
  }

  /** Asks a program. */
  ask(connection: ProgramConnection): void {
    this.#isAsked = true;
    this.#program = connection.ask(this.block.fields, {isWhole: this.isWhole, events: this});
    this.#request.start(this.#program, this.isWhole);
    this.#note();
  }

  /** It is somebody else's from now on: the request, and who gets copies. */
  leave(): void {
    this.#isOver = true;
    this.#stop();
  }

  /** Says that nobody will answer. */
  fail(): void {
    this.#program = this.#saved = undefined;
    this.#request.stop();
    const lines = {':status': '502', 'content-type': 'text/plain; charset=utf-8'};
    const fields = Object.entries(lines).map(
      ([name, value]): Field => ({name, value, indexing: 'indexed'}),
    );
    this.#host.sendHead(this, fields, false);
    this.#answer.add(Buffer.from(LOST_REQUEST_TEXT), {isLent: false, isLast: true});
    this.#answer.start(this);
  }

  // ---- the client says ----

  /** DATA, of memory that is lent. */
  onBody(frame: FrameReader): void {
    const bytes = Buffer.from(frame.bytes.subarray(frame.start, frame.end));
    this.#receiveWindow -= frame.flowBytes;
    if (this.#receiveWindow < 0) {
      this.#host.reset(this, FLOW_CONTROL_ERROR);
      return;
    }
    this.#ungranted += frame.flowBytes - bytes.length;
    if (this.#saved !== undefined) {
      this.#saved.push(bytes);
      this.#savedBytes += bytes.length;
      // What nobody was asked with yet has to be kept, whatever its size.
      if (this.#isAsked && (this.#savedBytes > this.#saveLimit || this.#host.isFull))
        this.#saved = undefined;
    }
    for (const copy of this.#copies) copy.write(bytes);
    const isLast = (frame.flags & END_STREAM) !== 0;
    if (isLast) this.#ended();
    this.#request.add(bytes, {isLent: false, isLast});
    this.#note();
    this.#onProgress?.();
  }

  onTrailers(fields: readonly Field[]): void {
    this.#trailers = fields;
    this.#ended();
    this.#request.end(fields);
    this.#onProgress?.();
  }

  /** The client takes more of the answer; returns false when it is more than a window can be. */
  onClientWindow(bytes: number): boolean {
    this.window += bytes;
    this.windowUpdates += bytes;
    this.flushAnswer();
    return this.window <= MAX_31;
  }

  /** What the client has set changed its windows. */
  changeWindow(bytes: number): void {
    this.window += bytes;
    this.flushAnswer();
  }

  /** The client has heard that he may send more, or less, than before. */
  changeReceiveWindow(bytes: number): void {
    this.#receiveWindow += bytes;
    this.#grant(0);
    this.#onProgress?.();
  }

  /** The client has given up, or is gone. */
  cancel(code: number): void {
    if (this.#isOver) return;
    this.#program?.reset(code === 0 ? CANCEL : code);
    this.end();
  }

  /** It is over, for whatever reason. */
  end(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    if (!this.#hasEnded) for (const copy of this.#copies) copy.cancel();
    this.#stop();
  }

  #stop(): void {
    this.#program = this.#saved = undefined;
    this.#request.stop();
    this.#answer.stop();
    this.#note();
    this.#onProgress?.();
  }

  /** There is room for more of the answer. */
  flushAnswer(): void {
    this.#answer.flush();
    this.#note();
  }

  // ---- who is asked says ----

  onRoom(): void {
    this.#request.flush();
    this.#note();
  }

  onHead(block: Block, isLast: boolean): void {
    const {fields} = block;
    if (this.#hasAnswer) {
      this.#answer.end(fields);
      return;
    }
    const [status] = fields;
    if (status?.name === ':status' && status.value.startsWith('1') && !isLast) {
      this.#host.sendHead(this, fields, false);
      return;
    }
    this.#hasAnswer = true;
    this.#saved = undefined;
    this.#note();
    this.#host.sendHead(this, changedFields(block, this.#host.changes), isLast, block);
    if (!isLast) this.#answer.start(this);
  }

  onData(bytes: Buffer, isLast: boolean): void {
    this.#answer.add(bytes, {isLent: true, isLast});
    this.#note();
  }

  onReset(code: number): void {
    this.#program = undefined;
    if (!this.#hasAnswer && code === REFUSED_STREAM) this.onLost();
    else this.#endAfterAnswer(code);
  }

  onLost(): void {
    this.#program = undefined;
    if (!this.#hasAnswer) this.onAbandoned?.();
    else if (!this.#answer.hasEnded) this.#host.reset(this, INTERNAL_ERROR);
    // The answer is there; what the client still sends is of no use.
    else if (!this.#hasEnded) this.#endAfterAnswer(NO_ERROR);
  }

  /** The rest of a whole answer comes before the end of its stream; what is not whole has no rest. */
  #endAfterAnswer(code: number): void {
    if (this.#answer.hasEnded && !this.#answer.isDone) this.#resetAfter = code;
    else this.#host.reset(this, code);
  }

  // ---- the client's side ----

  get room(): number {
    return Math.min(this.window, this.#host.answerRoom);
  }

  sendData(bytes: Uint8Array, isLast: boolean): void {
    this.window -= bytes.length;
    this.#host.sendData(this, bytes, isLast);
    if (isLast) this.#answered();
  }

  sendTrailers(fields: readonly Field[]): void {
    this.#host.sendHead(this, fields, true);
    this.#answered();
  }

  #answered(): void {
    if (this.#resetAfter !== undefined) this.#host.reset(this, this.#resetAfter);
  }

  #ended(): void {
    this.#hasEnded = true;
    for (const copy of this.#copies) copy.end(this.#trailers);
  }

  /** Bytes of the request wait no more: the client may send others. */
  #grant(bytes: number): void {
    const paid = Math.min(bytes, this.#advance);
    this.#advance -= paid;
    this.#ungranted += bytes - paid;
    if (this.#hasEnded || this.#isOver || this.#ungranted === 0) return;
    if (this.#ungranted >= GRANT_BYTES || this.#receiveWindow <= this.#ungranted)
      this.#grantNow(this.#ungranted);
  }

  #grantNow(bytes: number): void {
    this.#ungranted = 0;
    this.#receiveWindow += bytes;
    this.#host.grant(this, bytes);
  }

  #note(): void {
    const ofRequest = this.#request.bytes;
    const saved = this.#saved === undefined ? 0 : this.#savedBytes;
    const kept = this.#isOver ? 0 : Math.max(ofRequest, saved) + this.#answer.bytes;
    if (kept !== this.#keptBytes) this.#host.onKept(kept - this.#keptBytes);
    this.#keptBytes = kept;
  }
}
