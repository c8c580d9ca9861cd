/** What the kernel copies, by running the filter's program as it does. */

import test from 'ava';
import {
  captureFilter,
  MOST_EXCLUDED,
  MOST_PORTS,
} from '../../../../agent/intercept/capture/filter.ts';
import {ACK, FIN, RST, SYN} from '../../../../agent/intercept/capture/segment.ts';
import {PASS_MARK} from '../../../../agent/intercept/rules.ts';

const OUTGOING = 4;
const ETHERNET = 1;
const LOOPBACK = 772;

/** A packet, and what the kernel knows of it. */
interface Packet {
  readonly bytes: Uint8Array;
  readonly protocol: number;
  readonly type?: number;
  readonly mark?: number;
  /** The kind of interface. */
  readonly hardware?: number;
}

/** Runs a program of the instructions that there are in it; returns whether the packet is copied. */
function isCopied(program: Uint8Array, packet: Packet): boolean {
  const {bytes, protocol, type = 0, mark = 0, hardware = ETHERNET} = packet;
  const code = new DataView(program.buffer);
  const data = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const known = new Map([
    [0xffff_f000, protocol],
    [0xffff_f004, type],
    [0xffff_f014, mark],
    [0xffff_f01c, hardware],
  ]);
  let [a, x, kept] = [0, 0, 0];
  for (let at = 0; at < program.length / 8; at++) {
    const [yes = 0, no = 0] = program.subarray(8 * at + 2, 8 * at + 4);
    const k = code.getUint32(8 * at + 4, true);
    const operation = code.getUint16(8 * at, true);
    if (operation === 0x20) a = known.get(k) ?? data.getUint32(k);
    else if (operation === 0x28) a = data.getUint16(k);
    else if (operation === 0x30) a = data.getUint8(k);
    else if (operation === 0x40) a = data.getUint32(x + k);
    else if (operation === 0x48) a = data.getUint16(x + k);
    else if (operation === 0x50) a = data.getUint8(x + k);
    else if (operation === 0x60) a = kept;
    else if (operation === 0x02) kept = a;
    else if (operation === 0x01) x = k;
    else if (operation === 0xb1) x = 4 * (data.getUint8(k) & 15);
    else if (operation === 0x05) at += k;
    else if (operation === 0x15) at += a === k ? yes : no;
    else if (operation === 0x45) at += (a & k) === 0 ? no : yes;
    else if (operation === 0x06) return k > 0;
    else throw new Error(`no such instruction: ${operation}`);
  }
  throw new Error('no end');
}

interface Wire {
  readonly from?: number;
  readonly to?: number;
  readonly flags?: number;
  readonly options?: number;
  readonly client?: number;
}

function four({from = 5_000, to = 80, flags = ACK, options = 0, client = 1}: Wire): Packet {
  const bytes = new Uint8Array(40 + 4 * options);
  bytes.set([0x45 + options, 0, 0, bytes.length, 0, 0, 0x40, 0, 64, 6]);
  bytes.set([10, 0, 0, client], 12);
  const view = new DataView(bytes.buffer);
  view.setUint16(20 + 4 * options, from);
  view.setUint16(22 + 4 * options, to);
  bytes[33 + 4 * options] = flags;
  return {bytes, protocol: 0x0800};
}

function six({from = 5_000, to = 80, flags = ACK, options = 0, client = 1}: Wire): Packet {
  const bytes = new Uint8Array(60 + 8 * options);
  bytes.set([0x60, 0, 0, 0, 0, 0, options > 0 ? 0 : 6]);
  bytes[40] = 6;
  bytes[23] = client;
  const view = new DataView(bytes.buffer);
  view.setUint16(40 + 8 * options, from);
  view.setUint16(42 + 8 * options, to);
  bytes[53 + 8 * options] = flags;
  return {bytes, protocol: 0x86dd};
}

for (const [family, packet] of [
  ['IPv4', four],
  ['IPv6', six],
] as const) {
  test(`${family}: what comes to the ports, and resets that go from them, once`, (t) => {
    const program = captureFilter([80, 443]);
    const copied = (wire: Wire, known: Partial<Packet> = {}): boolean =>
      isCopied(program, {...packet(wire), ...known});
    t.true(copied({}));
    t.true(copied({to: 443}));
    t.true(copied({flags: SYN, options: 1}), 'behind options');
    t.false(copied({to: 81}));
    t.false(copied({from: 80, to: 81}));
    t.false(copied({}, {type: OUTGOING}), 'on lo it is seen again');
    t.false(copied({}, {type: 3}), 'somebody else’s');
    t.true(copied({from: 80, to: 9, flags: RST}, {type: OUTGOING}));
    t.false(copied({from: 80, to: 9, flags: ACK}, {type: OUTGOING}));
    t.false(copied({from: 81, to: 80, flags: RST}, {type: OUTGOING}));
    t.false(copied({}, {mark: PASS_MARK}));
    t.false(copied({}, {protocol: 0x0806}));
    const udp = packet({});
    udp.bytes[family === 'IPv4' ? 9 : 6] = 17;
    t.false(isCopied(program, udp));
  });

  test(`${family}: of a client that is left out only what ends it or begins another`, (t) => {
    const end = (port: number, client: number) => ({
      address: family === 'IPv4' ? Uint8Array.of(10, 0, 0, client) : sixteen(client),
      port,
    });
    const excluded = Array.from({length: MOST_EXCLUDED}, (_, at) => ({
      peer: end(5_000 + at, 1),
      local: end(80, 2),
    }));
    const ports = Array.from({length: MOST_PORTS}, (_, at) => at + 1);
    const program = captureFilter(ports, {excluded, leftOut: ports.slice(100)});
    t.true(program.length / 8 <= 4_096, 'the kernel takes no more');
    const copied = (wire: Wire): boolean => isCopied(program, packet(wire));
    for (const from of [5_000, 5_000 + MOST_EXCLUDED - 1]) {
      t.false(copied({from}));
      for (const flags of [SYN, FIN | ACK, RST]) t.true(copied({from, flags}));
      t.true(copied({from, client: 2}));
      t.true(copied({from, to: 81}));
    }
    t.false(copied({from: 4_999, to: MOST_PORTS}), 'left out');
    t.true(copied({from: 4_999, to: 2}));
    t.true(isCopied(program, {...packet({to: MOST_PORTS}), hardware: LOOPBACK}));
    t.false(copied({from: 4_999, to: MOST_PORTS + 1}));
  });

  test(`${family}: to a port that is left out nothing from outside but a SYN`, (t) => {
    const program = captureFilter([80, 443], {leftOut: [80]});
    const copied = (wire: Wire, known: Partial<Packet> = {}): boolean =>
      isCopied(program, {...packet(wire), ...known});
    t.false(copied({}));
    t.false(copied({flags: FIN | ACK}));
    t.true(copied({flags: SYN, options: 1}));
    t.true(copied({}, {hardware: LOOPBACK}));
    t.true(copied({to: 443}));
    t.false(copied({to: 81}, {hardware: LOOPBACK}));
    t.true(copied({from: 80, to: 9, flags: RST}, {type: OUTGOING}));
  });
}

function sixteen(last: number): Uint8Array {
  const bytes = new Uint8Array(16);
  bytes[15] = last;
  return bytes;
}

test('a fragment is left out', (t) => {
  const program = captureFilter([80]);
  const {bytes, protocol} = four({});
  bytes.set([0x20, 1], 6);
  t.false(isCopied(program, {bytes, protocol}));
});
