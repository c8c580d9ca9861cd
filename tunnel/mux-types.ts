/** What is passed to a multiplexer, what it reports, and what it counts. */

import type {ProtocolError} from './errors.ts';
import type {VersionRange} from './handshake.ts';
import type {Limits} from './limits.ts';
import type {Memory} from './memory.ts';
import type {Tickets} from './tickets.ts';
import type {MuxStream} from './types.ts';

/** How a multiplexer is made. */
export interface MuxOptions {
  readonly role: 'layer' | 'agent';
  /** 32 bytes: what the layer shows, and what the agent expects unless it has `verifyToken`. */
  readonly token?: Uint8Array;
  /** Says whether an agent that does not know the token itself lets its bearer in. */
  readonly verifyToken?: (token: Uint8Array) => boolean;
  /** Returns an unpredictable number in [0, 1). */
  readonly random: () => number;
  /** Versions of the protocol that this side speaks; by default all that there are. */
  readonly versions?: VersionRange;
  /** A set of bits of `CAPABILITY`. */
  readonly capabilities?: number;
  /** What this side takes, where it differs from the default. */
  readonly limits?: Partial<Limits>;
  /** The sum of windows above which none grows, in bytes. */
  readonly windowBudgetBytes?: number;
  /** What it shares with other tunnels of this process; without it, it has bounds of its own only. */
  readonly memory?: Memory;
  /** Keeps the session when its connection is lost, if the peer does, too. */
  readonly resume?: ResumeOptions;
  /** The agent's patience with a connection that does not greet; the layer's with the answer. */
  readonly handshakeTimeoutMs?: number;
}

/** How a session outlives its connection. */
export interface ResumeOptions {
  /** How long it waits for another one, in ms. */
  readonly windowMs: number;
  /** The agent's sessions; a layer has but one. */
  readonly tickets?: Tickets;
}

/** A session that a new connection may go on with. */
export interface Resumable {
  /**
   * Goes on over a connection whose peer has received so many messages. Throws ProtocolError
   * RESUME_COUNT, and is as before, when that can't be.
   */
  resumeWith(received: number, now: number): void;
}

/** What the peer said about itself. */
export interface PeerInfo {
  readonly version: number;
  readonly capabilities: number;
  readonly limits: Limits;
}

/** What happens on a tunnel. */
export interface MuxHandler {
  /** The handshake is over. */
  onReady?(peer: PeerInfo): void;
  /**
   * The peer opens a stream: set its handler, then `accept` or `refuse` it, now or later. Without
   * this method all are refused.
   */
  onOpen?(stream: MuxStream, body: Uint8Array): void;
  /** The connection is lost; streams live and wait. `onResumed` or `onClose` follows. */
  onSuspended?(): void;
  /** There is a connection again. */
  onResumed?(): void;
  /** The tunnel is over; undefined: in good order. Its streams were reset before. */
  onClose?(error: ProtocolError | undefined): void;
}

/** What has happened so far. */
export interface MuxCounters {
  messagesIn: number;
  messagesOut: number;
  bytesIn: number;
  bytesOut: number;
  framesIn: number;
  /** Frames for streams that were gone here already. */
  framesIgnored: number;
  /** Connections that were lost, and those that took over. */
  suspended: number;
  resumed: number;
  /** Messages that were sent again over a new connection. */
  messagesResent: number;
  /** Times that nothing new was sent as too much was not acknowledged. */
  retentionStalls: number;
  /** Times that a stream took nothing as too much was waiting, of all tunnels. */
  queueStalls: number;
  streamsOpened: number;
  streamsAccepted: number;
  datagramsDroppedFull: number;
  datagramsDroppedLate: number;
}

/** Returns counters at zero. */
export function newCounters(): MuxCounters {
  return {
    messagesIn: 0,
    messagesOut: 0,
    bytesIn: 0,
    bytesOut: 0,
    framesIn: 0,
    framesIgnored: 0,
    suspended: 0,
    resumed: 0,
    messagesResent: 0,
    retentionStalls: 0,
    queueStalls: 0,
    streamsOpened: 0,
    streamsAccepted: 0,
    datagramsDroppedFull: 0,
    datagramsDroppedLate: 0,
  };
}
