/**
 * Continues one connection of the target to the program.
 *
 * The netstack connects into the sandbox in the name of the true client, to the pod's own address and then to
 * 127.0.0.1, where the program may listen alone; the connection that is refused by both goes by a socket that is made
 * inside, to ::1 and whatever else is bound (`published-ports.ts` does the same). That one has a client of the
 * sandbox's own; so has one of a client on the pod's loopback or by its own address, which the kernel would not believe
 * from outside.
 *
 * Only then is the stream accepted (`pending-stream.ts`): what nobody takes is refused, and remains the application's.
 * Credit is passed through, offset for offset, as for outgoing traffic.
 */

import {Socket} from 'node:net';
import type {ConnectErrno, Endpoint, TcpConnection, TcpHandler} from '../../netstack/types.ts';
import type {IncomingConnection} from '../../tunnel/messages.ts';
import type {ErrnoName, MuxStream} from '../../tunnel/types.ts';
import {addressText} from '../address.ts';
import {SystemError} from '../native/native.ts';
import type {Launcher} from '../sandbox/launcher.ts';
import {PendingStream} from './pending-stream.ts';

/** How long the program may go on after a copy's client has said its last word, ms. */
const copyLingerMs = 5_000;

const loopback4 = Uint8Array.of(127, 0, 0, 1);

/** Ways into the sandbox. */
export interface DeliveryContext {
  readonly launcher: Pick<Launcher, 'open'>;
  /** The sandbox's own addresses. */
  readonly addresses: readonly Uint8Array[];
  /** The netstack's: `Stack.connectTcp`. */
  readonly connectTcp: (
    source: Endpoint,
    destination: Endpoint,
    handler: TcpHandler,
  ) => TcpConnection | ConnectErrno;
  /** Something changed on a connection: let the stack dispatch. */
  readonly kick: () => void;
}

/** A connection of the target, and what is to become of it. */
export interface Delivery extends Omit<IncomingConnection, 'subscription'> {
  /** Where the program listens. */
  readonly port: number;
  /** The application answers; the program only sees it. */
  readonly isCopy: boolean;
  readonly onFailed: () => void;
}

function isSame(one: Uint8Array, other: Uint8Array): boolean {
  return one.length === other.length && one.every((byte, at) => byte === other[at]);
}

function isLoopback(address: Uint8Array): boolean {
  if (address.length === 4) return address[0] === 127;
  return address.every((byte, at) => byte === (at === 15 ? 1 : 0));
}

/** Where the netstack may connect to in the client's name, in order. */
export function spoofedDestinations(
  {peer, local}: Pick<Delivery, 'peer' | 'local'>,
  addresses: readonly Uint8Array[],
): Uint8Array[] {
  const {address: client} = peer;
  if (isLoopback(client) || addresses.some((own) => isSame(own, client))) return [];
  const own = addresses.filter((address) => address.length === client.length);
  const first = own.find((address) => isSame(address, local.address)) ?? own[0];
  return [...(first === undefined ? [] : [first]), ...(client.length === 4 ? [loopback4] : [])];
}

/** Where a socket of the sandbox connects to, in order: as the client came, if it came from inside. */
export function insideDestinations(
  {local}: Pick<Delivery, 'local'>,
  addresses: readonly Uint8Array[],
): string[] {
  const own = addresses.map(addressText);
  const went = addressText(local.address);
  const first = own.includes(went) ? [went] : [];
  const loopbacks = local.address.length === 16 ? ['::1', '127.0.0.1'] : ['127.0.0.1', '::1'];
  return [...new Set([...first, ...loopbacks, ...own])];
}

class Delivering {
  readonly #stream: MuxStream;
  readonly #context: DeliveryContext;
  readonly #delivery: Delivery;
  readonly #pending: PendingStream;
  #connection: TcpConnection | undefined;
  #sent = 0;

  constructor(stream: MuxStream, context: DeliveryContext, delivery: Delivery) {
    this.#stream = stream;
    this.#context = context;
    this.#delivery = delivery;
    this.#pending = new PendingStream(stream, delivery.isCopy, () => {
      this.#connection?.reset();
      context.kick();
    });
  }

  /** Tries one destination after the other. */
  start(): void {
    this.#connect(spoofedDestinations(this.#delivery, this.#context.addresses));
  }

  #connect([address, ...others]: readonly Uint8Array[]): void {
    if (address === undefined) {
      this.#connectInside();
      return;
    }
    const {connectTcp, kick} = this.#context;
    const {peer, port} = this.#delivery;
    const result = connectTcp(
      peer,
      {address, port},
      {
        ...this.#handler(),
        onConnected: () => this.#onConnected(),
        onRefused: (errno) => {
          this.#connection = undefined;
          if (errno === 'ETIMEDOUT') this.#refuse(errno);
          else this.#connect(others);
        },
      },
    );
    if (typeof result === 'string') {
      this.#connect(others);
      return;
    }
    this.#connection = result;
    kick();
  }

  #connectInside(): void {
    const {launcher, addresses} = this.#context;
    for (const address of insideDestinations(this.#delivery, addresses)) {
      try {
        const {fd} = launcher.open('connect', 'tcp', address, this.#delivery.port);
        this.#pending.relayTo(new Socket({fd, allowHalfOpen: true}));
        return;
      } catch (error) {
        if (!(error instanceof SystemError)) throw error;
      }
    }
    this.#refuse('ECONNREFUSED');
  }

  #refuse(errno: ErrnoName): void {
    this.#delivery.onFailed();
    this.#stream.refuse(errno);
  }

  /** What the program does to a connection of the netstack. */
  #handler(): TcpHandler {
    const {isCopy} = this.#delivery;
    const {out} = this.#pending;
    return {
      onData: (chunk) => {
        this.#sent += chunk.length;
        out.write(chunk);
        if (isCopy) this.#connection?.grant(this.#sent + out.writable);
      },
      onEnd: () => out.end(),
      onAcked: (offset) => this.#stream.consumed(offset),
      onReset: () => this.#stream.reset('ECONNRESET'),
      onClose: () => undefined, // both directions have ended, and the stream with them
    };
  }

  #onConnected(): void {
    const connection = this.#connection;
    if (connection === undefined) return;
    const {kick} = this.#context;
    const abort = (): void => {
      connection.reset();
      kick();
    };
    const grant = (): void => {
      connection.grant(this.#sent + this.#pending.out.writable);
      kick();
    };
    this.#pending.take({
      onOpened: grant,
      onWritable: grant,
      onData(chunk) {
        connection.write(chunk);
        kick();
      },
      onEnd: () => {
        connection.end();
        kick();
        // Whoever sent the original is gone by now, or will be.
        if (this.#delivery.isCopy) setTimeout(abort, copyLingerMs).unref();
      },
      onStop: abort,
      onReset: abort,
    });
  }
}

/** Continues a connection that the agent has opened a stream for. */
export function deliver(stream: MuxStream, context: DeliveryContext, delivery: Delivery): void {
  new Delivering(stream, context, delivery).start();
}
