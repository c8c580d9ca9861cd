/**
 * What a connection needs of its surroundings: the table it lives in and the numbers that all
 * connections share. `Tcp` is the one; tests of the state machine may bring their own.
 */
import type {Counters} from '../counters.ts';
import type {Limits} from '../limits.ts';
import type {Octets} from '../wire/octets.ts';
import type {Tcb} from './tcb.ts';

export interface TcpHost {
  readonly counters: Counters;
  readonly limits: Limits;
  /** The MTU of the device. */
  readonly mtu: number;
  /** Out-of-order bytes of all connections. */
  outOfOrderBytes: number;
  /** Puts the connection on the list for the next `dispatch`. */
  mark(tcb: Tcb): void;
  /** Forgets the connection at once; its state becomes CLOSED. Calls no handler. */
  remove(tcb: Tcb): void;
  /** Turns the connection into a TIME-WAIT tombstone. Calls no handler. */
  bury(tcb: Tcb, now: number): void;
  /** Answers a segment that no connection wants, as the CLOSED state does. */
  strayed(segment: Segment): void;
}

/** A segment that came in. One object, reused: nothing may keep it. */
export interface Segment {
  readonly frame: Octets;
  /** SEG.SEQ */
  readonly seq: number;
  /** SEG.ACK; meaningless without the ACK flag. */
  readonly ack: number;
  readonly flags: number;
  /** Where the options are in `frame`: up to the text. */
  readonly optionsAt: number;
  /** The window field, not scaled. */
  readonly window: number;
  /** Where the text is in `frame`. */
  readonly textAt: number;
  /** SEG.LEN without SYN and FIN. */
  readonly textLength: number;
}
