import test from 'ava';
import fc from 'fast-check';
import {checksum, fold, sumAddress, sumWords} from '../../../netstack/wire/checksum.ts';
import {createIcmpHeader, emitIcmp, isIcmpError, parseIcmp} from '../../../netstack/wire/icmp.ts';
import {octets} from '../../../netstack/wire/octets.ts';
import {
  createTcpHeader,
  emitSynOptions,
  emitTcp,
  parseSynOptions,
  parseTcp,
} from '../../../netstack/wire/tcp.ts';
import {createUdpHeader, emitUdp, parseUdp} from '../../../netstack/wire/udp.ts';
import {createVirtio, emitVirtio, parseVirtio} from '../../../netstack/wire/virtio.ts';
import {concat, checksum as naive} from '../../helpers/packet.ts';

const u8 = fc.nat(0xff);
const u16 = fc.nat(0xffff);
const u32 = fc.nat(0xffffffff);

/** A buffer whose unwritten bytes show. */
function blank(length: number) {
  return octets(new Uint8Array(length).fill(0xa5));
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}

test('the checksum agrees with a naive one', (t) => {
  fc.assert(
    fc.property(fc.uint8Array({maxLength: 300}), (bytes) => {
      t.is(checksum(sumWords(octets(bytes), 0, bytes.length)), naive(bytes));
    }),
  );
  const longest = new Uint8Array(65_535).fill(0xff);
  t.is(checksum(sumWords(octets(longest), 0, longest.length)), naive(longest));
});

test('the checksum of RFC 1071, section 3', (t) => {
  const bytes = Uint8Array.of(0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7);
  t.is(fold(sumWords(octets(bytes), 0, 8)), 0xddf2);
  t.is(fold(sumAddress(bytes)), 0xddf2);
});

test('a virtio header is little-endian', (t) => {
  const target = blank(12);
  const header = {
    flags: 1,
    gsoType: 4,
    headerLength: 60,
    gsoSize: 1440,
    csumStart: 40,
    csumOffset: 16,
  };
  emitVirtio(target, 1, header);
  t.is(hex(target.bytes), 'a5' + '0104' + '3c00' + 'a005' + '2800' + '1000' + 'a5');
  const read = createVirtio();
  parseVirtio(target, 1, read);
  t.deepEqual(read, header);
});

test('a TCP header is written in full', (t) => {
  const target = blank(22);
  emitTcp(target, 1, {
    sourcePort: 80,
    destinationPort: 40_000,
    seq: 0xfffffffe,
    ack: 0x01020304,
    flags: 0x18,
    window: 8_192,
    headerLength: 20,
  });
  t.is(hex(target.bytes), `a5${'0050'}9c40fffffffe01020304501820000000${'0000'}a5`);
});

test('TCP: emit and parse are inverse', (t) => {
  const header = fc.record({
    sourcePort: u16,
    destinationPort: u16,
    seq: u32,
    ack: u32,
    flags: u8,
    window: u16,
    headerLength: fc.integer({min: 5, max: 15}).map((words) => words * 4),
  });
  fc.assert(
    fc.property(header, (expected) => {
      const target = blank(60);
      emitTcp(target, 0, expected);
      const read = createTcpHeader();
      t.true(parseTcp(target, 0, 60, read));
      t.deepEqual(read, expected);
    }),
  );
});

for (const [what, first, length] of [
  ['nineteen bytes', 0x50, 19],
  ['a data offset of 4', 0x40, 20],
  ['a data offset beyond the segment', 0xf0, 59],
] as const) {
  test(`TCP: ${what} is no header`, (t) => {
    const target = blank(60);
    target.bytes[12] = first;
    t.false(parseTcp(target, 0, length, createTcpHeader()));
  });
}

test('TCP options: emit and parse are inverse', (t) => {
  const options = fc.record({
    mss: fc.option(u16, {nil: undefined}),
    windowScale: fc.option(fc.nat(14), {nil: undefined}),
  });
  fc.assert(
    fc.property(options, (expected) => {
      const target = blank(8);
      const length = emitSynOptions(target, 0, expected);
      t.is(length % 4, 0);
      t.deepEqual(parseSynOptions(target, 0, length), expected);
    }),
  );
});

test('TCP options: no bytes throw or loop', (t) => {
  fc.assert(
    fc.property(fc.uint8Array({maxLength: 40}), (bytes) => {
      const {windowScale = 0} = parseSynOptions(octets(bytes), 0, bytes.length);
      t.true(windowScale <= 14);
    }),
    {numRuns: 2_000},
  );
  t.pass();
});

test('UDP: emit and parse are inverse', (t) => {
  const header = fc.record({
    sourcePort: u16,
    destinationPort: u16,
    length: fc.integer({min: 8, max: 100}),
    checksum: u16,
  });
  fc.assert(
    fc.property(header, (expected) => {
      const target = blank(100);
      emitUdp(target, 0, expected);
      const read = createUdpHeader();
      t.true(parseUdp(target, 0, 100, read));
      t.deepEqual(read, expected);
    }),
  );
});

test('UDP: a length below eight or beyond the packet is refused', (t) => {
  const read = createUdpHeader();
  for (const [length, size, expected] of [
    [7, 20, false],
    [8, 8, true],
    [21, 20, false],
    [20, 20, true],
  ] as const) {
    const target = blank(20);
    emitUdp(target, 0, {sourcePort: 1, destinationPort: 2, length, checksum: 0});
    t.is(parseUdp(target, 0, size, read), expected);
  }
  t.false(parseUdp(blank(7), 0, 7, read));
});

test('ICMP: emit and parse are inverse', (t) => {
  fc.assert(
    fc.property(fc.record({type: u8, code: u8, rest: u32}), (expected) => {
      const target = blank(8);
      emitIcmp(target, 0, expected);
      const read = createIcmpHeader();
      t.true(parseIcmp(target, 0, 8, read));
      t.deepEqual(read, expected);
      t.is(hex(target.bytes.subarray(2, 4)), '0000');
    }),
  );
  t.false(parseIcmp(blank(7), 0, 7, createIcmpHeader()));
});

test('ICMP: which types are errors', (t) => {
  const v4 = [0, 3, 4, 5, 8, 11, 12, 13].filter((type) => isIcmpError(4, type));
  t.deepEqual(v4, [3, 4, 5, 11, 12]);
  t.deepEqual(
    [1, 2, 3, 4, 127, 128, 129].filter((type) => isIcmpError(6, type)),
    [1, 2, 3, 4, 127],
  );
});

test('an odd length counts the last byte as the high half', (t) => {
  const bytes = concat(Uint8Array.of(9), Uint8Array.of(0x12, 0x34, 0x56));
  t.is(sumWords(octets(bytes), 1, 3), 0x1234 + 0x5600);
});
