/**
 * A message of bulk data that is taken as it comes, before it is whole.
 *
 * Theory of operation. The frames of a message could be taken one by one, but a bulk frame is a message by
 * itself (`scheduler.ts`), and comes in several pieces: records of TLS have 16 KiB, reads of a socket 64.
 * To put it together is a copy and a buffer for all that is received, so its bytes go to its stream in the
 * pieces that come, as if each was a frame.
 *
 * What is counted and acknowledged for a resume is still the message, when all of it is there. If the connection
 * is lost in the middle of one, the peer sends it again, whole: what was taken of it is then passed over.
 */

import {ProtocolError} from './errors.ts';
import {FRAME, type FrameView, parseHeader} from './frames.ts';
import {GATHER_BYTES, HEADER_BYTES, MESSAGE_BYTES} from './limits.ts';

/** Tells by its first bytes whether a message of so many bytes is one DATA frame that is worth it. */
export function isBulk(first: Uint8Array, messageBytes: number): boolean {
  if (first.length < HEADER_BYTES || messageBytes <= GATHER_BYTES) return false;
  const length = ((first[1] ?? 0) << 16) | ((first[2] ?? 0) << 8) | (first[3] ?? 0);
  return first[0] === FRAME.data && HEADER_BYTES + length === messageBytes;
}

/** The bulk message under way, if any. */
export class Bulk {
  #messageBytes = 0;
  /** Bytes of it that came over this connection, and those that were taken over any. */
  #position = 0;
  #taken = 0;
  #stream = 0;

  /** Whether one has begun that is not over, over this connection or the last one. */
  get isUnderWay(): boolean {
    return this.#messageBytes > 0;
  }

  /** Whether more of it is to come over this connection. */
  get isComing(): boolean {
    return this.#position > 0;
  }

  /**
   * Takes the next piece of the message, the first of which has the whole header. Returns the new payload in
   * it; `frame.stream` tells whose it is. Throws ProtocolError when it is not what it was before the loss.
   */
  take(piece: Uint8Array, messageBytes: number, frame: FrameView): Uint8Array {
    let payload = piece;
    if (this.#position === 0) {
      if (messageBytes > MESSAGE_BYTES) throw new ProtocolError('MESSAGE_TOO_BIG');
      parseHeader(piece, 0, frame);
      if (this.#taken > 0) this.#check(messageBytes, frame.stream);
      this.#messageBytes = messageBytes;
      this.#stream = frame.stream;
    }
    const fresh = Math.max(this.#taken, HEADER_BYTES) - this.#position;
    if (fresh > 0) payload = piece.subarray(Math.min(fresh, piece.length));
    this.#position += piece.length;
    this.#taken = Math.max(this.#taken, this.#position);
    frame.type = FRAME.data;
    frame.stream = this.#stream;
    return payload;
  }

  /** Tells whether that was its last piece, and forgets it then. */
  isOver(): boolean {
    if (this.#position < this.#messageBytes) return false;
    this.#messageBytes = 0;
    this.#position = 0;
    this.#taken = 0;
    return true;
  }

  /** Notes that the rest of it comes over another connection, with all that came already. */
  interrupt(): void {
    this.#position = 0;
  }

  #check(messageBytes: number, stream: number): void {
    const isSame = messageBytes === this.#messageBytes && stream === this.#stream;
    if (!isSame) throw new ProtocolError('RESUME_COUNT');
  }
}
