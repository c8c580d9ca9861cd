/**
 * A small reference TCP peer in the place of the program's kernel: it connects, sends a stream,
 * reads one at its own pace, and closes. It has an RTO, an out-of-order store and a window of its
 * own; slow and plain, so that it can be seen to be right. No options but MSS and window scale.
 */
import {byteAt, stream} from './netstack.ts';
import {checksum, concat, frame, type ParsedPacket, pseudo} from './packet.ts';

export interface PeerOptions {
  readonly source: Uint8Array;
  readonly destination: Uint8Array;
  /** Bytes to send before its FIN. */
  readonly toSend: number;
  /** Bytes of its receive buffer. */
  readonly buffer: number;
  /** Bytes that the program reads each time it is asked to. */
  readonly readSize: number;
  /** Payload bytes of its segments. */
  readonly segment: number;
  readonly isn: number;
  /** Takes three quarters of its buffer back at times, and what was on its way there is lost. */
  readonly shrinks?: boolean;
}

const RTO = 300;

export class ModelPeer {
  readonly #options: PeerOptions;
  #now = 0;
  #una = 0;
  #nxt = 0;
  /** The highest number ever sent: `#nxt` goes back to repeat. */
  #max = 0;
  #wnd = 0;
  #lastSent = 0;
  #iss: number | undefined;
  /** Offsets in the stack's stream: SYN is −1. */
  #received = 0;
  #read = 0;
  readonly #early = new Set<number>();
  readonly #finAt: {offset: number | undefined} = {offset: undefined};
  #gotFin = false;
  #ackDue = false;
  #failure: string | undefined;
  isReset = false;
  /** The highest right edge that the stack ever gave, as an offset of our stream. */
  edge = 0;
  /** How far an advertised edge has ever stepped back, bytes. */
  retracted = 0;

  constructor(options: PeerOptions) {
    this.#options = options;
  }

  /** Everything was sent, acknowledged and received; both FINs too. */
  get isDone(): boolean {
    return this.#isClosed && this.#read === this.#received;
  }

  /** Both FINs have arrived, as far as can be known here. */
  get #isClosed(): boolean {
    return this.#una === this.#options.toSend + 1 && this.#gotFin;
  }

  get bytesRead(): number {
    return this.#read;
  }

  get failure(): string | undefined {
    return this.#failure;
  }

  /** Sees a packet of the stack in the order of sending: what does the window do? */
  observe({transport}: ParsedPacket): void {
    const view = new DataView(transport.buffer, transport.byteOffset, transport.byteLength);
    const flags = view.getUint8(13);
    if ((flags & 4) === 0) {
      const acked = (view.getUint32(8) - this.#options.isn - 1) | 0;
      const edge = acked + view.getUint16(14) * (flags & 2 ? 1 : 128);
      this.retracted = Math.max(this.retracted, this.edge - edge);
      this.edge = Math.max(this.edge, edge);
    }
  }

  /** Takes a packet of the stack. */
  receive({transport, virtio}: ParsedPacket, now: number): void {
    this.#now = now;
    const view = new DataView(transport.buffer, transport.byteOffset, transport.byteLength);
    const flags = view.getUint8(13);
    const headerLength = (view.getUint8(12) >> 4) * 4;
    const text = transport.subarray(headerLength);
    if (virtio.gsoType !== 0 && text.length <= virtio.gsoSize) {
      this.#failure = 'GSO on a single segment';
    }
    if (flags & 4) {
      // In TIME-WAIT a RST that an old duplicate has drawn is ignored (RFC 1337).
      this.isReset ||= !this.#isClosed;
      return;
    }
    if (flags & 2) {
      this.#iss ??= view.getUint32(4);
      this.#ackDue = true;
    }
    if (this.#iss === undefined) {
      return;
    }
    const acked = (view.getUint32(8) - this.#options.isn - 1) | 0;
    if (acked > this.#max) {
      this.#failure = `an ACK of ${acked}, sent are ${this.#max}`;
    }
    const isNews = acked >= this.#una;
    this.#una = Math.max(this.#una, acked);
    this.#nxt = Math.max(this.#nxt, acked);
    const window = view.getUint16(14) * (flags & 2 ? 1 : 128);
    if (isNews) {
      this.#wnd = window;
    }
    if ((flags & 2) === 0) {
      this.#take((view.getUint32(4) - this.#iss - 1) | 0, text, (flags & 1) !== 0);
    }
  }

  #take(offset: number, text: Uint8Array, fin: boolean): void {
    const right = this.#read + this.#options.buffer;
    if (offset + text.length > Math.max(right, this.#received) + 127) {
      this.#failure = `bytes up to ${offset + text.length}, the window ends at ${right}`;
    }
    const fits = this.#options.shrinks ? this.#read + this.#buffer - offset : text.length;
    for (let at = 0; at < Math.min(text.length, fits); at += 1) {
      if (text[at] !== byteAt(offset + at)) {
        this.#failure = `byte ${offset + at} is wrong`;
      }
      if (offset + at >= this.#received) {
        this.#early.add(offset + at);
      }
    }
    while (this.#early.delete(this.#received)) {
      this.#received += 1;
    }
    if (fin) {
      this.#finAt.offset = offset + text.length;
    }
    this.#gotFin ||= this.#finAt.offset === this.#received;
    this.#ackDue ||= text.length > 0 || fin || offset < this.#received;
  }

  /** Bytes of the receive buffer at this time. */
  get #buffer(): number {
    const {buffer, shrinks = false} = this.#options;
    const isSmall = shrinks && Math.floor(this.#now / 100) % 3 === 2;
    return isSmall ? Math.floor(buffer / 4) : buffer;
  }

  /** What the kernel sends now; `isTick`: its timers run too. */
  send(now: number, isTick: boolean): Uint8Array[] {
    this.#now = now;
    const {toSend, readSize, segment} = this.#options;
    const frames: Uint8Array[] = [];
    if (this.#iss === undefined) {
      return isTick && this.#isLate() ? [this.#segment(-1, new Uint8Array(0), 2)] : [];
    }
    if (isTick && this.#read < this.#received) {
      this.#read = Math.min(this.#received, this.#read + readSize);
      this.#ackDue ||= !this.#isClosed;
    }
    if (isTick && this.#una < this.#nxt && this.#isLate()) {
      this.#nxt = this.#una;
    }
    // A probe of a closed window: one below, as Linux does.
    if (isTick && this.#nxt <= toSend && this.#nxt === this.#una && this.#isLate()) {
      frames.push(this.#segment(this.#una - 1, new Uint8Array(0), 0));
    }
    while (this.#nxt < toSend && this.#nxt < this.#una + this.#wnd) {
      const length = Math.min(segment, toSend - this.#nxt, this.#una + this.#wnd - this.#nxt);
      const offset = this.#nxt;
      this.#nxt += length;
      frames.push(this.#segment(offset, stream(offset, length), 0));
    }
    if (this.#nxt === toSend && this.#una + this.#wnd > toSend) {
      this.#nxt = toSend + 1;
      frames.push(this.#segment(toSend, new Uint8Array(0), 1));
    }
    if (frames.length === 0 && this.#ackDue) {
      frames.push(this.#segment(this.#nxt, new Uint8Array(0), 0));
    }
    this.#ackDue = false;
    this.#max = Math.max(this.#max, this.#nxt);
    return frames;
  }

  #isLate(): boolean {
    if (this.#now - this.#lastSent < RTO) {
      return false;
    }
    this.#lastSent = this.#now;
    return true;
  }

  #segment(offset: number, text: Uint8Array, flags: number): Uint8Array {
    const {source, destination, isn} = this.#options;
    const isSyn = (flags & 2) !== 0;
    this.#lastSent = this.#now;
    const options = isSyn ? Uint8Array.of(2, 4, 1460 >> 8, 1460 & 0xff, 1, 3, 3, 7) : [];
    const head = new Uint8Array(20 + options.length);
    const view = new DataView(head.buffer);
    view.setUint16(0, 40_000);
    view.setUint16(2, 80);
    view.setUint32(4, (isn + 1 + offset) >>> 0);
    const ack = (this.#iss ?? 0) + 1 + this.#received + (this.#gotFin ? 1 : 0);
    view.setUint32(8, isSyn ? 0 : ack >>> 0);
    view.setUint8(12, (head.length / 4) << 4);
    view.setUint8(13, flags | (isSyn ? 0 : 16));
    const room = Math.max(0, this.#read + this.#buffer - this.#received);
    view.setUint16(14, Math.min(65_535, isSyn ? room : room >> 7));
    head.set(options, 20);
    const segment = concat(head, text);
    const sum = checksum(pseudo(source, destination, 6, segment.length), segment);
    segment.set([sum >> 8, sum & 0xff], 16);
    return frame({source, destination, protocol: 6, transport: segment});
  }
}
