import test from 'ava';
import fc from 'fast-check';
import {Decoder, HpackError} from '../../../../../agent/intercept/http/h2/hpack/decoder.ts';
import {Encoder} from '../../../../../agent/intercept/http/h2/hpack/encoder.ts';
import type {Field} from '../../../../../agent/intercept/http/h2/hpack/field.ts';
import {
  decodeHuffman,
  encodeHuffman,
  huffmanLength,
} from '../../../../../agent/intercept/http/h2/hpack/huffman.ts';

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(/\s/g, ''), 'hex');
const read = (decoder: Decoder, block: Buffer) => decoder.decode(block, 0, block.length);
const linesOf = (fields: readonly Field[]) => fields.map(({name, value}) => `${name}: ${value}`);

interface Example {
  readonly block: string;
  readonly lines: readonly string[];
  readonly tableBytes: number;
}

/** RFC 7541, appendix C. */
const examples: Record<string, readonly Example[]> = {
  'C.2.1, a literal that is kept': [
    {
      block: '400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572',
      lines: ['custom-key: custom-header'],
      tableBytes: 55,
    },
  ],
  'C.2.2, a literal that is not kept': [
    {block: '040c 2f73 616d 706c 652f 7061 7468', lines: [':path: /sample/path'], tableBytes: 0},
  ],
  'C.2.3, a literal that nobody may keep': [
    {
      block: '1008 7061 7373 776f 7264 0673 6563 7265 74',
      lines: ['password: secret'],
      tableBytes: 0,
    },
  ],
  'C.2.4, an index': [{block: '82', lines: [':method: GET'], tableBytes: 0}],
  'C.3, requests': [
    {
      block: '8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d',
      lines: [':method: GET', ':scheme: http', ':path: /', ':authority: www.example.com'],
      tableBytes: 57,
    },
    {
      block: '8286 84be 5808 6e6f 2d63 6163 6865',
      lines: [
        ...[':method: GET', ':scheme: http', ':path: /', ':authority: www.example.com'],
        'cache-control: no-cache',
      ],
      tableBytes: 110,
    },
    {
      block: '8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65',
      lines: [
        ...[':method: GET', ':scheme: https', ':path: /index.html', ':authority: www.example.com'],
        'custom-key: custom-value',
      ],
      tableBytes: 164,
    },
  ],
  'C.4, requests in the Huffman code': [
    {
      block: '8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff',
      lines: [':method: GET', ':scheme: http', ':path: /', ':authority: www.example.com'],
      tableBytes: 57,
    },
    {
      block: '8286 84be 5886 a8eb 1064 9cbf',
      lines: [
        ...[':method: GET', ':scheme: http', ':path: /', ':authority: www.example.com'],
        'cache-control: no-cache',
      ],
      tableBytes: 110,
    },
    {
      block: '8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf',
      lines: [
        ...[':method: GET', ':scheme: https', ':path: /index.html', ':authority: www.example.com'],
        'custom-key: custom-value',
      ],
      tableBytes: 164,
    },
  ],
  // Their table has 256 bytes, which the first block says here.
  'C.6, responses in the Huffman code, and a table that is full': [
    {
      block: `3fe1 01 4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6
        2d1b ff6e 919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3`,
      lines: [
        ...[':status: 302', 'cache-control: private', 'date: Mon, 21 Oct 2013 20:13:21 GMT'],
        'location: https://www.example.com',
      ],
      tableBytes: 222,
    },
    {
      block: '4883 640e ffc1 c0bf',
      lines: [
        ...[':status: 307', 'cache-control: private', 'date: Mon, 21 Oct 2013 20:13:21 GMT'],
        'location: https://www.example.com',
      ],
      tableBytes: 222,
    },
    {
      block: `88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad
        94e7 821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0
        03ed 4ee5 b106 3d50 07`,
      lines: [
        ...[':status: 200', 'cache-control: private', 'date: Mon, 21 Oct 2013 20:13:22 GMT'],
        ...['location: https://www.example.com', 'content-encoding: gzip'],
        'set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1',
      ],
      tableBytes: 215,
    },
  ],
};

for (const [name, blocks] of Object.entries(examples)) {
  test(`RFC 7541, ${name}: a block is what it says there`, (t) => {
    const decoder = new Decoder(10_000);
    for (const {block, lines, tableBytes} of blocks) {
      t.deepEqual(linesOf(read(decoder, hex(block)).fields), lines);
      t.is(decoder.tableBytes, tableBytes);
    }
  });
}

test('the Huffman code has a code for every byte, and gives it back', (t) => {
  const text = Array.from({length: 256}, (_, byte) => String.fromCharCode(byte)).join('');
  const into = Buffer.alloc(1000);
  const end = encodeHuffman(text, into, 0);
  t.is(end, huffmanLength(text));
  const back = Buffer.alloc(1000);
  t.is(back.toString('latin1', 0, decodeHuffman(into, 0, end, back)), text);
});

for (const [what, block] of Object.entries({
  'EOS in a string': '0001 61 84 ffff ffff',
  'eight bits of padding': '0001 61 82 1fff',
  'padding that is not set': '0001 61 81 18',
  'an index of no field': 'be',
  'the index 0': '80',
  'an integer without an end': 'ff80',
  'an integer that is too large': 'ffff ffff ff7f',
  'a string that is longer than the block': '0005 61',
  'a table that is larger than was said': '3fe2 1f',
  'a change of the table behind a field': '8220',
})) {
  test(`${what} breaks the connection`, (t) => {
    t.throws(() => read(new Decoder(10_000), hex(block)), {instanceOf: HpackError});
  });
}

test('what a block comes to has a limit, and the table is right all the same', (t) => {
  const decoder = new Decoder(10_000);
  const large: Field = {name: 'large', value: 'x'.repeat(2000), indexing: 'indexed'};
  const encoder = new Encoder();
  read(decoder, Buffer.from(encoder.encode([large])));
  const bomb = Buffer.alloc(200_000, encoder.encode([large]));
  const {fields, isTooLarge} = read(decoder, bomb);
  t.true(isTooLarge);
  t.true(fields.length < 6);
  const next: Field = {name: 'a', value: 'b', indexing: 'indexed'};
  t.deepEqual(read(decoder, Buffer.from(encoder.encode([next, large]))).fields, [next, large]);
});

test('a field that is larger than the table changes one that is not empty, and no other', (t) => {
  const decoder = new Decoder(10_000);
  const put = hex('40 0161 0162');
  const isChangedBy = (block: Buffer): boolean => {
    decoder.mark();
    read(decoder, block);
    return decoder.hasChanged;
  };
  t.true(isChangedBy(hex('3f0b')), 'of 42 bytes');
  t.true(isChangedBy(put));
  t.true(isChangedBy(hex('40 0c 616161616161616161616161 0162')), 'it is empty now');
  t.throws(() => read(decoder, hex('be')), {instanceOf: HpackError});
  t.true(isChangedBy(hex('20')), 'there is none');
  t.false(isChangedBy(put), 'gRPC has its fields put there all the same');
  t.throws(() => read(decoder, hex('be')), {instanceOf: HpackError});
});

const text = fc.oneof(
  fc.constantFrom('', 'x', 'content-type', 'cookie', ':path', 'GET', 'x-user', '\u00ff\u0000'),
  fc.string({unit: fc.integer({min: 0, max: 255}).map((byte) => String.fromCharCode(byte))}),
  fc.nat(3500).map((length) => 'y'.repeat(length)),
);
const field: fc.Arbitrary<Field> = fc.record({
  name: text,
  value: text,
  indexing: fc.constantFrom<Field['indexing']>('indexed', 'plain', 'never'),
});

test('what is encoded is decoded to the same fields, with what may be kept of them, whatever the table', (t) => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.array(field, {maxLength: 12}), fc.option(fc.nat(5000))), {
        maxLength: 20,
      }),
      (blocks) => {
        const [encoder, decoder] = [new Encoder(), new Decoder(1_000_000)];
        for (const [fields, limit] of blocks) {
          if (limit !== null) encoder.limitTable(limit);
          const found = read(decoder, Buffer.from(encoder.encode(fields))).fields;
          t.deepEqual(linesOf(found), linesOf(fields));
          for (const [at, {indexing}] of fields.entries())
            t.is(found[at]?.indexing === 'never', indexing === 'never');
        }
      },
    ),
    {numRuns: 300},
  );
});

test('while the generation is the same, a block is encoded to the same bytes', (t) => {
  fc.assert(
    fc.property(fc.array(fc.array(field, {maxLength: 6}), {maxLength: 20}), (blocks) => {
      const encoder = new Encoder();
      for (const fields of blocks) {
        const before = encoder.generation;
        const first = Buffer.from(encoder.encode(fields));
        if (encoder.generation === before) t.deepEqual(Buffer.from(encoder.encode(fields)), first);
      }
    }),
  );
});

test('no block makes the decoder do anything but decode it, or refuse it', (t) => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({maxLength: 60}), {maxLength: 10}), (blocks) => {
      const decoder = new Decoder(1000);
      try {
        for (const block of blocks) decoder.decode(block, 0, block.length);
      } catch (error) {
        t.true(error instanceof HpackError);
      }
      t.true(decoder.tableBytes <= 4096);
    }),
    {numRuns: 2000},
  );
});
