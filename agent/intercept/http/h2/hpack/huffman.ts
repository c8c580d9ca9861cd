/**
 * The Huffman code of HPACK (RFC 7541, section 5.2 and appendix B).
 *
 * The code is canonical: the lengths of its codes say all. It is decoded by four bits at a time: each inner node of the
 * code's tree is a state, and a table says what four more bits lead to.
 */

/** By byte, how many bits its code has. */
const LENGTHS = [
  [13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28],
  [28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28],
  [6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6],
  [5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10],
  [13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7],
  [7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6],
  [15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5],
  [6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28],
  [20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23],
  [24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24],
  [22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23],
  [21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23],
  [26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25],
  [19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27],
  [20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23],
  [26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26],
].flat();
/** The end of a string, which must not be said, but fills the last byte with its first bits. */
const EOS = 256;
const EOS_BITS = 30;

/** By byte, its code, in the lowest bits. */
const CODES = new Uint32Array(EOS + 1);
/** By state and four bits: the next state, in the lowest eight bits, and what happened. */
const STEPS = new Uint16Array(256 * 16);
const FOUND = 0x100;
const BROKEN = 0x200;
/** The byte that was found on such a step. */
const BYTES = new Uint8Array(256 * 16);
/** By state: a string may end here, since the bits after its last byte are fewer than eight, and all set. */
const IS_END = new Uint8Array(256);

/** An inner node of the code's tree: by bit, the number of another one, or the complement of a symbol. */
type Node = [number, number];
const UNKNOWN = 0;

function makeTree(): Node[] {
  const order = [...LENGTHS, EOS_BITS].map((length, symbol) => ({length, symbol}));
  order.sort((one, other) => one.length - other.length || one.symbol - other.symbol);
  const tree: Node[] = [[UNKNOWN, UNKNOWN]];
  let code = 0;
  let bits = 0;
  for (const {length, symbol} of order) {
    code = (code << (length - bits)) >>> 0;
    bits = length;
    CODES[symbol] = code;
    let node = tree[0] as Node;
    for (let bit = length - 1; bit > 0; bit--) {
      const side = (code >>> bit) & 1;
      if (node[side] === UNKNOWN) node[side] = tree.push([UNKNOWN, UNKNOWN]) - 1;
      node = tree[node[side] ?? 0] as Node;
    }
    node[code & 1] = ~symbol;
    code++;
  }
  return tree;
}

function makeSteps(tree: readonly Node[]): void {
  for (const state of tree.keys()) {
    for (let four = 0; four < 16; four++) {
      let at = state;
      let step = 0;
      for (let bit = 3; bit >= 0; bit--) {
        const next = tree[at]?.[(four >>> bit) & 1] ?? 0;
        at = Math.max(next, 0);
        if (next === ~EOS) step |= BROKEN;
        else if (next < 0) {
          step |= FOUND;
          BYTES[state * 16 + four] = ~next;
        }
      }
      STEPS[state * 16 + four] = step | at;
    }
  }
  for (let at = 0, depth = 0; depth < 8; depth++) {
    IS_END[at] = 1;
    at = tree[at]?.[1] ?? 0;
  }
}

makeSteps(makeTree());

/**
 * Decodes a string into `into`, which must have room for it (8/5 of its length). Returns how many bytes it has; -1 when
 * it is not of this code.
 */
export function decodeHuffman(
  bytes: Uint8Array,
  start: number,
  end: number,
  into: Uint8Array,
): number {
  let state = 0;
  let length = 0;
  for (let at = start; at < end; at++) {
    const byte = bytes[at] ?? 0;
    for (let four = byte >>> 4, half = 0; half < 2; half++, four = byte & 15) {
      const step = STEPS[state * 16 + four] ?? BROKEN;
      if (step >= FOUND) {
        if ((step & BROKEN) !== 0) return -1;
        into[length++] = BYTES[state * 16 + four] ?? 0;
      }
      state = step & 0xff;
    }
  }
  return IS_END[state] === 1 ? length : -1;
}

/** How many bytes a text of characters up to 255 has in this code. */
export function huffmanLength(text: string): number {
  let bits = 0;
  for (let at = 0; at < text.length; at++) bits += LENGTHS[text.charCodeAt(at)] ?? EOS_BITS;
  return (bits + 7) >>> 3;
}

/** Encodes such a text; returns where it ends. */
export function encodeHuffman(text: string, into: Uint8Array, from: number): number {
  let at = from;
  // Up to seven bits of the byte before, and a code.
  let held = 0;
  let bits = 0;
  for (let i = 0; i < text.length; i++) {
    const byte = text.charCodeAt(i);
    let length = LENGTHS[byte] ?? 0;
    const code = CODES[byte] ?? 0;
    // A code of more than 24 bits goes in two, so that what is held fits into 32.
    if (length > 24) {
      length -= 16;
      held = (held << length) | (code >>> 16);
      bits += length;
      for (; bits >= 8; bits -= 8) into[at++] = held >>> (bits - 8);
      length = 16;
    }
    held = (held << length) | (code & (length === 16 ? 0xffff : 0xffff_ffff));
    bits += length;
    for (; bits >= 8; bits -= 8) into[at++] = held >>> (bits - 8);
    held &= 0xff;
  }
  if (bits > 0) into[at++] = (held << (8 - bits)) | (0xff >>> bits);
  return at;
}
