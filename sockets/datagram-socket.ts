/**
 * A UDP socket on the addon (layer/native/datagrams.c), many datagrams a call: what a turn of the loop sends goes out at
 * its end, and what comes is handed on where it was received.
 *
 * An error that the network reports of an earlier datagram is told, and ends nothing. It may keep the next one from being
 * sent, which is then tried once more. What the kernel takes no more of waits, up to a limit; the rest is dropped.
 */

import {packEndpoint} from './address.ts';
import {
  type Addon,
  errnoError,
  forgetHandle,
  type Handle,
  openHandle,
  READABLE,
  socketAddon,
  WRITABLE,
} from './native.ts';
import type {SocketEndpoint} from './types.ts';

export interface DatagramHandler {
  /** One came. `from`: the sender (`packEndpoint`). The memory of both is used again as soon as this returns. */
  onDatagram(payload: Uint8Array, from: Uint8Array): void;
  /** The network or the kernel refused one that was sent; `to`: as it was given, if it was and the kernel did. */
  onError(error: NodeJS.ErrnoException, to?: Uint8Array): void;
}

/** As in layer/native/datagrams.c. */
const SLOTS = 32;
const SLOT_BYTES = 65_536;
const NOTE_BYTES = 24;
const MOST_PARTS = 64;
/** Datagrams that wait while the kernel takes none: like the kernel's own queue, short. */
const WAITING_DATAGRAMS = 256;

/** What all sockets of the process receive into. */
class Ring {
  readonly slots = new Uint8Array(SLOTS * SLOT_BYTES);
  readonly notes = new Uint8Array(SLOTS * NOTE_BYTES);
  readonly #lengths = new Uint32Array(this.notes.buffer);
  readonly #senders = {6: this.#views(6), 18: this.#views(18)};

  payload(slot: number): Uint8Array {
    const length = this.#lengths[(slot * NOTE_BYTES) / 4] ?? 0;
    return new Uint8Array(this.slots.buffer, slot * SLOT_BYTES, length);
  }

  sender(slot: number): Uint8Array {
    const length = this.notes[slot * NOTE_BYTES + 4] === 6 ? 6 : 18;
    return this.#senders[length][slot] ?? this.notes;
  }

  #views(length: number): Uint8Array[] {
    return Array.from({length: SLOTS}, (_, slot) => {
      const begin = slot * NOTE_BYTES + 5;
      return this.notes.subarray(begin, begin + length);
    });
  }
}

interface Refusal {
  readonly errno: number;
  readonly to: Uint8Array | undefined;
}

let ring: Ring | undefined;

/** The addon, ready for datagrams. Throws ENOTSUP where there is none. */
function datagramAddon(): {addon: Addon; ring: Ring} {
  const addon = socketAddon();
  if (addon === undefined) throw errnoError('socket', -95);
  if (ring === undefined) {
    const made = new Ring();
    const failure = addon.startDatagrams(made.slots, made.notes);
    if (failure < 0) throw errnoError('socket', failure);
    ring = made;
  }
  return {addon, ring};
}

export class DatagramSocket {
  /** Dropped because the kernel took none for too long; of all sockets of the process. */
  static dropped = 0;

  readonly #addon: Addon;
  readonly #ring: Ring;
  readonly #handler: DatagramHandler;
  readonly #handle: Handle;
  readonly #flushLater = (): void => this.#flush();
  #payloads: Uint8Array[] = [];
  #endpoints: (Uint8Array | undefined)[] = [];
  #isFlushQueued = false;
  /** The kernel takes none: what waits is copied. */
  #isBlocked = false;
  #isClosed = false;
  #port = 0;

  /** Throws what socket(2) says. With `isShared`, others may bind to its port (SO_REUSEADDR). */
  constructor(family: 4 | 6, handler: DatagramHandler, {isShared = false} = {}) {
    const {addon, ring: slots} = datagramAddon();
    this.#addon = addon;
    this.#ring = slots;
    this.#handler = handler;
    this.#handle = openHandle(addon.openDatagrams(family, isShared), {
      onDatagrams: (count) => this.#onDatagrams(count),
      onFailed: (errno) => this.#handler.onError(errnoError('recvmmsg', errno)),
      onWritable: () => {
        this.#isBlocked = false;
        this.#watch();
        this.#flush();
      },
    });
    this.#watch();
  }

  /** Its own port, once it is bound or connected. */
  get port(): number {
    return this.#port;
  }

  /** Throws what bind(2) says. */
  bind(endpoint: SocketEndpoint): void {
    const port = this.#addon.bindDatagrams(this.#handle, packEndpoint(endpoint));
    if (port < 0) throw errnoError('bind', port);
    this.#port = port;
  }

  /** From now on it hears only from there, and of errors. Throws what connect(2) says. */
  connect(endpoint: SocketEndpoint): void {
    const port = this.#addon.connectDatagrams(this.#handle, packEndpoint(endpoint));
    if (port < 0) throw errnoError('connect', port);
    this.#port = port;
  }

  /** Sends `payload`, which must stay as it is until this turn is over; `to` (`packEndpoint`) as long as the socket lives. */
  send(payload: Uint8Array, to?: Uint8Array): void {
    if (this.#isClosed) return;
    if (this.#isBlocked) {
      this.#keep(payload, to);
      return;
    }
    this.#payloads.push(payload);
    this.#endpoints.push(to);
    if (this.#payloads.length >= MOST_PARTS) {
      this.#flush();
    } else if (!this.#isFlushQueued) {
      this.#isFlushQueued = true;
      process.nextTick(this.#flushLater);
    }
  }

  close(): void {
    if (this.#isClosed) return;
    this.#offer();
    this.#isClosed = true;
    forgetHandle(this.#handle);
    this.#addon.closeDatagrams(this.#handle);
  }

  #watch(): void {
    this.#addon.watchDatagrams(this.#handle, this.#isBlocked ? READABLE | WRITABLE : READABLE);
  }

  #onDatagrams(count: number): void {
    for (let slot = 0; slot < count && !this.#isClosed; slot++) {
      this.#handler.onDatagram(this.#ring.payload(slot), this.#ring.sender(slot));
    }
  }

  #flush(): void {
    this.#isFlushQueued = false;
    for (const {errno, to} of this.#offer()) {
      if (!this.#isClosed) this.#handler.onError(errnoError('sendmmsg', errno), to);
    }
  }

  /** Gives the kernel what was sent, and returns the errors that it answered. */
  #offer(): Refusal[] {
    const payloads = this.#payloads;
    const endpoints = this.#endpoints;
    const refusals: Refusal[] = [];
    let begin = 0;
    let isAgain = false;
    while (begin < payloads.length && !this.#isClosed && !this.#isBlocked) {
      const end = Math.min(begin + MOST_PARTS, payloads.length);
      const sent = this.#addon.sendDatagrams(this.#handle, payloads, endpoints, begin, end);
      if (sent > 0) {
        begin += sent;
        isAgain = false;
      } else if (sent === -11 /* EAGAIN */) {
        this.#isBlocked = true;
      } else {
        if (!isAgain || refusals.at(-1)?.errno !== sent) {
          refusals.push({errno: sent, to: endpoints[begin]});
        }
        if (isAgain) begin++;
        isAgain = !isAgain;
      }
    }
    if (payloads.length > 0) {
      this.#payloads = [];
      this.#endpoints = [];
    }
    if (this.#isBlocked) {
      for (let i = begin; i < payloads.length; i++) this.#keep(payloads[i], endpoints[i]);
      this.#watch();
    }
    return refusals;
  }

  #keep(payload: Uint8Array | undefined, to: Uint8Array | undefined): void {
    if (payload === undefined || this.#payloads.length >= WAITING_DATAGRAMS) {
      DatagramSocket.dropped++;
      return;
    }
    this.#payloads.push(Uint8Array.from(payload));
    this.#endpoints.push(to);
  }
}
