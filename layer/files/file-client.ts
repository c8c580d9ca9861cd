/**
 * A file system at the other end of a stream: the agent's, for the pod, or that of a process of ours, for what
 * is this machine's. Requests go out as the stream takes them; answers come with their numbers.
 *
 * A lost connection to the agent is not noticed here: the stream waits for the next one (tunnel/resume.ts), and
 * so do the requests. When the stream is over, all that wait get EIO, and so does everything later.
 */

import {type ChildProcess, spawn} from 'node:child_process';
import type {Socket} from 'node:net';
import os from 'node:os';
import {WriteQueue} from '../../sockets/write-queue.ts';
import {emitCall} from '../../tunnel/calls.ts';
import {
  FILE_ANSWER_BYTES,
  FILES_METHOD,
  FILES_VERSION,
  FileAnswers,
  type FileOperation,
  FileRequest,
} from '../../tunnel/files.ts';
import type {Mux} from '../../tunnel/mux.ts';
import type {StreamHandler} from '../../tunnel/types.ts';
import {launcherPath} from '../native/native.ts';
import {streamOfSocket} from '../socket-stream.ts';
import type {ByteStream} from '../streams.ts';
import {takeBuffer} from './read-buffers.ts';

/** Requests that may wait; the kernel sends one for each thread of the program, and some ahead. */
const requestLimit = 16_384;
/** Bytes that may wait to be sent: those of 256 threads that write as much as a request holds. */
const queueLimit = 256 * 1024 * 1024;

/** What goes out together, and how long a little waits for more, at most. */
const togetherBytes = 131_072;
const waitMs = 1;

const {EIO, ENOMEM, ENOSYS} = os.constants.errno;

/** A failed operation, by Linux' number of the errno. */
export class FileError extends Error {
  readonly errno: number;

  constructor(errno: number) {
    // Most are no fault but an answer (ENOENT), and to note where it was made costs more than all else about it.
    const {stackTraceLimit} = Error;
    Error.stackTraceLimit = 0;
    super(`errno ${errno}`);
    Error.stackTraceLimit = stackTraceLimit;
    this.name = 'FileError';
    this.errno = errno;
  }
}

/** Whom files are looked at as. */
export interface Identity {
  readonly uid: number;
  readonly gid: number;
}

export interface FileClientCounters {
  requests: number;
  failed: number;
  /** Over a limit. */
  refused: number;
  /** Answers that made no sense. */
  malformed: number;
}

interface Waiting {
  readonly operation: FileOperation;
  resolve(fields: Uint8Array): void;
  reject(error: FileError): void;
}

export class FileClient implements Disposable {
  readonly counters: FileClientCounters = {requests: 0, failed: 0, refused: 0, malformed: 0};
  readonly #stream: ByteStream;
  readonly #answers = new FileAnswers(takeBuffer);
  readonly #waiting = new Map<number, Waiting>();
  /** What the stream has not taken yet. */
  readonly #queue = new WriteQueue();
  readonly #onDispose: () => void;
  /** Sends what somebody holds back. */
  #held: (() => void) | undefined;
  #timer: NodeJS.Timeout | undefined;
  #received = 0;
  #lastId = 0;
  #isOver = false;

  /** `onDispose` ends what is behind the stream. */
  constructor(open: (handler: StreamHandler) => ByteStream, onDispose = (): void => undefined) {
    this.#onDispose = onDispose;
    const over = (): void => this.#end();
    this.#stream = open({
      onOpened: () => this.#flush(),
      onWritable: () => this.#flush(),
      onLentData: (chunk) => this.#onData(chunk),
      onRefused: over,
      onReset: over,
      onEnd: over,
      onClose: over,
      onStop: over,
    });
  }

  /** Whether nothing will be answered any more. */
  get isOver(): boolean {
    return this.#isOver;
  }

  /**
   * Asks, with `data` at the end, which is copied. Rejects with FileError; EIO when the stream is over. `mayWait`: whether it
   * may go out a little later, together with what comes next. The request's memory is used again.
   */
  request(request: FileRequest, data?: Uint8Array, mayWait = false): Promise<Uint8Array> {
    this.#sendHeld();
    this.counters.requests++;
    if (this.#isOver) return Promise.reject(new FileError(EIO));
    const bytes = data?.length ?? 0;
    if (this.#waiting.size >= requestLimit || this.#queue.bytes + bytes > queueLimit) {
      this.counters.refused++;
      return Promise.reject(new FileError(ENOMEM));
    }
    this.#lastId = (this.#lastId + 1) >>> 0;
    const id = this.#lastId;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, {operation: request.operation, resolve, reject});
      const head = request.finish(id, bytes);
      if (mayWait && bytes <= togetherBytes) {
        this.#wait(head);
        if (data !== undefined) this.#wait(data);
      } else {
        this.#flush();
        this.#send(head);
        if (data !== undefined && bytes > 0) this.#send(data);
        this.#stream.hurry?.();
      }
      request.release();
    });
  }

  /** Notes that somebody holds a request back; `send` is called before any other is sent, and soon. */
  hold(send: () => void): void {
    this.#sendHeld();
    this.#held = send;
    this.#releaseSoon();
  }

  /** Has all that waits for more sent. */
  release(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#sendHeld();
    this.#flush();
    this.#stream.hurry?.();
  }

  #sendHeld(): void {
    const held = this.#held;
    this.#held = undefined;
    held?.();
  }

  #releaseSoon(): void {
    this.#timer ??= setTimeout(() => this.release(), waitMs);
  }

  /** Keeps a copy of something until it is released, or there is enough. */
  #wait(bytes: Uint8Array): void {
    this.#queue.push(bytes, true);
    this.#queue.keep();
    if (this.#queue.bytes >= togetherBytes) this.#flush();
    else this.#releaseSoon();
  }

  /** Asks whom we are looking as. Rejects with FileError: EACCES where the files may not be looked at. */
  async hello(): Promise<Identity> {
    const fields = await this.request(new FileRequest('hello'));
    const view = new DataView(fields.buffer, fields.byteOffset, fields.byteLength);
    if (view.getUint32(0, true) !== FILES_VERSION) throw new FileError(ENOSYS);
    return {uid: view.getUint32(4, true), gid: view.getUint32(8, true)};
  }

  [Symbol.dispose](): void {
    if (!this.#isOver) this.#stream.reset('ECANCELED');
    this.#end();
    this.#onDispose();
  }

  /** Writes what the stream takes, and keeps a copy of the rest. */
  #send(bytes: Uint8Array): void {
    let done = 0;
    if (this.#queue.bytes === 0) {
      done = Math.min(bytes.length, this.#stream.writable);
      if (done > 0) this.#stream.write(bytes.subarray(0, done));
    }
    if (done === bytes.length) return;
    this.#queue.push(bytes.subarray(done), true);
    this.#queue.keep();
  }

  #flush(): void {
    if (this.#queue.bytes === 0) return;
    const parts: Uint8Array[] = [];
    while (this.#queue.bytes > 0) {
      const count = this.#queue.fill(parts);
      for (const part of parts.slice(0, count)) {
        const taken = Math.min(part.length, this.#stream.writable);
        if (taken > 0) this.#stream.write(part.subarray(0, taken));
        this.#queue.take(taken);
        if (taken < part.length) return;
      }
    }
  }

  #onData(chunk: Uint8Array): void {
    this.#received += chunk.length;
    try {
      this.#answers.push(chunk, (id, errno, fields) => this.#onAnswer(id, errno, fields));
    } catch {
      // What comes after it can't be understood either.
      this.counters.malformed++;
      this.#stream.reset('EPROTO');
      this.#end();
      return;
    }
    this.#stream.consumed(this.#received);
  }

  #onAnswer(id: number, errno: number, fields: Uint8Array): void {
    const waiting = this.#waiting.get(id);
    if (waiting === undefined) {
      this.counters.malformed++;
      return;
    }
    this.#waiting.delete(id);
    const [least, most] = FILE_ANSWER_BYTES[waiting.operation];
    if (errno === 0 && (fields.length < least || fields.length > most)) {
      this.counters.malformed++;
      waiting.reject(new FileError(EIO));
    } else if (errno === 0) waiting.resolve(fields);
    else waiting.reject(new FileError(errno));
  }

  #end(): void {
    this.#isOver = true;
    clearTimeout(this.#timer);
    this.#sendHeld(); // it fails as all else
    this.#queue.clear();
    for (const {reject} of this.#waiting.values()) reject(new FileError(EIO));
    this.counters.failed += this.#waiting.size;
    this.#waiting.clear();
  }
}

/** The target's files, by the agent. */
export function podFiles(mux: Mux): FileClient {
  const body = emitCall({method: FILES_METHOD, params: {}});
  return new FileClient((handler) => mux.open('call', body, handler));
}

/** This machine's files, by a process of ours, which is in no sandbox. */
export function hostFiles(): FileClient {
  const child: ChildProcess = spawn(launcherPath(), ['files', 'root'], {
    cwd: '/',
    // Out of reach of the terminal's Ctrl-C: the program may look at files for as long as it runs.
    detached: true,
    env: {},
    stdio: ['ignore', 'ignore', 'ignore', 'pipe'],
  });
  child.unref();
  child.on('error', () => undefined); // its end of the socket closes
  const socket = child.stdio[3] as Socket;
  socket.unref();
  return new FileClient(
    // A unix socket knows no reset.
    (handler) => Object.assign(streamOfSocket(socket, handler), {reset: () => socket.destroy()}),
    () => child.kill('SIGKILL'),
  );
}
