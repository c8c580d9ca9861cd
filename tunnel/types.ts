/**
 * What the tunnel shows to the layer and to the agent: streams with credit, and their handlers.
 *
 * The multiplexer is sans-IO: messages in (`receive`), messages out (`transmit`), time passed in.
 * Both ends use the same interface; only the layer opens streams today, the agent will when it
 * delivers incoming connections.
 */

/** What a stream carries. The body of OPEN and of OPENED depends on it (`messages.ts`). */
export type StreamKind = 'tcp' | 'udp' | 'echo' | 'call' | 'unix';

/** The name of an errno, as Linux spells it: failures cross the tunnel by name. */
export type ErrnoName = string;

/** One stream of the tunnel. All offsets are absolute: the first byte of a direction is offset 0. */
export interface MuxStream {
  readonly id: number;
  readonly kind: StreamKind;
  /** Set by the opener at `open`, by the acceptor in `onOpen`. */
  handler: StreamHandler | undefined;
  /** Opened by the peer: says yes. `body` as the kind demands; `receiveLimit` is the first credit. */
  accept(body: Uint8Array, receiveLimit?: number): void;
  /** Opened by the peer: says no. */
  refuse(errno: ErrnoName): void;
  /**
   * How many bytes `write` takes now: within the peer's credit, and within what may wait here for
   * the connection. Only `write` makes it smaller, so that it can be promised to someone else;
   * the stream's end makes it 0. Where tunnels share memory (an agent's) it is also 0 while that is short,
   * without taking a promise back: what was promised before may be written.
   */
  readonly writable: number;
  /** Sends bytes: copies them, so that `chunk` may be a view. Throws RangeError past `writable`. */
  write(chunk: Uint8Array): void;
  /**
   * Has what was written sent as soon as the call that brings us here is over, not with what else this turn of the event
   * loop has to say: for small questions and answers that somebody waits for.
   */
  hurry(): void;
  /** No more bytes from here. */
  end(): void;
  /**
   * Ends both directions with the reason; no handler is called afterwards. What was written before
   * still goes out first, as it does before a RST of TCP.
   */
  reset(errno: ErrnoName): void;
  /** The peer's bytes are not wanted any more (it gets `onStop`); ours still flow. No `onEnd`. */
  stop(errno: ErrnoName): void;
  /**
   * Says that all received bytes below `offset` are consumed for good. The stream turns that into
   * credit for the peer: window sizes, auto-tuning and the moment of the update are its business.
   */
  consumed(offset: number): void;
  /**
   * Sends a datagram (kinds udp and echo only): `head`, if any, and then `payload`. Copied, bounded,
   * dropped and counted when it is late. False: dropped at once, since too many wait.
   */
  sendDatagram(payload: Uint8Array, head?: Uint8Array): boolean;
}

export interface StreamHandler {
  /** The peer said yes. Absent on the accepting side. */
  onOpened?(body: Uint8Array): void;
  /** The peer said no. The stream is gone. */
  onRefused?(errno: ErrnoName): void;
  /** In-order bytes (kinds tcp, unix and call only). `chunk` is not reused: it may be kept. */
  onData?(chunk: Uint8Array): void;
  /** In its place, for who needs no copy: the memory of `chunk` is used again as soon as this returns. */
  onLentData?(chunk: Uint8Array): void;
  /** The peer sends no more bytes. */
  onEnd?(): void;
  /** `writable` is larger than before. */
  onWritable?(): void;
  /** The peer does not want our bytes any more: they are dropped, and our direction has ended. */
  onStop?(errno: ErrnoName): void;
  onDatagram?(payload: Uint8Array): void;
  /** The peer reset the stream, or the tunnel is gone. The stream is gone. */
  onReset?(errno: ErrnoName): void;
  /** Both directions ended in good order. The stream is gone. */
  onClose?(): void;
}
