/**
 * Bytes of strangers as text that a person can read and a terminal can be shown. Pure.
 *
 * What is UTF-8 without control characters stays as it is; everything else is a dump in hexadecimals, so that nothing
 * in it can command a terminal. The head of an HTTP message is text even if a body follows that is not.
 */

/** A byte that is no text: a control character but for tab, line feed and carriage return, or DEL. */
function isControl(byte: number): boolean {
  return (byte < 0x20 && byte !== 0x09 && byte !== 0x0a && byte !== 0x0d) || byte === 0x7f;
}

const decoder = new TextDecoder('utf-8', {fatal: true, ignoreBOM: true});

/** The text that bytes are; undefined: they are none. */
export function textOf(bytes: Uint8Array): string | undefined {
  if (bytes.some(isControl)) return undefined;
  try {
    const text = decoder.decode(bytes);
    // What commands a terminal in eight bits, and what turns the order of the letters round.
    return /[\u0080-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/.test(text) ? undefined : text;
  } catch {
    return undefined;
  }
}

const rowBytes = 16;

function row(bytes: Uint8Array, offset: number): string {
  const pairs = Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0'));
  const [left, right] = [pairs.slice(0, 8), pairs.slice(8)].map((half) =>
    half.join(' ').padEnd(23),
  );
  const shown = Array.from(bytes, (byte) =>
    byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : '.',
  ).join('');
  return `${offset.toString(16).padStart(8, '0')}  ${left}  ${right}  |${shown}|\n`;
}

/** As hexdump -C has it. `offset`: of the first byte. */
export function hexDump(bytes: Uint8Array, offset = 0): string {
  let rows = '';
  for (let at = 0; at < bytes.length; at += rowBytes) {
    rows += row(bytes.subarray(at, at + rowBytes), offset + at);
  }
  return rows;
}

/** Where the head of an HTTP message ends; 0 when it doesn't. */
function headEnd(bytes: Uint8Array): number {
  const {buffer, byteOffset, length} = bytes;
  return Buffer.from(buffer, byteOffset, length).indexOf('\r\n\r\n') + 4;
}

/** How many bytes at either end belong to a character that began before, or ends after them. */
function cutCharacters(bytes: Uint8Array): [first: number, last: number] {
  const isContinued = (byte = 0): boolean => (byte & 0xc0) === 0x80;
  let first = 0;
  while (first < 3 && isContinued(bytes[first])) first++;
  for (let last = 1; last <= 3; last++) {
    const byte = bytes.at(-last) ?? 0;
    if (isContinued(byte)) continue;
    const length = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc0 ? 2 : 1;
    return [first, length > last ? last : 0];
  }
  return [first, 0];
}

function escaped(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => `\\x${byte.toString(16).padStart(2, '0')}`).join('');
}

/** The text of bytes that were cut off somewhere, with what is no whole character escaped. */
function textOfPart(bytes: Uint8Array): string | undefined {
  const [first, last] = cutCharacters(bytes);
  const end = bytes.length - last;
  const text = textOf(bytes.subarray(first, end));
  return text && escaped(bytes.subarray(0, first)) + text + escaped(bytes.subarray(end));
}

/** The bytes as whole lines. */
export function readable(bytes: Uint8Array): string {
  const text = textOfPart(bytes);
  if (text !== undefined) return text.endsWith('\n') ? text : `${text}\n`;
  const end = headEnd(bytes);
  const head = end > 3 ? textOf(bytes.subarray(0, end)) : undefined;
  return head === undefined ? hexDump(bytes) : head + hexDump(bytes.subarray(end));
}
