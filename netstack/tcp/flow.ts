/**
 * The layer's handle on a connection, whoever opened it. It outlives the connection: on one that is gone, every verb
 * does nothing, because the layer may not have heard of the end yet.
 */
import type {Endpoint, Errno, TcpFlow, TcpHandler} from '../types.ts';
import type {TcpHost} from './host.ts';
import type {Tcb} from './tcb.ts';
import {raiseLimit} from './window.ts';

/** What a flow asks of the table besides `TcpHost`. */
export interface FlowHost extends TcpHost {
  /** Answers the SYN of a PENDING connection. */
  accept(tcb: Tcb, receiveLimit: number): void;
  /** Fails the connect of a PENDING connection. */
  refuse(tcb: Tcb, errno: Errno): void;
}

export class TcpSocket implements TcpFlow {
  readonly source: Endpoint;
  readonly destination: Endpoint;
  handler: TcpHandler | undefined;
  readonly #host: FlowHost;
  readonly #tcb: Tcb;

  constructor(host: FlowHost, tcb: Tcb) {
    this.#host = host;
    this.#tcb = tcb;
    const program = {address: tcb.path.to, port: tcb.sourcePort};
    const other = {address: tcb.path.from, port: tcb.destinationPort};
    this.source = tcb.isActive ? other : program;
    this.destination = tcb.isActive ? program : other;
  }

  accept(receiveLimit: number): void {
    if (this.#isAlive() && this.#tcb.state === 'PENDING') {
      this.#host.accept(this.#tcb, receiveLimit);
    }
  }

  refuse(errno: Errno): void {
    if (!this.#isAlive()) {
      return;
    }
    if (this.#tcb.state === 'PENDING') {
      this.#host.refuse(this.#tcb, errno);
    } else {
      this.reset();
    }
  }

  grant(receiveLimit: number): void {
    if (!this.#isAlive() || !raiseLimit(this.#tcb, receiveLimit)) {
      return;
    }
    const {state} = this.#tcb;
    if (state !== 'PENDING' && state !== 'SYN-SENT' && state !== 'SYN-RECEIVED') {
      this.#tcb.ackDue = true;
      this.#host.mark(this.#tcb);
    }
  }

  write(chunk: Uint8Array): void {
    if (this.#isAlive() && !this.#tcb.finQueued) {
      this.#tcb.queue.push(chunk);
      this.#host.mark(this.#tcb);
    }
  }

  end(): void {
    if (this.#isAlive()) {
      this.#tcb.finQueued = true;
      this.#host.mark(this.#tcb);
    }
  }

  reset(): void {
    if (this.#isAlive()) {
      this.#tcb.flow = undefined;
      this.#tcb.abort = 'reset';
      this.#host.mark(this.#tcb);
    }
  }

  /** The connection still is, and is still ours to command. */
  #isAlive(): boolean {
    return this.#tcb.flow === this;
  }
}
