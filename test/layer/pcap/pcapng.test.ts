import test from 'ava';
import {
  commentLimit,
  emitInterface,
  emitPacket,
  emitSectionHeader,
  emitStatistics,
  packetDataOffset,
  packetOverhead,
} from '../../../layer/pcap/pcapng.ts';
import {octets} from '../../../netstack/wire/octets.ts';

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}

/** A time whose upper word isn't zero, and its two words. */
const timeUs = 0x0006_5432_1234_5678;
const timeWords = '32540600' + '78563412';

test('a section header tells the byte order, the version, and who wrote the file', (t) => {
  const bytes = emitSectionHeader();
  const length = '38000000';
  t.is(
    hex(bytes),
    `0a0d0d0a${length}4d3c2b1a01000000ffffffffffffffff` +
      `03000500${Buffer.from('Linux\0\0\0').toString('hex')}` +
      `04000700${Buffer.from('mirrord\0').toString('hex')}00000000${length}`,
  );
});

test('an interface has raw IP packets, no limit of length, and microseconds', (t) => {
  const length = '30000000';
  t.is(
    hex(emitInterface('eth0', 'abc')),
    `01000000${length}6500000000000000` +
      `0200040065746830` +
      `0300030061626300` +
      `0900010006000000` +
      `00000000${length}`,
  );
});

/** The block of a packet in the midst of a buffer, all of which is as it was otherwise. */
function packetBlock(data: Uint8Array, comment?: string, isOutbound = true): string {
  const into = octets(new Uint8Array(200).fill(0xa5));
  into.bytes.set(data, 8 + packetDataOffset);
  const length = emitPacket(into, 8, {timeUs, length: data.length, isOutbound, comment});
  const rest = [...into.bytes.subarray(0, 8), ...into.bytes.subarray(8 + length)];
  if (rest.some((byte) => byte !== 0xa5)) throw new Error('written elsewhere');
  return hex(into.bytes.subarray(8, 8 + length));
}

test('a packet has its time, its data, padded, and its direction', (t) => {
  const length = '34000000';
  const head = `06000000${length}00000000${timeWords}0500000005000000`;
  const data = '45000000' + '01000000';
  const [outbound, inbound] = ['0200040002000000', '0200040001000000'];
  const packet = Uint8Array.of(0x45, 0, 0, 0, 1);
  t.is(packetBlock(packet), `${head}${data}${outbound}00000000${length}`);
  t.is(packetBlock(packet, undefined, false), `${head}${data}${inbound}00000000${length}`);
});

test('a packet may have a comment', (t) => {
  const text = packetBlock(Uint8Array.of(1, 2, 3, 4), 'curl (4711)');
  const option = `01000b00${Buffer.from('curl (4711)\0').toString('hex')}`;
  t.true(text.includes(`0200040002000000${option}00000000`), text);
});

test('no packet takes more room than was said', (t) => {
  const comment = 'x'.repeat(2 * commentLimit);
  for (let length = 1; length < 9; length++) {
    const into = octets(new Uint8Array(length + packetOverhead));
    const total = emitPacket(into, 0, {timeUs, length, isOutbound: true, comment});
    t.true(total <= length + packetOverhead);
    t.is(total % 4, 0);
    t.is(into.view.getUint32(total - 4, true), total);
  }
});

test('the statistics tell how many packets there were, and how many are missing', (t) => {
  const length = '4c000000';
  t.is(
    hex(emitStatistics({startUs: timeUs, endUs: timeUs, received: 258, dropped: 3})),
    `05000000${length}00000000${timeWords}` +
      `02000800${timeWords}` +
      `03000800${timeWords}` +
      `040008000201000000000000` +
      `050008000300000000000000` +
      `00000000${length}`,
  );
});
