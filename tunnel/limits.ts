/**
 * Every number that bounds what a peer may do, and every size and time the tunnel chooses itself.
 *
 * The first group is told to the peer in the handshake: an honest one stays below it by itself and
 * never meets the error. The second group is ours alone.
 */

/** The payload of DATA at most. */
export const DATA_BYTES = 65_536;
/**
 * Frames of bulk data on a fast link: 43 µs of waiting for others at 12 Gbit/s. With all heads in front it is one
 * segment of loopback (65,483 bytes), where 64 KiB would be one and a crumb: whoever carries it on in a pod (containerd)
 * reads and frames each by itself.
 */
export const LARGE_FRAME_BYTES = 65_440;
/** Frames of bulk data on a slow link: 1.3 ms of waiting for others at 100 Mbit/s. */
export const SMALL_FRAME_BYTES = 16_384;
/** The rate at which frames become large, bytes per millisecond: 200 Mbit/s. */
export const FAST_LINK_BYTES_PER_MS = 25_000;
/** Each frame starts with type (1 byte), length (3), stream (4). */
export const HEADER_BYTES = 8;
/** A datagram with its address in front: 65,527 bytes are the most that UDP carries, over IPv6. */
export const DATAGRAM_BYTES = DATA_BYTES + 64;
/** The largest WebSocket message, both ways: one datagram with its header. */
export const MESSAGE_BYTES = HEADER_BYTES + DATAGRAM_BYTES;
/** Frames up to this are gathered into one message by a copy; larger ones travel as they are. */
export const GATHER_BYTES = 8192;
/** After so many bytes of datagrams and calls, waiting bulk has a turn: it may never starve. */
export const PRIORITY_BURST_BYTES = 32_768;

/** Credit of a stream at its start: 33 Mbit/s at 60 ms, until it has shown that it needs more. */
export const INITIAL_WINDOW_BYTES = 262_144;
/** Credit of a stream at most: 1.1 Gbit/s at 60 ms. */
export const MAX_WINDOW_BYTES = 8_388_608;
/** Sum of all windows above which none grows beyond its initial size. */
export const WINDOW_BUDGET_BYTES = 268_435_456;
/** The least credit of a stream, where many share little memory: what it may send early anyway. */
export const LEAST_WINDOW_BYTES = 16_384;
/**
 * Windows double when used up in two round trips of at least this. An idle link of one machine
 * answers in 0.1 ms, but under load each side only looks at it once per turn of its event loop.
 */
export const MIN_RTT_FLOOR_MS = 4;

/** What a stream may have waiting here to be sent, whatever its credit. See `outbox.ts`. */
export const OUTBOX_BYTES = 524_288;
/** The same when all streams together have more than `OUTBOX_TIGHT_TOTAL_BYTES` waiting. */
export const OUTBOX_TIGHT_BYTES = 32_768;
export const OUTBOX_TIGHT_TOTAL_BYTES = 33_554_432;

/** What a tunnel may have waiting to be sent, however much others have (`memory.ts`). */
export const QUEUED_FLOOR_BYTES = 131_072;
/** Datagrams that a stream may have waiting when memory is short: an answer of DNS fits. */
export const DATAGRAM_FLOOR_BYTES = 2048;

/** Datagrams that one stream may have waiting; whichever is reached first. */
export const DATAGRAM_QUEUE_COUNT = 1024;
export const DATAGRAM_QUEUE_BYTES = 262_144;
/** What is sent of one stream's datagrams at a time, unless a single one is larger. */
export const DATAGRAM_RUN_BYTES = 16_384;
/** With so much waiting, datagrams are not kept back until the turn of the event loop is over. */
export const HURRY_BYTES = 65_536;
/** A datagram that has waited longer is of no use: its sender has asked again. */
export const DATAGRAM_LATE_MS = 1000;

/**
 * How often a sign of life is asked for. A peer that was heard so long before it was stopped for 15 s is not
 * dead yet when it goes on.
 */
export const PING_AFTER_MS = 4000;
/** Silence after which the peer counts as dead. */
export const DEAD_AFTER_MS = 20_000;
/** A timer that fires this much late says that our own process was stopped. */
export const ASLEEP_AFTER_MS = 5000;
/** What the peer of a process that was stopped has then for a sign of life. */
export const AWAKE_GRACE_MS = 10_000;
/** The time an agent gives a connection to show its token. */
export const HANDSHAKE_TIMEOUT_MS = 30_000;

/** How long a session without a connection is kept for the next one. */
export const RESUME_WINDOW_MS = 60_000;
/** How long the answer to RESUME may take. */
export const RESUME_ANSWER_MS = 10_000;
/** While there is no connection the clock is looked at so often: datagrams get too old meanwhile. */
export const SUSPENDED_POLL_MS = 250;
/** The first attempt to connect again is made at once, the next after the first of these, doubling. */
export const RETRY_MIN_MS = 250;
export const RETRY_MAX_MS = 8000;
/** How long one attempt to connect again may take. */
export const RECONNECT_TIMEOUT_MS = 20_000;
/** Load balancers cut connections after an hour: a new one takes over before, and again after a failure. */
export const ROLL_AFTER_MS = 50 * 60_000;
export const ROLL_RETRY_MS = 60_000;
/** What came is acknowledged after so many bytes, or so much time. */
export const ACK_AFTER_BYTES = 262_144;
export const ACK_AFTER_MS = 50;
/** Bytes that are kept until they are acknowledged: 2.2 Gbit/s at 120 ms. */
export const RETAINED_BYTES = 33_554_432;
/** What a tunnel may keep of them, however much others have (`memory.ts`). */
export const RETAINED_FLOOR_BYTES = 262_144;
/** What a kept message costs besides its bytes. */
export const RETAINED_OVERHEAD_BYTES = 128;
/** The payload of RESUME, and its ticket. */
export const RESUME_BYTES = 62;
export const RESUME_TICKET_BYTES = 16;
/** Sessions of an agent that may be resumed. */
export const MAX_TICKETS = 256;

/** Pings a peer may send: so many at once, and so many per second. Ours sends one in four seconds. */
export const PING_BURST = 32;
export const PINGS_PER_SECOND = 4;
/** Answers (PONG, REFUSED, …) that may wait for a peer which does not read. */
export const CONTROL_BACKLOG_BYTES = 8_388_608;

/** The body of OPEN and OPENED. */
export const BODY_BYTES = 32_768;
/** HELLO and WELCOME, before anything is known about the peer. */
export const HANDSHAKE_BYTES = 2048;
/** A ticket to resume a session with. */
export const TICKET_BYTES = 512;
/** One item of a call, encoded, and the depth of its maps and arrays. */
export const CALL_ITEM_BYTES = 16_777_216;
export const CALL_ITEM_DEPTH = 32;

/** What each side tells the other that it takes. */
export interface Limits {
  /** Streams that the peer may have open at a time. */
  readonly streams: number;
  /** Streams that the peer may open per second; it may save up for `streams` of them. */
  readonly opensPerSecond: number;
  /** Payload bytes of a datagram, with the address in front. */
  readonly datagramBytes: number;
  /** Bytes that the peer may send on a stream before it knows that the stream is accepted. */
  readonly earlyBytes: number;
}

export const DEFAULT_LIMITS: Limits = {
  streams: 65_536,
  opensPerSecond: 10_000,
  datagramBytes: DATAGRAM_BYTES,
  earlyBytes: 16_384,
};
