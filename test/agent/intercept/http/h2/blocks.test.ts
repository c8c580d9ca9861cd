import test from 'ava';
import fc from 'fast-check';
import {Blocks} from '../../../../../agent/intercept/http/h2/blocks.ts';
import {FrameReader} from '../../../../../agent/intercept/http/h2/frames.ts';
import {Decoder} from '../../../../../agent/intercept/http/h2/hpack/decoder.ts';
import {Encoder} from '../../../../../agent/intercept/http/h2/hpack/encoder.ts';
import type {Field} from '../../../../../agent/intercept/http/h2/hpack/field.ts';
import {CONTINUATION, END_HEADERS, frame, HEADERS} from './wire.ts';

/** Fields of which some repeat, and some push others out of the table. */
const field: fc.Arbitrary<Field> = fc.record({
  name: fc.constantFrom(':path', 'date', 'server', 'x'),
  value: fc.constantFrom('a', 'b', 'c', 'y'.repeat(300), 'y'.repeat(1500)),
  indexing: fc.constantFrom<Field['indexing']>('indexed', 'plain', 'never'),
});
const block = fc.record({
  fields: fc.array(field, {maxLength: 5}),
  /** Undefined: it comes in one frame. */
  cut: fc.option(fc.nat(30), {nil: undefined}),
});

/** RFC 7541, section 5.2, without the Huffman code. */
function stringOf(text: string): Buffer {
  const {length} = text;
  const rest = length - 127;
  const head = length < 127 ? [length] : [127, (rest & 127) | 128, rest >> 7];
  return Buffer.concat([Buffer.from(head), Buffer.from(text, 'latin1')]);
}

/** Says everything anew, and into the table, as nginx does. */
function anew(fields: readonly Field[]): Buffer {
  const parts = fields.flatMap(({name, value}) => [
    Buffer.from([0x40]),
    ...[name, value].map(stringOf),
  ]);
  return Buffer.concat(parts);
}

test('a block that comes again is what it would be, and does what it would do', (t) => {
  fc.assert(
    fc.property(
      fc.array(block, {minLength: 1, maxLength: 30}),
      fc.array(fc.nat(29), {maxLength: 60}),
      // Whether the sender has a table; or says everything anew, and changes that in between.
      fc.constantFrom('table', 'anew', 'anew, then table'),
      (made, order, sender) => {
        const [encoder, plain, blocks] = [new Encoder(), new Decoder(1_000_000), new Blocks()];
        const found: (readonly Field[])[] = [];
        const reader = new FrameReader({
          onFrame(one) {
            const whole = blocks.take(one);
            if (whole !== undefined) found.push(whole.fields);
          },
          onBroken: () => t.fail(),
        });
        const expected = order.map((at, step) => {
          const {fields, cut} = made[at % made.length] ?? {fields: [], cut: undefined};
          const hasTable = sender === 'table' || (sender !== 'anew' && step * 2 > order.length);
          // What was put there without it is behind what it refers to only when that is pushed out: so it begins with that.
          const isFirst = hasTable && (step === 0 || (step - 1) * 2 <= order.length);
          const empty = sender === 'anew, then table' && isFirst ? [0x20, 0x3f, 0xe1, 0x1f] : [];
          const bytes = Buffer.concat([
            Buffer.from(empty),
            hasTable ? encoder.encode(fields) : anew(fields),
          ]);
          if (cut === undefined) reader.push(frame(HEADERS, END_HEADERS, 1, bytes));
          else {
            reader.push(frame(HEADERS, 0, 1, bytes.subarray(0, cut)));
            reader.push(frame(CONTINUATION, END_HEADERS, 1, bytes.subarray(cut)));
          }
          return plain.decode(bytes, 0, bytes.length).fields;
        });
        t.deepEqual(found, expected);
      },
    ),
    {numRuns: 600},
  );
});
