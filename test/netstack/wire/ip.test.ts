import {createRequire} from 'node:module';
import test from 'ava';
import fc from 'fast-check';
import {createIpHeader, createPath} from '../../../netstack/wire/ip.ts';
import {emitIp, parseIp} from '../../../netstack/wire/ip-packet.ts';
import {octets} from '../../../netstack/wire/octets.ts';
import {concat, ip, ipHeader, ipText} from '../../helpers/packet.ts';

interface Oracle {
  encode(state: {buffer: Uint8Array; start: number; end: number}, packet: object): void;
  decode(state: {buffer: Uint8Array; start: number; end: number}): Record<string, unknown>;
  checksum(packet: Uint8Array): number;
}
/** npm's ip-packet: an IPv4 encoder that shares nothing with ours. */
const oracle: Oracle = createRequire(import.meta.url)('ip-packet');

const address4 = fc.uint8Array({minLength: 4, maxLength: 4});
const address6 = fc.uint8Array({minLength: 16, maxLength: 16});

function emit(protocol: number, from: Uint8Array, to: Uint8Array, length: number): Uint8Array {
  const size = from.length === 4 ? 20 : 40;
  const bytes = new Uint8Array(size + length).fill(0xa5);
  const at = emitIp(octets(bytes), createPath(protocol, from, to), length, 0);
  if (at !== size) {
    throw new Error(`the payload begins at ${at}`);
  }
  return bytes;
}

function parse(bytes: Uint8Array) {
  const header = createIpHeader();
  header.end = bytes.length;
  return {verdict: parseIp(octets(bytes), header), header};
}

test('an IPv4 header is written in full', (t) => {
  t.deepEqual(
    Buffer.from(emit(6, ip('192.0.2.7'), ip('10.1.2.3'), 4)).toString('hex'),
    '450000180000400040066cd5c00002070a010203a5a5a5a5',
  );
});

test('an IPv6 header is written in full', (t) => {
  t.deepEqual(
    Buffer.from(emit(17, ip('2001:db8::7'), ip('fd00::3'), 2)).toString('hex'),
    '600000000002' +
      '1140' +
      '20010db8000000000000000000000007' +
      'fd000000000000000000000000000003' +
      'a5a5',
  );
});

test('ip-packet reads what we write, and agrees on the checksum', (t) => {
  fc.assert(
    fc.property(address4, address4, fc.nat(255), fc.nat(500), (from, to, protocol, length) => {
      const bytes = Buffer.from(emit(protocol, from, to, length));
      const read = oracle.decode({buffer: bytes, start: 0, end: bytes.length});
      t.is(read['sourceIp'], ipText(from));
      t.is(read['destinationIp'], ipText(to));
      t.is(read['protocol'], protocol);
      t.is(read['length'], 20 + length);
      t.is(read['flags'], 2);
      t.is(read['checksum'], oracle.checksum(Buffer.from(bytes)));
    }),
    {numRuns: 200},
  );
});

test('we read what ip-packet writes', (t) => {
  fc.assert(
    fc.property(
      address4,
      address4,
      fc.nat(255),
      fc.uint8Array({maxLength: 100}),
      fc.record({identification: fc.nat(65_535), flags: fc.nat(1), fragmentOffset: fc.nat(8_191)}),
      (from, to, protocol, data, fragment) => {
        const buffer = Buffer.alloc(20 + data.length, 0xa5);
        const state = {buffer, start: 0, end: buffer.length};
        const addresses = {sourceIp: ipText(from), destinationIp: ipText(to)};
        oracle.encode(state, {
          version: 4,
          ...addresses,
          protocol,
          ...fragment,
          ttl: 1,
          data: Buffer.from(data),
        });
        oracle.checksum(buffer);
        const {verdict, header} = parse(buffer);
        t.is(verdict, 'ok');
        t.is(header.protocol, protocol);
        t.is(header.payloadLength, data.length);
        t.is(header.fragmentId, fragment.identification);
        t.is(header.fragmentOffset, fragment.fragmentOffset * 8);
        t.is(header.moreFragments, fragment.flags === 1);
        t.deepEqual(new Uint8Array(buffer.subarray(header.sourceAt, header.sourceAt + 4)), from);
        t.deepEqual(
          new Uint8Array(buffer.subarray(header.destinationAt, header.destinationAt + 4)),
          to,
        );
      },
    ),
    {numRuns: 200},
  );
});

test('what is written can be read, in IPv6 too', (t) => {
  fc.assert(
    fc.property(
      address6,
      address6,
      fc.constantFrom(6, 17, 58),
      fc.nat(500),
      (from, to, protocol, length) => {
        const bytes = emit(protocol, from, to, length);
        const {verdict, header} = parse(bytes);
        t.is(verdict, 'ok');
        t.is(header.version, 6);
        t.is(header.protocol, protocol);
        t.is(header.payloadAt, 40);
        t.is(header.payloadLength, length);
        t.deepEqual(bytes.slice(header.sourceAt, header.sourceAt + 16), from);
        t.deepEqual(bytes.slice(header.destinationAt, header.destinationAt + 16), to);
      },
    ),
    {numRuns: 200},
  );
});

test('no input makes the parser throw, or find a payload outside of the packet', (t) => {
  fc.assert(
    fc.property(
      fc.constantFrom(0x45, 0x46, 0x4f, 0x60),
      fc.uint8Array({maxLength: 120}),
      (first, rest) => {
        const bytes = concat(Uint8Array.of(first), rest);
        const {verdict, header} = parse(bytes);
        if (verdict === 'ok') {
          t.true(header.payloadAt >= 20 && header.payloadLength >= 0);
          t.true(header.payloadAt + header.payloadLength <= bytes.length);
        }
      },
    ),
    {numRuns: 5_000},
  );
  t.pass();
});

const v4 = {
  source: ip('10.1.2.3'),
  destination: ip('192.0.2.7'),
  protocol: 6,
  transport: new Uint8Array(8),
};

/** Changes one byte of a good IPv4 packet and mends the checksum. */
function broken(at: number, value: number): Uint8Array {
  const bytes = concat(ipHeader(v4), v4.transport);
  bytes[at] = value;
  oracle.checksum(Buffer.from(bytes.buffer, 0, 20));
  return bytes;
}

for (const [what, bytes, expected] of [
  ['version 5', broken(0, 0x55), 'malformed'],
  ['a header of 16 bytes', broken(0, 0x44), 'malformed'],
  ['a header longer than the packet', broken(0, 0x4f), 'malformed'],
  ['a total length above what is there', broken(3, 29), 'malformed'],
  ['a total length below the header', broken(3, 19), 'malformed'],
  ['nothing', new Uint8Array(0), 'malformed'],
  ['nineteen bytes', broken(0, 0x45).subarray(0, 19), 'malformed'],
] as const) {
  test(`an IPv4 packet with ${what} is ${expected}`, (t) => {
    t.is(parse(bytes).verdict, expected);
  });
}

test('an IPv4 packet with a wrong header checksum is told apart', (t) => {
  const bytes = concat(ipHeader(v4), v4.transport);
  bytes[8] = 1;
  t.is(parse(bytes).verdict, 'checksum');
});

test('IPv4 options are skipped, and bytes after the total length ignored', (t) => {
  const bytes = concat(ipHeader(v4), Uint8Array.of(1, 1, 1, 0), v4.transport, Uint8Array.of(9, 9));
  bytes[0] = 0x46;
  bytes[3] = 32;
  const view = new DataView(bytes.buffer);
  view.setUint16(10, 0);
  let sum = 0;
  for (let at = 0; at < 24; at += 2) {
    sum += view.getUint16(at);
  }
  view.setUint16(10, ~((sum & 0xffff) + (sum >> 16)) & 0xffff);
  const {verdict, header} = parse(bytes);
  t.is(verdict, 'ok');
  t.is(header.payloadAt, 24);
  t.is(header.payloadLength, 8);
});

/** An IPv6 packet with this chain of headers: [type, bytes] … and what the last one is. */
function chain(headers: Array<[number, number[]]>, last: number, payload = 8): Uint8Array {
  const parts: number[] = [];
  headers.forEach(([, bytes], index) => {
    parts.push(headers[index + 1]?.[0] ?? last, ...bytes);
  });
  const transport = Uint8Array.from([...parts, ...new Array(payload).fill(0)]);
  const base = {source: ip('fd00::3'), destination: ip('2001:db8::7'), transport};
  return concat(ipHeader({...base, protocol: headers[0]?.[0] ?? last}), transport);
}

const OPTIONS = [0, 1, 4, 0, 0, 0, 0];

test('IPv6 extension headers are walked', (t) => {
  const bytes = chain(
    [
      [0, OPTIONS],
      [60, [1, 1, 12, ...new Array(12).fill(0)]],
      [43, [0, 2, 0, 0, 0, 0, 0]],
      [51, [1, 0, 0, ...new Array(8).fill(0)]],
    ],
    17,
  );
  const {verdict, header} = parse(bytes);
  t.is(verdict, 'ok');
  t.is(header.protocol, 17);
  t.is(header.payloadAt, 40 + 8 + 16 + 8 + 12);
  t.is(header.payloadLength, 8);
});

test('an IPv6 fragment ends the walk, an atomic one does not', (t) => {
  const fragment = parse(chain([[44, [0, 0x05, 0xd1, 1, 2, 3, 4]]], 17)).header;
  t.true(fragment.isFragment);
  t.true(fragment.moreFragments);
  t.is(fragment.fragmentOffset, 0x5d0);
  t.is(fragment.fragmentId, 0x01020304);
  t.is(fragment.protocol, 17);
  const atomic = parse(
    chain(
      [
        [44, [0, 0, 0, 1, 2, 3, 4]],
        [60, OPTIONS],
      ],
      6,
    ),
  );
  t.is(atomic.verdict, 'ok');
  t.false(atomic.header.isFragment);
  t.is(atomic.header.protocol, 6);
});

for (const [what, bytes, verdict, pointer] of [
  ['an unknown next header', chain([], 200), 'unknown-header', 6],
  ['an unknown header after an extension', chain([[60, OPTIONS]], 200), 'unknown-header', 40],
  [
    'hop-by-hop options out of place',
    chain(
      [
        [60, OPTIONS],
        [0, OPTIONS],
      ],
      17,
    ),
    'unknown-header',
    40,
  ],
  ['routing type 0 with segments left', chain([[43, [0, 0, 1, 0, 0, 0, 0]]], 17), 'bad-header', 42],
  ['no next header', chain([], 59), 'malformed', 6],
  ['nine extension headers', chain(new Array(9).fill([60, OPTIONS]), 17), 'malformed', undefined],
  [
    'an extension beyond the end',
    chain([[60, [200, ...OPTIONS.slice(1)]]], 17),
    'malformed',
    undefined,
  ],
  ['a payload length beyond the end', chain([], 17).subarray(0, 44), 'malformed', undefined],
] as Array<[string, Uint8Array, string, number | undefined]>) {
  test(`an IPv6 packet with ${what} is ${verdict}`, (t) => {
    const {verdict: actual, header} = parse(bytes);
    t.is(actual, verdict as typeof actual);
    if (pointer !== undefined) {
      t.is(header.pointer, pointer);
    }
  });
}
