/**
 * A TCP connection to a name server, ended here, so that each of its queries goes to who answers for its name.
 *
 * Theory of operation. The connection is accepted at once; one to the pod's name server is opened with the
 * first query that is the pod's. Answers go back as they come, in any order (RFC 7766, section 6.2.1.1).
 * Bounded: queries wait for the pod's connection up to `waitingLimit` bytes; the program is read no further
 * while answers it hasn't taken are more than `unreadLimit`, nor is the pod's name server.
 */

import type {StreamHandler} from '../../../tunnel/types.ts';
import type {OpenStream, OutgoingStream} from '../../streams.ts';
import {emitFrame, FrameReader} from './frames.ts';
import type {NameServer} from './name-server.ts';

/** What the program may have sent without a whole query, bytes: the longest one. */
const windowBytes = 65_537;
/** Answers that the program has not read, bytes. */
const unreadLimit = 512 * 1024;
/** Queries that wait for the pod's connection, bytes. */
const waitingLimit = 256 * 1024;
/** Queries of one connection that are answered here at a time. */
const pipelineLimit = 64;

class DnsTcp implements OutgoingStream {
  readonly #server: NameServer;
  readonly #forward: OpenStream;
  readonly #body: Uint8Array;
  readonly #handler: StreamHandler;
  readonly #fromProgram = new FrameReader();
  readonly #fromPod = new FrameReader();
  #pod: OutgoingStream | undefined;
  #isPodOpen = false;
  readonly #waiting: Uint8Array[] = [];
  #waitingBytes = 0;
  #answering = 0;
  #sent = 0;
  #read = 0;
  #podReceived = 0;
  #isEnded = false;
  #isPodEnded = false;
  #isOver = false;

  constructor(server: NameServer, forward: OpenStream, body: Uint8Array, handler: StreamHandler) {
    this.#server = server;
    this.#forward = forward;
    this.#body = body;
    this.#handler = handler;
    queueMicrotask(() => {
      if (!this.#isOver) handler.onOpened?.(new Uint8Array());
    });
  }

  get writable(): number {
    const isBusy =
      this.#sent - this.#read > unreadLimit ||
      this.#waitingBytes > waitingLimit ||
      this.#answering >= pipelineLimit;
    return isBusy || this.#isEnded || this.#isOver
      ? 0
      : windowBytes - this.#fromProgram.pendingBytes;
  }

  write(chunk: Uint8Array): void {
    for (const message of this.#fromProgram.push(chunk)) this.#take(message);
    // What was whole is no longer pending: the window is open again.
    queueMicrotask(() => this.#tellWritable());
  }

  end(): void {
    this.#isEnded = true;
    this.#endWhenDone();
  }

  consumed(offset: number): void {
    this.#read = offset;
    this.#releasePod();
    this.#tellWritable();
  }

  reset(errno: string): void {
    this.#isOver = true;
    this.#pod?.reset(errno);
  }

  // Of datagrams; this stream has bytes.
  sendDatagram(): boolean {
    return true;
  }

  #tellWritable(): void {
    if (!this.#isOver && this.writable > 0) this.#handler.onWritable?.();
  }

  #take(message: Uint8Array): void {
    const {side, name} = this.#server.decide(message);
    if (side === 'host') {
      void this.#answerHere(message, name);
      return;
    }
    this.#pod ??= this.#openPod();
    this.#waiting.push(emitFrame(message));
    this.#waitingBytes += 2 + message.length;
    this.#drain();
  }

  async #answerHere(message: Uint8Array, name: string): Promise<void> {
    this.#answering++;
    const answer = await this.#server.answer(message, name, 'tcp');
    this.#answering--;
    if (answer !== undefined) this.#give(emitFrame(answer));
    this.#tellWritable();
    this.#endWhenDone();
  }

  #give(bytes: Uint8Array): void {
    if (this.#isOver) return;
    this.#sent += bytes.length;
    this.#handler.onData?.(bytes);
  }

  #openPod(): OutgoingStream {
    const abort = (errno: string): void => {
      if (this.#isOver) return;
      this.#isOver = true;
      this.#handler.onReset?.(errno);
    };
    return this.#forward('tcp', this.#body, {
      onOpened: () => {
        this.#isPodOpen = true;
        this.#drain();
      },
      onWritable: () => this.#drain(),
      onData: (chunk) => {
        this.#podReceived += chunk.length;
        for (const message of this.#fromPod.push(chunk)) this.#give(emitFrame(message));
        this.#releasePod();
      },
      onEnd: () => {
        this.#isPodEnded = true;
        // It closes idle connections; the program then asks by a new one.
        this.#pod?.end();
        this.#isEnded = true;
        this.#waiting.length = 0;
        this.#endWhenDone();
      },
      onRefused: abort,
      onReset: abort,
      onStop: abort,
    });
  }

  /** Sends what waits for the pod, as far as it takes it. */
  #drain(): void {
    const pod = this.#pod;
    if (pod === undefined || !this.#isPodOpen || this.#isOver) return;
    for (let [first] = this.#waiting; first !== undefined; [first] = this.#waiting) {
      const size = Math.min(pod.writable, first.length);
      if (size === 0) return;
      pod.write(first.subarray(0, size));
      this.#waitingBytes -= size;
      if (size === first.length) this.#waiting.shift();
      else this.#waiting[0] = first.subarray(size);
    }
    this.#tellWritable();
    this.#endWhenDone();
  }

  #releasePod(): void {
    if (this.#sent - this.#read <= unreadLimit) this.#pod?.consumed(this.#podReceived);
  }

  /** After the program's last query: ends the pod's connection, and ours when all is answered. */
  #endWhenDone(): void {
    if (this.#isOver || !this.#isEnded || this.#waiting.length > 0) return;
    if (!this.#isPodEnded) this.#pod?.end();
    if (this.#answering > 0 || (this.#pod !== undefined && !this.#isPodEnded)) return;
    this.#isOver = true;
    this.#handler.onEnd?.();
  }
}

/** Opens a stream of kind `tcp`. `forward` opens the one to the pod's name server, when it is needed. */
export function openDnsTcp(
  server: NameServer,
  forward: OpenStream,
  body: Uint8Array,
  handler: StreamHandler,
): OutgoingStream {
  return new DnsTcp(server, forward, body, handler);
}
