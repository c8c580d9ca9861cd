/** A layer and an agent whose session outlives its connections, which the test cuts and makes. */

import type {ProtocolError} from '../../tunnel/errors.ts';
import {Mux} from '../../tunnel/mux.ts';
import type {MuxOptions} from '../../tunnel/mux-types.ts';
import {Tickets} from '../../tunnel/tickets.ts';
import type {MuxStream} from '../../tunnel/types.ts';
import {Ear, NONE, seeded, TOKEN} from './tunnel.ts';

export const WINDOW_MS = 60_000;

/** Messages on their way; those of a cut connection are lost. */
type Wire = Uint8Array[];

export class ResumablePair {
  now = 1000;
  readonly tickets = new Tickets();
  readonly layer: Mux;
  readonly agent: Mux;
  readonly offered: {stream: MuxStream; ear: Ear}[] = [];
  readonly events: string[] = [];
  /** The layer's end of the connection is there; and whether the agent believes it is. */
  isUp = true;
  #toAgent: Wire = [];
  #toLayer: Wire = [];
  /** Who hears what the layer says on this connection. */
  #listener: Mux;

  constructor(options: {layer?: Partial<MuxOptions>; agent?: Partial<MuxOptions>} = {}) {
    const common = {token: TOKEN, random: seeded(1)};
    const told = (name: string) => ({
      onSuspended: () => this.events.push(`${name} suspended`),
      onResumed: () => this.events.push(`${name} resumed`),
      onClose: (error?: ProtocolError) =>
        this.events.push(`${name} closed ${error?.code ?? 'NO_ERROR'}`),
    });
    this.layer = new Mux(
      {...common, role: 'layer', resume: {windowMs: WINDOW_MS}, ...options.layer},
      told('layer'),
    );
    this.agent = new Mux(this.#agentOptions(options.agent), {
      ...told('agent'),
      onOpen: (stream) => {
        const ear = new Ear();
        ear.stream = stream;
        stream.handler = ear;
        this.offered.push({stream, ear});
        stream.accept(NONE);
      },
    });
    this.#listener = this.agent;
  }

  #agentOptions(more: Partial<MuxOptions> = {}): MuxOptions {
    const resume = {windowMs: WINDOW_MS, tickets: this.tickets};
    return {token: TOKEN, random: seeded(2), role: 'agent', resume, ...more};
  }

  open(): {stream: MuxStream; ear: Ear} {
    const ear = new Ear();
    ear.stream = this.layer.open('tcp', NONE, ear);
    return {stream: ear.stream, ear};
  }

  /** Sends up to so many messages of each side into the connection. */
  send(count = Number.POSITIVE_INFINITY): boolean {
    if (!this.isUp) return false;
    const before = this.#toAgent.length + this.#toLayer.length;
    for (let left = count; left > 0; left--) {
      const message = this.layer.transmit(this.now);
      if (message === undefined) break;
      this.#toAgent.push(message.slice());
    }
    for (let left = count; left > 0; left--) {
      const message = this.#listener.transmit(this.now);
      if (message === undefined) break;
      this.#toLayer.push(message.slice());
    }
    return this.#toAgent.length + this.#toLayer.length > before;
  }

  /** Lets up to so many messages of each direction arrive. */
  deliver(toAgent = Number.POSITIVE_INFINITY, toLayer = Number.POSITIVE_INFINITY): boolean {
    let isMoving = false;
    for (let left = toAgent; left > 0 && this.#toAgent.length > 0; left--) {
      this.#listener.receive(this.#toAgent.shift() ?? NONE, this.now);
      if (this.#listener.successor !== undefined) this.#listener = this.agent;
      isMoving = true;
    }
    for (let left = toLayer; left > 0 && this.#toLayer.length > 0; left--) {
      this.layer.receive(this.#toLayer.shift() ?? NONE, this.now);
      isMoving = true;
    }
    return isMoving;
  }

  /** Loses the connection and all that is on it. The agent may not notice. */
  cut({agentNotices = true} = {}): void {
    if (!this.isUp) return;
    this.isUp = false;
    this.#toAgent = [];
    this.#toLayer = [];
    this.layer.disconnected(this.now);
    if (agentNotices) this.agent.disconnected(this.now);
  }

  /** Makes another connection, with an agent's multiplexer that knows nothing yet. */
  reconnect(): void {
    if (this.isUp) return;
    this.isUp = true;
    this.#listener = new Mux(this.#agentOptions(), {});
    this.layer.reconnected(this.now);
  }

  settle(): this {
    while ([this.send(), this.deliver()].includes(true));
    return this;
  }

  /** Moves the clock in steps that suit every timer. */
  advance(ms: number): this {
    for (const end = this.now + ms; this.now < end; ) {
      this.settle();
      const times = [this.layer.pollAt(), this.agent.pollAt()].filter((at) => at !== undefined);
      this.now = Math.min(end, Math.max(this.now + 1, Math.min(...times)));
      this.layer.poll(this.now);
      this.agent.poll(this.now);
    }
    return this.settle();
  }
}
