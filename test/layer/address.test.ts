import {isIPv4} from 'node:net';
import test from 'ava';
import fc from 'fast-check';
import {addressBytes} from '../../layer/address.ts';

test('an IPv4 address has four bytes', (t) => {
  t.deepEqual([...addressBytes('10.244.0.255')], [10, 244, 0, 255]);
});

test('zeros of an IPv6 address may be left out anywhere', (t) => {
  t.deepEqual([...addressBytes('::1')], [...Array(15).fill(0), 1]);
  t.deepEqual(
    [...addressBytes('fd00:10:244::3')],
    [0xfd, 0, 0, 0x10, 2, 0x44, ...Array(9).fill(0), 3],
  );
  t.deepEqual([...addressBytes('::')], Array(16).fill(0));
  t.deepEqual([...addressBytes('::ffff:10.0.0.1')].slice(10), [0xff, 0xff, 10, 0, 0, 1]);
});

test('every address comes back from its text', (t) => {
  fc.assert(
    fc.property(fc.oneof(fc.ipV4(), fc.ipV6()), (text) => {
      const bytes = addressBytes(text);
      if (isIPv4(text)) return bytes.join('.') === text;
      const groups = Array.from({length: 8}, (_, i) =>
        (((bytes[2 * i] ?? 0) << 8) | (bytes[2 * i + 1] ?? 0)).toString(16),
      );
      return (
        new URL(`http://[${groups.join(':')}]`).hostname === new URL(`http://[${text}]`).hostname
      );
    }),
  );
  t.pass();
});
