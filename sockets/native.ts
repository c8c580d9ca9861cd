/**
 * Loads the addon (layer/native/socket.c), and hands its events on: the only file that does. Where it is missing, or
 * is for another machine, there is none, and Node's sockets do (`duplex-socket.ts`).
 */

import {createRequire} from 'node:module';
import {machine} from 'node:os';
import {getSystemErrorName} from 'node:util';
import {type Flushable, OUTBOX_BYTES, Outbox, throwLater} from './outbox.ts';

declare const handleBrand: unique symbol;
/** A socket of the addon's; > 0. */
export type Handle = number & {readonly [handleBrand]: true};

export const READABLE = 1;
export const WRITABLE = 2;
/** To be asked before it is read how much. */
export const ASK = 16;

export interface Addon {
  sharedMemory(length: number): ArrayBuffer | number;
  start(
    memory: Uint8Array,
    room: number,
    notes: Int32Array,
    writes: Int32Array,
    callback: (count: number) => void,
  ): number;
  open(fd: number): number;
  adopt(fd: number): number;
  watch(handle: Handle, events: number, room: number): number;
  write(handle: Handle, parts: readonly Uint8Array[], count: number): number;
  writeAll(count: number): number;
  close(handle: Handle, isReset: boolean): number;
  shutdownWrite(handle: Handle): number;
  connect(endpoint: Uint8Array, keepAliveSeconds: number): number;
  localEndpoint(handle: Handle, endpoint: Uint8Array): number;
  listen(keepAliveSeconds: number, endpoint: Uint8Array): number;
  listenerDescriptor(handle: Handle): number;
  closeListener(handle: Handle): number;
  openPassages(): number;
  enterPassage(handle: Handle, destination: Uint8Array, source: Uint8Array): number;
  joinPassage(client: Handle, application: Handle, written: number): number;
  holdPassage(client: Handle): number;
  settlePassage(
    client: Handle,
    read: number,
    written: number,
    applicationRead: number,
    applicationWritten: number,
  ): number;
  /** `division`: layer/native/passages.h. */
  dividePassage(
    client: Handle,
    read: number,
    written: number,
    applicationRead: number,
    applicationWritten: number,
    division: Uint32Array,
    up: readonly Uint8Array[],
    down: readonly Uint8Array[],
    pendingUp: readonly Uint8Array[],
    pendingDown: readonly Uint8Array[],
  ): number;
  changePassage(client: Handle, place: number, length: number, more: number): number;
  passageCounts(counts: Uint8Array): number;
  startStandby(): number;
  standbyIsOver(): number;
  setStandby(listener: number, kept: readonly number[], command: Uint8Array, mark: number): number;
  startDatagrams(slots: Uint8Array, notes: Uint8Array): number;
  openDatagrams(family: number, isShared: boolean): number;
  bindDatagrams(handle: Handle, endpoint: Uint8Array): number;
  connectDatagrams(handle: Handle, endpoint: Uint8Array): number;
  watchDatagrams(handle: Handle, events: number): number;
  sendDatagrams(
    handle: Handle,
    payloads: readonly Uint8Array[],
    endpoints: readonly (Uint8Array | undefined)[],
    begin: number,
    end: number,
  ): number;
  closeDatagrams(handle: Handle): number;
}

/** What a socket hears of the addon. */
export interface Listener {
  onFailed(errno: number): void;
  onWritable?(): void;
  /** A stream: returns how much may be read next. */
  onData?(bytes: Uint8Array): number;
  /** A stream: returns how much may be read. */
  onReadable?(): number;
  onEnd?(): void;
  /** So many are in the slots. */
  onDatagrams?(count: number): void;
  /** A connection was accepted; `record` as layer/native/listener.c has it. */
  onAccepted?(handle: Handle, record: Uint8Array): void;
}

/** What all sockets read in one turn: large enough that a call costs little beside the copy, and it stays in a cache. */
const READ_BYTES = 262_144;
/** Events of one call (MAX_NOTES of layer/native/socket.c), of four numbers: id, event, where in the memory, value. */
const MAX_NOTES = 128;

/** What of the memory is about a connection that was accepted (RECORD_BYTES of layer/native/listener.c). */
const RECORD_BYTES = 38;

const listeners = new Map<number, Listener>();
const notes = new Int32Array(4 * MAX_NOTES);
/** Where sockets read, and behind it what they write from; with the addon only. */
let memory: Uint8Array = new Uint8Array(0);
let outbox: Outbox | undefined;
let loaded: Addon | null | undefined;

/** The addon; undefined where it can't be loaded. */
export function socketAddon(): Addon | undefined {
  if (loaded === undefined) {
    try {
      const path = `../build/linux-${machine()}/socket.node`;
      const addon = createRequire(import.meta.url)(path) as Addon;
      // What is in it, another process may need when this one is killed (`standby.ts`).
      const shared = addon.sharedMemory(READ_BYTES + OUTBOX_BYTES);
      memory =
        typeof shared === 'number'
          ? new Uint8Array(READ_BYTES + OUTBOX_BYTES)
          : new Uint8Array(shared);
      outbox = new Outbox(memory, READ_BYTES);
      const failure = addon.start(memory, READ_BYTES, notes, outbox.cells, onNotes);
      loaded = failure < 0 ? null : addon;
    } catch {
      loaded = null; // for another C library, say; all works without it
    }
  }
  return loaded ?? undefined;
}

/** What the addon opened, or why it did not: has a listener hear of it. Throws an error for a negative errno. */
export function openHandle(result: number, listener: Listener): Handle {
  if (result < 0) throw errnoError('socket', result);
  listeners.set(result, listener);
  return result as Handle;
}

/** Nobody hears of it any more. */
export function forgetHandle(handle: Handle): void {
  listeners.delete(handle);
}

/** An error with `code`, as Node's own, for a negative errno. */
export function errnoError(syscall: string, result: number): NodeJS.ErrnoException {
  const code = getSystemErrorName(result);
  return Object.assign(new Error(`${syscall}: ${code}`), {code, syscall});
}

/** Has what a socket was given to write written with the others' at the end of what is going on. */
export function flushLater(socket: Flushable): void {
  outbox?.add(socket);
}

/** Tells of everything that happened in a turn, and writes what it led to. */
function onNotes(count: number): void {
  const addon = loaded as Addon;
  outbox?.open();
  for (let at = 0; at < 4 * count; at += 4) notes[at + 3] = tell(at);
  outbox?.close(addon);
}

/** Returns the answer to a note: how much may be read next, if it asks that. */
function tell(at: number): number {
  const listener = listeners.get(notes[at] ?? 0);
  if (listener === undefined) return 0;
  const offset = notes[at + 2] ?? 0;
  const value = notes[at + 3] ?? 0;
  try {
    switch (notes[at + 1]) {
      case 0:
        return listener.onData?.(memory.subarray(offset, offset + value)) ?? 0;
      case 1:
        listener.onEnd?.();
        return 0;
      case 2:
        listener.onFailed(value);
        return 0;
      case 3:
        listener.onWritable?.();
        return 0;
      case 4:
        return listener.onReadable?.() ?? 0;
      case 6:
        listener.onAccepted?.(value as Handle, memory.subarray(offset, offset + RECORD_BYTES));
        return 0;
      default:
        listener.onDatagrams?.(value);
        return 0;
    }
  } catch (error) {
    throwLater(error);
    return 0;
  }
}
