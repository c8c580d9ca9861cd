/**
 * Writes a tar archive in POSIX' ustar format: the same bytes for the same tree, whoever makes it and when.
 *
 * Owners are root, times are 1970, modes are those that the caller names. A header is a block of 512
 * bytes; a file's content follows, filled up with zeros to whole blocks; two empty blocks end the archive.
 */

const blockLength = 512;
const empty = new Uint8Array(blockLength);
/** ustar's field for a size has eleven octal digits. */
const sizeLimit = 8 ** 11;

/** Takes the archive's bytes, in order. The chunk is the callee's only until it returns. */
export type Sink = (chunk: Uint8Array) => void;

type Type = '0' | '2' | '5'; // file, symbolic link, directory

/** Splits a path into ustar's `prefix` and `name`, of up to 155 and 100 bytes. */
function splitName(path: string): [prefix: string, name: string] {
  if (Buffer.byteLength(path) <= 100) return ['', path];
  for (let cut = path.indexOf('/'); cut > 0; cut = path.indexOf('/', cut + 1)) {
    const [prefix, name] = [path.slice(0, cut), path.slice(cut + 1)];
    if (Buffer.byteLength(name) <= 100 && name !== '' && Buffer.byteLength(prefix) <= 155)
      return [prefix, name];
  }
  throw new RangeError(`too long a path for a tar archive: ${path}`);
}

function header(path: string, type: Type, mode: number, size = 0, link = ''): Uint8Array {
  if (size >= sizeLimit) throw new RangeError(`too large a file for a tar archive: ${path}`);
  if (Buffer.byteLength(link) > 100) throw new RangeError(`too long a link: ${link}`);
  const [prefix, name] = splitName(path);
  const block = Buffer.alloc(blockLength);
  const octal = (value: number, offset: number, digits: number): void => {
    block.write(value.toString(8).padStart(digits, '0'), offset, 'latin1');
  };
  block.write(name, 0);
  octal(mode, 100, 7);
  octal(0, 108, 7); // uid
  octal(0, 116, 7); // gid
  octal(size, 124, 11);
  octal(0, 136, 11); // mtime
  block.write(' '.repeat(8), 148, 'latin1'); // what the checksum counts in its own place
  block.write(type, 156, 'latin1');
  block.write(link, 157);
  block.write('ustar\x0000', 257, 'latin1');
  block.write(prefix, 345);
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return block;
}

/** Paths are relative and without a slash at their end. The caller puts directories before what is in them. */
export class TarWriter {
  readonly #sink: Sink;

  constructor(sink: Sink) {
    this.#sink = sink;
  }

  directory(path: string, mode: number): void {
    this.#sink(header(`${path}/`, '5', mode));
  }

  link(path: string, target: string): void {
    this.#sink(header(path, '2', 0o777, 0, target));
  }

  /** Writes a file of `size` bytes. Throws `RangeError` unless the chunks have so many. */
  file(path: string, mode: number, size: number, chunks: Iterable<Uint8Array>): void {
    this.#sink(header(path, '0', mode, size));
    let written = 0;
    for (const chunk of chunks) {
      this.#sink(chunk);
      written += chunk.length;
    }
    if (written !== size) throw new RangeError(`${path} has ${written} bytes, not ${size}`);
    const rest = size % blockLength;
    if (rest !== 0) this.#sink(empty.subarray(rest));
  }

  end(): void {
    this.#sink(empty);
    this.#sink(empty);
  }
}
