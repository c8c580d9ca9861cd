/**
 * A UDP flow: all datagrams of one source address and port of the sandbox, so that one socket of a
 * program is one socket at the agent (endpoint-independent mapping, RFC 4787 REQ-1).
 */
import {createFlowKey, type FlowKey, type Keyed} from '../flow-table.ts';
import type {Timed} from '../timer-heap.ts';
import type {Endpoint, Errno, UdpFlow, UdpHandler} from '../types.ts';

/** What a flow asks of the table of flows. */
export interface UdpHost {
  send(flow: UdpSocket, from: Endpoint, payload: Uint8Array): void;
  fail(flow: UdpSocket, to: Endpoint, error: {errno: Errno; mtu: number | undefined}): void;
  remove(flow: UdpSocket): void;
}

/** DNS is one question and one answer. */
const DNS_PORT = 53;
const DNS_MS = 15_000;
/** Nobody has answered yet. */
const ONE_WAY_MS = 60_000;
/** RFC 4787 REQ-5 recommends five minutes. */
const BIDIRECTIONAL_MS = 300_000;

export class UdpSocket implements UdpFlow, Keyed, Timed {
  readonly source: Endpoint;
  handler: UdpHandler | undefined;
  readonly key: FlowKey = createFlowKey();
  hash = 0;
  next: Keyed | undefined;
  timerAt = Number.POSITIVE_INFINITY;
  timerIndex = -1;
  /** Neighbours in the order of use. Belong to the table. */
  older: UdpSocket | undefined;
  newer: UdpSocket | undefined;
  /** Where the program sent its last datagram. */
  lastTo: Endpoint | undefined;
  /** When the flow was last used: ms. */
  usedAt = 0;
  /** The flow has answered the program. */
  hasReplied = false;
  /** What waits for the device. */
  queuedDatagrams = 0;
  queuedBytes = 0;
  isOpen = true;
  readonly #host: UdpHost;

  constructor(host: UdpHost, source: Endpoint) {
    this.#host = host;
    this.source = source;
  }

  /** When the flow is to be forgotten if nothing happens. */
  get idleAt(): number {
    if (this.lastTo?.port === DNS_PORT) {
      return this.usedAt + DNS_MS;
    }
    return this.usedAt + (this.hasReplied ? BIDIRECTIONAL_MS : ONE_WAY_MS);
  }

  send(from: Endpoint, payload: Uint8Array): void {
    if (this.isOpen) {
      this.#host.send(this, from, payload);
    }
  }

  fail(to: Endpoint, errno: Errno, mtu?: number): void {
    if (this.isOpen) {
      this.#host.fail(this, to, {errno, mtu});
    }
  }

  close(): void {
    if (this.isOpen) {
      this.#host.remove(this);
    }
  }
}
