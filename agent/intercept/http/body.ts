/**
 * Where the body of an HTTP/1 message ends, and what in it is payload. Sans-IO.
 *
 * Bytes are only counted and looked at: whoever asks passes them on as they are. The grammar of chunks (RFC 9112,
 * section 7.1) is taken literally: a bare LF, blanks around a size, a size of more than 13 digits, or anything else
 * that servers read in different ways breaks the body at that byte.
 */

export type Framing =
  | {readonly kind: 'length'; readonly bytes: number}
  | {readonly kind: 'chunked'}
  /** Until the connection ends. */
  | {readonly kind: 'close'};

/** A message that ends with its head. */
export const NO_BODY: Framing = {kind: 'length', bytes: 0};

/** Digits of a chunk's size: 2^52 bytes. */
const SIZE_DIGITS = 13;
/** Bytes of a chunk's extensions. Nobody uses them but attacks. */
const EXTENSION_BYTES = 4096;
/** Bytes of all trailers: Node's limit. */
const TRAILER_BYTES = 16_384;

const CR = 0x0d;
const LF = 0x0a;

/** What of the grammar is expected next. */
type State =
  | 'size'
  | 'extension'
  | 'size-lf'
  | 'data'
  | 'data-cr'
  | 'data-lf'
  | 'trailer-start'
  | 'trailer'
  | 'trailer-lf'
  | 'last-lf';

export class BodyReader {
  /** Of all messages without a body. */
  static readonly none = new BodyReader(NO_BODY);
  readonly #framing: Framing;
  readonly #onPayload: ((bytes: Buffer) => void) | undefined;
  #state: State = 'size';
  /** Bytes of payload that are missing: of the body, or of the chunk. */
  #missing = 0;
  /** Digits or bytes of the element that is being read, against its limit. */
  #count = 0;
  #isDone = false;
  #isBroken = false;

  /** `onPayload` gets views of the bytes between the framing. */
  constructor(framing: Framing, onPayload?: (bytes: Buffer) => void) {
    this.#framing = framing;
    this.#onPayload = onPayload;
    if (framing.kind === 'length') this.#missing = framing.bytes;
    this.#isDone = framing.kind === 'length' && framing.bytes === 0;
  }

  /** The last byte of the body was seen. */
  get isDone(): boolean {
    return this.#isDone;
  }

  /** The bytes are no body of this framing: where it ends cannot be known any more. */
  get isBroken(): boolean {
    return this.#isBroken;
  }

  /** Returns how many of the bytes, from the first on, are of this body. */
  take(chunk: Buffer): number {
    if (this.#isDone || this.#isBroken) return 0;
    if (this.#framing.kind === 'chunked') return this.#takeChunked(chunk);
    const isOpen = this.#framing.kind === 'close';
    const count = isOpen ? chunk.length : Math.min(chunk.length, this.#missing);
    if (!isOpen) this.#missing -= count;
    this.#isDone = !isOpen && this.#missing === 0;
    if (count > 0) this.#onPayload?.(chunk.subarray(0, count));
    return count;
  }

  #takeChunked(chunk: Buffer): number {
    let at = 0;
    while (at < chunk.length && !this.#isDone) {
      if (this.#state === 'data') {
        const count = Math.min(chunk.length - at, this.#missing);
        this.#onPayload?.(chunk.subarray(at, at + count));
        this.#missing -= count;
        at += count;
        if (this.#missing === 0) this.#state = 'data-cr';
        continue;
      }
      if (!this.#step(chunk[at] ?? 0)) {
        this.#isBroken = true;
        break;
      }
      at++;
    }
    return at;
  }

  /** Takes a byte of the framing; false if it is none. */
  #step(byte: number): boolean {
    switch (this.#state) {
      case 'size':
        return this.#stepSize(byte);
      case 'extension':
        if (byte === CR) this.#state = 'size-lf';
        return byte === CR || (++this.#count <= EXTENSION_BYTES && isText(byte));
      case 'size-lf':
        this.#state = this.#missing > 0 ? 'data' : 'trailer-start';
        this.#count = 0;
        return byte === LF;
      case 'data-cr':
        this.#state = 'data-lf';
        return byte === CR;
      case 'data-lf':
        this.#state = 'size';
        return byte === LF;
      case 'trailer-start':
        if (byte === CR) this.#state = 'last-lf';
        else this.#state = 'trailer';
        // A folded line would belong to the one before.
        return byte === CR || (isText(byte) && byte !== 0x20 && byte !== 0x09);
      case 'trailer':
        if (byte === CR) this.#state = 'trailer-lf';
        return byte === CR || (++this.#count <= TRAILER_BYTES && isText(byte));
      case 'trailer-lf':
        this.#state = 'trailer-start';
        return ++this.#count <= TRAILER_BYTES && byte === LF;
      case 'last-lf':
        this.#isDone = byte === LF;
        return this.#isDone;
      default:
        return false;
    }
  }

  #stepSize(byte: number): boolean {
    const digit = hexDigit(byte);
    if (digit >= 0) {
      this.#missing = this.#count === 0 ? digit : this.#missing * 16 + digit;
      return ++this.#count <= SIZE_DIGITS;
    }
    if (this.#count === 0) return false;
    if (byte === CR) this.#state = 'size-lf';
    else if (byte === 0x3b) {
      this.#state = 'extension';
      this.#count = 0;
    } else return false;
    return true;
  }
}

function hexDigit(byte: number): number {
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30;
  const letter = byte | 0x20;
  return letter >= 0x61 && letter <= 0x66 ? letter - 0x57 : -1;
}

/** Neither a control character nor DEL; a tab is text. */
function isText(byte: number): boolean {
  return (byte >= 0x20 && byte !== 0x7f) || byte === 0x09;
}
