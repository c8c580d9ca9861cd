/**
 * What passes from one connection to another and back, so that another process goes on with it should this one be killed
 * (layer/native/passages.c, standby.c). Whoever relays says here what is not passed on as it is; all else the addon sees.
 */

import {lendEndpoint} from './address.ts';
import {socketAddon} from './native.ts';
import {NativeSocket} from './native-socket.ts';
import type {SocketEndpoint, StreamSocket} from './types.ts';

const NO_SOURCE = new Uint8Array(0);
/** What may wait for kernels that are full when something is noted: more than that is not copied again and again. */
const PENDING_BYTES = 524_288;

/** Where a client was going, and the address that a connection to there comes from. */
export interface PassageRoute {
  readonly destination: SocketEndpoint;
  readonly source?: Uint8Array | undefined;
}

export class Passage {
  readonly #client: NativeSocket | undefined;
  #application: NativeSocket | undefined;
  #isHeld = false;

  /** One of which nothing is noted. */
  static readonly none = new Passage(undefined, {
    destination: {address: new Uint8Array(4), port: 0},
  });

  /** Of a client's connection of which nothing was read or written. Where it can't be, nothing is noted. */
  constructor(client: StreamSocket | undefined, {destination, source}: PassageRoute) {
    const addon = socketAddon();
    if (addon === undefined || !(client instanceof NativeSocket) || client.isClosed) return;
    const from = source === undefined ? NO_SOURCE : lendEndpoint(source, 0, 1);
    const to = lendEndpoint(destination.address, destination.port);
    if (addon.enterPassage(client.handle, to, from) < 0) return;
    this.#client = client;
  }

  /** What comes is passed on by this connection to the application, of which nothing was read or written. */
  join(application: StreamSocket): void {
    const client = this.#client;
    if (client === undefined || !(application instanceof NativeSocket)) return;
    if (client.isClosed || application.isClosed) return;
    this.#application = application;
    socketAddon()?.joinPassage(client.handle, application.handle, client.given);
  }

  /** What comes, or the answer, goes another way: nobody else could go on with it. */
  hold(): void {
    if (this.#isHeld || this.#client === undefined || this.#client.isClosed) return;
    this.#isHeld = true;
    socketAddon()?.holdPassage(this.#client.handle);
  }

  /** What was read so far has been dealt with, and what was given to be written is all of it: the rest passes as it is again. */
  settle(): void {
    const [client, application] = [this.#client, this.#application];
    if (!this.#isHeld || client === undefined || client.isClosed) return;
    this.#isHeld = false;
    const {received = 0, given = 0} = application ?? {};
    socketAddon()?.settlePassage(client.handle, client.received, client.given, received, given);
  }

  /** What was read and given to be written of both connections. */
  get bytes(): number {
    const [client, application] = [this.#client, this.#application];
    const ofApplication = application === undefined ? 0 : application.received + application.given;
    return client === undefined ? 0 : client.received + client.given + ofApplication;
  }

  /**
   * The same of a connection of HTTP/2 of which something does not pass: `division` as layer/native/passages.h has it. What was read of the
   * client (`up`) and the application, and is not dealt with, is in pieces. What is given to be written later belongs to what is
   * said next. False: it can't be noted.
   */
  divide(division: Uint32Array, up: readonly Uint8Array[], down: readonly Uint8Array[]): boolean {
    const [client, application, addon] = [this.#client, this.#application, socketAddon()];
    if (client === undefined || application === undefined || addon === undefined) return false;
    if (client.isClosed || application.isClosed) return false;
    if (client.bufferedBytes + application.bufferedBytes > PENDING_BYTES) return false;
    const failure = addon.dividePassage(
      client.handle,
      client.received,
      client.given,
      application.received,
      application.given,
      division,
      up,
      down,
      application.unwritten,
      client.unwritten,
    );
    this.#isHeld = failure < 0;
    return failure === 0;
  }

  /**
   * The next `length` bytes that the client is to get are `more` (or fewer) than those that they stand for: all of them, where
   * they stand for none. `waiting`: bytes that come before them and were not given to the socket yet.
   */
  change(length: number, more: number, waiting = 0): void {
    const client = this.#client;
    if (this.#isHeld || client === undefined || client.isClosed) return;
    const place = client.given + waiting;
    const changed = socketAddon()?.changePassage(client.handle, place, length, more);
    this.#isHeld = changed === 1;
  }
}
