/**
 * Flow control of a connection, between two connections that are one to their ends: who sends DATA on the first
 * may send what the second takes.
 *
 * Theory of operation. The receiver's window for the connection (RFC 9113, section 6.9) is passed on to the sender, so that
 * between them nothing waits. As long as all that the sender sends is the receiver's, and the receiver gets nothing else, that is
 * all (`passOn`, `update`). But streams that a program has are not the receiver's, and he may get DATA from elsewhere. So
 * there are two numbers: `window`, what the receiver takes now, and `#credit`, what the sender believes that he may send. What
 * is not the receiver's is given back to the sender. What comes from elsewhere is taken from what the sender was not told
 * of yet, and if there is nothing left of that, it is a debt, which the receiver's next updates pay before the sender hears of
 * them. What the sender has sent in the meantime, and the window has no room for, is held: at most the debt, which is at most the
 * window. That may be large; but before something is held, the receiver has all of it unread. Whoever reads the sender stops then.
 *
 *     window + debt = credit + held + what the sender was not told of
 */

import {type FrameReader, frameHeader} from './frames.ts';
import type {Output} from './output.ts';
import {DATA, DEFAULT_FRAME_BYTES, DEFAULT_WINDOW_BYTES, END_STREAM, MAX_31} from './protocol.ts';

/** Something that has to wait: DATA, or what must not overtake it. */
interface Held {
  readonly streamId: number;
  /** What is left of DATA. */
  data: Buffer;
  /** Counted for flow control, with padding that is lost by being held. */
  flowBytes: number;
  readonly isLast: boolean;
  /** Instead of DATA. */
  readonly other: Following | undefined;
}

/** What must not overtake DATA. */
export interface Following {
  write(): void;
  /** The same as its sender would say it, if that is a frame. */
  frame(): Buffer | undefined;
}

export class Way {
  /** What the receiver takes. */
  window = DEFAULT_WINDOW_BYTES;
  /** DATA from elsewhere has gone to the receiver since somebody set this to false. */
  hasSentElse = false;
  readonly #from: () => Output | undefined;
  readonly #to: Output | undefined;
  readonly #onHeldEnd: (streamId: number) => void;
  readonly #held: Held[] = [];
  #heldBytes = 0;
  #credit = DEFAULT_WINDOW_BYTES;
  #untold = 0;
  #debt = 0;

  /** `from`: where the sender is told. There may be neither. `onHeldEnd` hears when DATA that was held is written, to its end. */
  constructor(
    from: () => Output | undefined,
    to: Output | undefined,
    onHeldEnd: (streamId: number) => void,
  ) {
    this.#from = from;
    this.#to = to;
    this.#onHeldEnd = onHeldEnd;
  }

  /** Bytes that wait here. */
  get heldBytes(): number {
    return this.#heldBytes;
  }

  /** What of the receiver's next updates the sender must not hear of. */
  get debt(): number {
    return this.#debt;
  }

  /** What the sender may send besides, and was not told of. */
  get untold(): number {
    return this.#untold;
  }

  /** What DATA from elsewhere may have now. */
  get room(): number {
    return this.#held.length > 0 ? 0 : Math.max(this.window, 0);
  }

  /** Passes on DATA as it is, of a connection that is the receiver's as a whole. */
  passOn(frame: FrameReader): void {
    this.#credit -= frame.flowBytes;
    this.window -= frame.flowBytes;
    if (frame.isWhole) this.#to?.pass(frame, frame.streamId);
    else this.#to?.passPart(frame);
  }

  /** The sender has sent DATA, whatever becomes of it; returns whether he was allowed to. */
  arrived(bytes: number): boolean {
    this.#credit -= bytes;
    if (this.#untold > 0) this.#tellIfMuch();
    return this.#credit >= 0;
  }

  /** What had arrived is not for the receiver. */
  giveBack(bytes: number): void {
    this.#untold += this.#pay(bytes);
    this.#tellIfMuch();
  }

  /**
   * The receiver takes more. Returns how much the sender is to be told of, which the caller does; -1 when it is more than a
   * window can be.
   */
  update(bytes: number): number {
    if (this.window + bytes > MAX_31) return -1;
    this.window += bytes;
    const told = this.#pay(bytes);
    this.#credit += told;
    this.#writeHeld();
    return told;
  }

  /** DATA from elsewhere goes to the receiver. */
  sentElse(bytes: number): void {
    this.hasSentElse = true;
    this.window -= bytes;
    const paid = Math.min(bytes, this.#untold);
    this.#untold -= paid;
    this.#debt += bytes - paid;
  }

  /** Passes on DATA that had arrived; false: it has to wait. */
  pass(frame: FrameReader, streamId: number): boolean {
    const {flowBytes} = frame;
    // The rest of a frame that is passed on in parts has its place.
    if (!frame.isWhole && this.#to?.isOpen === true) {
      this.window -= flowBytes;
      this.#to.passPart(frame);
      return true;
    }
    if (this.#held.length === 0 && flowBytes <= this.window) {
      this.window -= flowBytes;
      // Padding of a frame that comes in parts is not passed on.
      const lost = frame.isWhole ? 0 : flowBytes - (frame.end - frame.start);
      this.#to?.passData(frame, streamId);
      if (lost > 0) {
        this.window += lost;
        this.giveBack(lost);
      }
      return true;
    }
    const data = Buffer.from(frame.bytes.subarray(frame.start, frame.end));
    const isLast = (frame.flags & END_STREAM) !== 0;
    this.#hold({streamId, data, flowBytes, isLast, other: undefined});
    this.#writeHeld();
    return false;
  }

  /** DATA waits, whosever it is. */
  get isHolding(): boolean {
    return this.#held.length > 0;
  }

  /** What waits, as the frames that its sender would have sent; undefined where that can't be. */
  heldFrames(senderId: (streamId: number) => number): Buffer[] | undefined {
    const frames: Buffer[] = [];
    for (const {streamId, data, flowBytes, isLast, other} of this.#held) {
      if (other === undefined) {
        // With padding it would be another frame.
        if (flowBytes !== data.length) return undefined;
        const flags = isLast ? END_STREAM : 0;
        const header = {length: data.length, type: DATA, flags, streamId: senderId(streamId)};
        frames.push(frameHeader(header), data);
      } else {
        const bytes = other.frame();
        if (bytes === undefined) return undefined;
        frames.push(bytes);
      }
    }
    return frames;
  }

  /** What belongs behind the stream's DATA, or (0) what concerns the connection, has to wait. */
  isHeld(streamId: number): boolean {
    return this.#held.some((one) => one.streamId === streamId);
  }

  /** Writes something behind the DATA that is held, of the stream or (0) of any. */
  follow(streamId: number, isLast: boolean, other: Following): void {
    this.#hold({streamId, data: Buffer.alloc(0), flowBytes: 0, isLast, other});
  }

  /** Forgets what is held of a stream. */
  forget(streamId: number): void {
    if (!this.isHeld(streamId)) return;
    const kept: Held[] = [];
    for (const one of this.#held.splice(0)) {
      if (one.streamId !== streamId) kept.push(one);
      else {
        this.#heldBytes -= one.data.length;
        this.giveBack(one.flowBytes);
      }
    }
    this.#held.push(...kept);
    this.#writeHeld();
  }

  #hold(held: Held): void {
    this.#held.push(held);
    this.#heldBytes += held.data.length;
  }

  #writeHeld(): void {
    for (let first = this.#held[0]; first !== undefined; first = this.#held[0]) {
      if (first.other === undefined && !this.#writeData(first)) break;
      this.#held.shift();
      first.other?.write();
      if (first.isLast) this.#onHeldEnd(first.streamId);
    }
  }

  /** Writes what there is room for; returns whether that is all. */
  #writeData(held: Held): boolean {
    do {
      const left = held.data.length;
      const count = Math.min(
        left,
        Math.max(this.window, 0),
        this.#to?.maxFrameBytes ?? DEFAULT_FRAME_BYTES,
      );
      if (count === 0 && left > 0) return false;
      const isLast = held.isLast && count === left;
      if (left > 0 || isLast) this.#to?.data(held.streamId, held.data.subarray(0, count), isLast);
      held.data = held.data.subarray(count);
      held.flowBytes -= count;
      this.#heldBytes -= count;
      this.window -= count;
    } while (held.data.length > 0);
    // Padding is not passed on.
    if (held.flowBytes > 0) this.giveBack(held.flowBytes);
    return true;
  }

  /** Pays debts with bytes; returns those that are left. */
  #pay(bytes: number): number {
    const paid = Math.min(bytes, this.#debt);
    this.#debt -= paid;
    return bytes - paid;
  }

  /** Tells the sender what he was not told of; little only when he may need it. */
  #tellIfMuch(): void {
    const count = this.#untold;
    if (count === 0 || (count * 4 < this.#credit && count < DEFAULT_WINDOW_BYTES)) return;
    const from = this.#from();
    if (from === undefined) return;
    this.#untold = 0;
    this.#credit += count;
    from.windowUpdate(0, count);
  }
}
