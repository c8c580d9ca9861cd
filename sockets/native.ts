/**
 * Loads the addon (layer/native/socket.c), and hands its events on: the only file that does. Where it is missing, or
 * is for another machine, there is none, and Node's sockets do (`duplex-socket.ts`).
 */

import {createRequire} from 'node:module';
import {machine} from 'node:os';
import {getSystemErrorName} from 'node:util';

declare const handleBrand: unique symbol;
/** A socket of the addon's. */
export interface Handle {
  readonly [handleBrand]: true;
}

export const READABLE = 1;
export const WRITABLE = 2;
/** To be asked before it is read how much. */
export const ASK = 16;

export interface Addon {
  start(buffer: Uint8Array, callback: (id: number, event: number, value: number) => number): number;
  open(fd: number, id: number): Handle | number;
  watch(handle: Handle, events: number, room: number): number;
  write(handle: Handle, parts: readonly Uint8Array[], count: number): number;
  close(handle: Handle, isReset: boolean): number;
  shutdownWrite(handle: Handle): number;
  connect(endpoint: Uint8Array, keepAliveSeconds: number): number;
  duplicate(fd: number): number;
  localEndpoint(handle: Handle, endpoint: Uint8Array): number;
  startDatagrams(slots: Uint8Array, notes: Uint8Array): number;
  openDatagrams(family: number, id: number, isShared: boolean): Handle | number;
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
  onWritable(): void;
  /** A stream: returns how much may be read next. */
  onData?(bytes: Uint8Array): number;
  /** A stream: returns how much may be read. */
  onReadable?(): number;
  onEnd?(): void;
  /** So many are in the slots. */
  onDatagrams?(count: number): void;
}

/** One read of any socket: large enough that a call costs little beside the copy, and it stays in a cache. */
const READ_BYTES = 262_144;

const listeners = new Map<number, Listener>();
const buffer = new Uint8Array(READ_BYTES);
let lastId = 0;
let loaded: Addon | null | undefined;

/** The addon; undefined where it can't be loaded. */
export function socketAddon(): Addon | undefined {
  if (loaded === undefined) {
    try {
      const path = `../build/linux-${machine()}/socket.node`;
      const addon = createRequire(import.meta.url)(path) as Addon;
      loaded = addon.start(buffer, dispatch) < 0 ? null : addon;
    } catch {
      loaded = null; // for another C library, say; all works without it
    }
  }
  return loaded ?? undefined;
}

/** Has a socket opened by `open`, under a new id. Throws what that fails with. */
export function openHandle(
  open: (id: number) => Handle | number,
  listener: Listener,
): [Handle, number] {
  lastId = (lastId % 0x7fff_ffff) + 1;
  const handle = open(lastId);
  if (typeof handle === 'number') throw errnoError('socket', handle);
  listeners.set(lastId, listener);
  return [handle, lastId];
}

/** Nobody hears of it any more. */
export function forgetHandle(id: number): void {
  listeners.delete(id);
}

/** An error with `code`, as Node's own, for a negative errno. */
export function errnoError(syscall: string, result: number): NodeJS.ErrnoException {
  const code = getSystemErrorName(result);
  return Object.assign(new Error(`${syscall}: ${code}`), {code, syscall});
}

function dispatch(id: number, event: number, value: number): number {
  const listener = listeners.get(id);
  if (listener === undefined) return 0;
  switch (event) {
    case 0:
      return listener.onData?.(value === buffer.length ? buffer : buffer.subarray(0, value)) ?? 0;
    case 1:
      listener.onEnd?.();
      return 0;
    case 2:
      listener.onFailed(value);
      return 0;
    case 3:
      listener.onWritable();
      return 0;
    case 4:
      return listener.onReadable?.() ?? 0;
    default:
      listener.onDatagrams?.(value);
      return 0;
  }
}
