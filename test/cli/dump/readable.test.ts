import test from 'ava';
import fc from 'fast-check';
import {hexDump, readable, textOf} from '../../../cli/dump/readable.ts';

const bytes = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, 'latin1'));

test('text is shown as it is, in whole lines', (t) => {
  t.is(readable(Buffer.from('grüße\n')), 'grüße\n');
  t.is(readable(Buffer.from('{"no": "line feed"}')), '{"no": "line feed"}\n');
});

test('a character that is cut off is escaped, and the rest is text', (t) => {
  const whole = Buffer.from('€ and €');
  t.is(readable(whole.subarray(1, -1)), '\\x82\\xac and \\xe2\\x82\n');
});

test('the head of an HTTP message is text whatever its body is', (t) => {
  const message = Buffer.concat([Buffer.from('POST / HTTP/1.1\r\n\r\n'), bytes('\x1f\x8b\x00')]);
  t.is(readable(message), `POST / HTTP/1.1\r\n\r\n00000000  1f 8b 00${' '.repeat(42)}|...|\n`);
});

test('nothing that commands a terminal, or turns its text round, is taken for text', (t) => {
  for (const text of ['\u001b[2J', '\u009b2J', 'a\u202eb', 'a\bb', '\u007f']) {
    t.is(textOf(Buffer.from(text)), undefined, JSON.stringify(text));
  }
  fc.assert(
    fc.property(fc.uint8Array({maxLength: 64}), (any) => {
      // biome-ignore lint/suspicious/noControlCharactersInRegex: it is what must not be there
      return !/[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]/.test(readable(any));
    }),
  );
});

test('anything else is as hexdump -C has it', (t) => {
  const all = Uint8Array.from({length: 34}, (_, at) => 0x10 + 3 * at);
  t.is(
    hexDump(all, 0xfff0),
    `0000fff0  10 13 16 19 1c 1f 22 25  28 2b 2e 31 34 37 3a 3d  |......"%(+.147:=|
00010000  40 43 46 49 4c 4f 52 55  58 5b 5e 61 64 67 6a 6d  |@CFILORUX[^adgjm|
00010010  70 73                                             |ps|
`,
  );
});
