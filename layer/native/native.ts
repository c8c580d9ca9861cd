/**
 * The typed face of the addon (`addon.c`), and the place of the launcher (`launcher.c`).
 *
 * The only file that loads native code. Failures become errors with `code`, `errno` and `syscall`, as
 * Node's own; the packet path returns numbers instead, since it must not allocate.
 */

import {existsSync} from 'node:fs';
import {createRequire} from 'node:module';
import os from 'node:os';
import {fileURLToPath} from 'node:url';
import {getSystemErrorName} from 'node:util';
import {MirrordError} from '../errors.ts';

interface Addon {
  socketPair(): [number, number] | number;
  exchange(fd: number, message: Uint8Array, answer: Uint8Array): [number, number] | number;
  netlinkDump(fd: number, request: Uint8Array, answer: Uint8Array): number;
  closeFd(fd: number): number;
  closeOnExec(fd: number): number;
  startReading(
    fd: number,
    ring: Uint8Array,
    slotSize: number,
    lengths: Uint8Array,
    onBatch: (count: number) => void,
    source: number,
  ): object | number;
  sendPacket(fd: number, packet: Uint8Array, length: number): number;
  stopReading(handle: object): number;
  pauseReading(handle: object, isPaused: boolean): number;
  writePacket(
    fd: number,
    head: Uint8Array,
    headLength: number,
    parts: readonly Uint8Array[],
    partCount: number,
  ): number;
  relaySignals(pid: number): number;
  becomeSubreaper(): number;
  stayAwake(microseconds: number): number;
  goNear(thread: number): number;
}

/** A failed system call, shaped like Node's own. */
export class SystemError extends Error {
  readonly code: string;
  readonly errno: number;
  readonly syscall: string;

  constructor(syscall: string, errno: number, detail = '') {
    const code = getSystemErrorName(-Math.abs(errno));
    super(`${syscall}: ${code}${detail === '' ? '' : `: ${detail}`}`);
    this.name = 'SystemError';
    this.code = code;
    this.errno = Math.abs(errno);
    this.syscall = syscall;
  }
}

function place(file: string): string {
  const path = fileURLToPath(new URL(`../../build/linux-${os.machine()}/${file}`, import.meta.url));
  if (existsSync(path)) return path;
  throw new MirrordError('MIRRORD_NATIVE_MISSING', `${file} is not built for ${os.machine()}`, {
    hint: 'run: scripts/build-native (it needs a C compiler: apt-get install gcc libc6-dev)',
  });
}

let loaded: Addon | undefined;

function addon(): Addon {
  loaded ??= createRequire(import.meta.url)(place('addon.node')) as Addon;
  return loaded;
}

function checked<T>(syscall: string, result: T | number): T {
  if (typeof result === 'number' && result < 0) throw new SystemError(syscall, result);
  return result as T;
}

/** The path of the launcher. Throws `MIRRORD_NATIVE_MISSING`. */
export function launcherPath(): string {
  return place('launcher');
}

/** Makes a connected pair of message sockets; both are the caller's to close. */
export function socketPair(): [number, number] {
  return checked('socketpair', addon().socketPair());
}

const answerBuffer = Buffer.alloc(8192);

/**
 * Sends one message and waits for its answer (milliseconds; 20 s at most). Returns the answer, a
 * copy, and the file descriptor that came with it, or -1.
 */
export function exchange(fd: number, message: Uint8Array): {answer: Buffer; fd: number} {
  const [length, passed] = checked('exchange', addon().exchange(fd, message, answerBuffer));
  return {answer: Buffer.from(answerBuffer.subarray(0, length)), fd: passed};
}

/** Holds the messages of a dump: some 2,500 sockets. */
const dumpBuffer = Buffer.alloc(256 * 1024);

/**
 * Asks the kernel for a list by a netlink socket. Returns all messages of the answer, a view that is
 * valid until the next call.
 */
export function netlinkDump(fd: number, request: Uint8Array): Uint8Array {
  const length = checked('netlink', addon().netlinkDump(fd, request, dumpBuffer));
  return dumpBuffer.subarray(0, length);
}

/** Keeps a descriptor from what is started from now on. */
export function closeOnExec(fd: number): void {
  checked('fcntl', addon().closeOnExec(fd));
}

/** Closes a descriptor that no Node object owns. */
export function closeFd(fd: number): void {
  checked('close', addon().closeFd(fd));
}

/**
 * Hands the signals that other processes send us to `pid` from now on; those of the terminal reach it
 * by itself. 0 gives them back their default effect.
 */
export function relaySignals(pid: number): void {
  addon().relaySignals(pid);
}

/** From now on, processes below us that lose their parent become our children. */
export function becomeSubreaper(): void {
  checked('prctl', addon().becomeSubreaper());
}

/**
 * For so long from now (1000 µs at most) this thread's loop does not sleep, unless others want the processor; 0: it may
 * sleep again.
 */
export function stayAwake(microseconds: number): void {
  checked('uv_idle_start', addon().stayAwake(microseconds));
}

/**
 * Moves this thread to the processor that another one, of any process, was on last. Returns 1, 0 if it is there already, or a
 * negative errno.
 */
export function goNear(thread: number): number {
  return addon().goNear(thread);
}

/** A TUN device that is being read. */
export interface TunTap extends Disposable {
  /** Writes one packet. Returns 0 or a negative errno; allocates nothing. */
  write(head: Uint8Array, headLength: number, parts: readonly Uint8Array[], count: number): number;
  /** Whether it is not read for now: what comes waits in the device. */
  pause(isPaused: boolean): void;
}

/** Something that is being read. */
interface Reading extends Disposable {
  pause(isPaused: boolean): void;
}

export interface TunTapOptions {
  fd: number;
  /** Holds a batch: packet `i` starts at `i * slotSize`. */
  ring: Uint8Array;
  slotSize: number;
  /** The length of packet `i`, in bytes. */
  lengths: Uint32Array;
  /** Called with the number of packets in the ring, which is overwritten after it returns. */
  onBatch: (count: number) => void;
}

/** What is read, in the order of `enum source` in device.c. */
const sources = {device: 0, transparentUdp: 1, listener: 2} as const;

function startReading(options: TunTapOptions, source: keyof typeof sources): Reading {
  const {fd, ring, slotSize, lengths, onBatch} = options;
  const native = addon();
  const lengthBytes = new Uint8Array(lengths.buffer, lengths.byteOffset, lengths.byteLength);
  const handle = checked(
    'uv_poll_init',
    native.startReading(fd, ring, slotSize, lengthBytes, onBatch, sources[source]),
  ) as object;
  let isOpen = true;
  return {
    pause(isPaused) {
      if (isOpen) native.pauseReading(handle, isPaused);
    },
    [Symbol.dispose]() {
      if (isOpen) native.stopReading(handle);
      isOpen = false;
    },
  };
}

export const tunTap = {
  /** Starts to read a TUN device in batches on this thread's loop. Owns `fd` from then on. */
  open(options: TunTapOptions): TunTap {
    const native = addon();
    const {fd} = options;
    const reading = startReading(options, 'device');
    return {
      write: (head, headLength, parts, count) =>
        native.writePacket(fd, head, headLength, parts, count),
      pause: reading.pause,
      [Symbol.dispose]: () => reading[Symbol.dispose](),
    };
  },
};

/** A FUSE device: requests are read as packets are, and so are replies written. */
export const fuseDevice = {
  /** Starts to read the device on this thread's loop. Owns `fd` from then on. */
  open: (options: TunTapOptions): TunTap => tunTap.open(options),
};

/**
 * Starts to read a transparent UDP socket in batches, each datagram as the packet it was: with a
 * virtio_net_hdr and the destination that its sender meant. Owns `fd` from then on.
 */
export function readTransparentUdp(options: TunTapOptions): Disposable {
  return startReading(options, 'transparentUdp');
}

/** Connections that are accepted at once, before other events have their turn. */
const acceptBatch = 16;

/**
 * Accepts connections of a non-blocking listening socket of any kind; their descriptors (non-blocking) are
 * the callee's to close. Owns `fd` from then on.
 */
export function acceptConnections(fd: number, onConnection: (fd: number) => void): Disposable {
  const accepted = new Int32Array(acceptBatch);
  const options = {
    fd,
    ring: new Uint8Array(accepted.buffer),
    slotSize: accepted.BYTES_PER_ELEMENT,
    lengths: new Uint32Array(acceptBatch),
    onBatch: (count: number) => {
      for (const connection of accepted.slice(0, count)) onConnection(connection);
    },
  };
  return startReading(options, 'listener');
}

/** Sends a whole IP packet by a raw socket. Returns 0 or a negative errno. */
export function sendPacket(fd: number, packet: Uint8Array, length: number): number {
  return addon().sendPacket(fd, packet, length);
}
