/**
 * Asks the worker, with a limit on the time that an answer may take.
 *
 * One question is with the worker at a time. It may think for the limit; so may a question wait for its
 * turn. Whichever is exceeded, the answer is `late`; and a worker that is still thinking then is ended, and another one
 * started. So nothing that a filter or a request contains holds up more than the requests which
 * need the worker, and these for twice the limit. Starting does not count.
 */

import {Worker} from 'node:worker_threads';
import type {HttpCounters} from '../counters.ts';
import {type Answer, type Question, READY} from './questions.ts';

/** Questions that wait; above it they are late at once. */
const MAX_WAITING = 256;
/** How long a worker may take to start, on a machine that has much else to do. */
const START_MS = 10_000;
/** Of JavaScript in the worker: a body of 64 KiB, parsed, many times over. */
const HEAP_MB = 64;

/** `late`: it was not found out in time. */
export type Judgement = Answer | {readonly kind: 'late'};

interface Asked {
  readonly question: Question;
  readonly limitMs: number;
  readonly resolve: (judgement: Judgement) => void;
}

export class Judge {
  readonly #counters: HttpCounters;
  readonly #waiting: Asked[] = [];
  #worker: Worker | undefined;
  #isReady = false;
  #current: Asked | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(counters: HttpCounters) {
    this.#counters = counters;
  }

  /** Starts the worker, so that the first request does not wait for it. */
  prepare(): void {
    if (this.#worker === undefined) this.#start();
  }

  /** Resolves within twice the limit, once the worker runs. */
  ask(question: Question, limitMs: number): Promise<Judgement> {
    this.prepare();
    return new Promise((resolve) => {
      const asked: Asked = {question, limitMs, resolve};
      if (this.#waiting.length >= MAX_WAITING) return this.#settle(asked, {kind: 'late'});
      this.#waiting.push(asked);
      if (this.#isReady) this.#startWaiting(asked);
      this.#next();
    });
  }

  /** Ends the worker; another one starts with the next question. */
  async close(): Promise<void> {
    await this.#replace(false);
  }

  #start(): void {
    const worker = new Worker(new URL('./worker.ts', import.meta.url), {
      resourceLimits: {maxOldGenerationSizeMb: HEAP_MB},
      env: {},
    });
    this.#worker = worker;
    worker.on('message', (message: Answer | typeof READY) => {
      if (this.#worker !== worker) return;
      if (message === READY) this.#onReady();
      else this.#onAnswer(message);
    });
    worker.on('error', () => {});
    worker.on('exit', () => {
      if (this.#worker === worker) void this.#replace(this.#waiting.length > 0);
    });
    // Last: listening to its messages takes it back.
    worker.unref();
    this.#arm(START_MS);
  }

  #onReady(): void {
    this.#isReady = true;
    clearTimeout(this.#timer);
    for (const asked of this.#waiting) this.#startWaiting(asked);
    this.#next();
  }

  #startWaiting(asked: Asked): void {
    const timer = setTimeout(() => {
      const at = this.#waiting.indexOf(asked);
      if (at < 0) return;
      this.#waiting.splice(at, 1);
      this.#settle(asked, {kind: 'late'});
    }, asked.limitMs);
    timer.unref();
  }

  #next(): void {
    if (!this.#isReady || this.#current !== undefined) return;
    this.#current = this.#waiting.shift();
    if (this.#current === undefined) return;
    this.#arm(this.#current.limitMs);
    this.#worker?.postMessage(this.#current.question);
  }

  #onAnswer(answer: Answer): void {
    clearTimeout(this.#timer);
    const asked = this.#current;
    this.#current = undefined;
    if (asked !== undefined) this.#settle(asked, answer);
    this.#next();
  }

  /** What the worker does now may take so long. */
  #arm(ms: number): void {
    this.#timer = setTimeout(() => void this.#replace(true), ms);
  }

  async #replace(isNeeded: boolean): Promise<void> {
    clearTimeout(this.#timer);
    const worker = this.#worker;
    const asked = this.#current;
    const isStarting = !this.#isReady;
    this.#worker = this.#current = undefined;
    this.#isReady = false;
    if (asked !== undefined) this.#settle(asked, {kind: 'late'});
    if (isStarting || !isNeeded) {
      // A worker that does not start now will not start for those who wait.
      for (const waiting of this.#waiting.splice(0)) this.#settle(waiting, {kind: 'late'});
    } else this.#start();
    await worker?.terminate();
  }

  #settle(asked: Asked, judgement: Judgement): void {
    if (judgement.kind === 'late') this.#counters.lateFilters++;
    asked.resolve(judgement);
  }
}
