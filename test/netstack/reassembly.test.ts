import test from 'ava';
import fc from 'fast-check';
import {Rig, type RigOptions, stream} from '../helpers/netstack.ts';
import {checksum, concat, ipHeader, udp} from '../helpers/packet.ts';

interface Fragment {
  readonly offset: number;
  readonly more: boolean;
  readonly data: Uint8Array;
}

class FragmentRig extends Rig {
  readonly datagrams: number[] = [];
  isIntact = true;

  constructor(options: RigOptions = {}) {
    super({
      ...options,
      onUdp: (flow) => {
        flow.handler = {
          onDatagram: (_to, payload) => {
            this.datagrams.push(payload.length);
            this.isIntact &&= Buffer.compare(payload, stream(0, payload.length)) === 0;
          },
          onClose: () => {},
        };
      },
    });
  }

  /** Cuts a datagram of `length` bytes as a kernel does, `size` bytes (a multiple of 8) a piece. */
  cut(length: number, size: number): Fragment[] {
    const whole = udp([this.source, 5000], [this.destination, 7], stream(0, length));
    const fragments: Fragment[] = [];
    for (let offset = 0; offset < whole.length; offset += size) {
      const data = whole.slice(offset, offset + size);
      fragments.push({offset, more: offset + size < whole.length, data});
    }
    return fragments;
  }

  fragment({offset, more, data}: Fragment, id = 1, protocol = 17): void {
    const {source, destination} = this;
    const base = {source, destination};
    if (source.length === 4) {
      const head = ipHeader(
        {...base, protocol: 17, transport: data},
        {fragment: (more ? 0x2000 : 0) | (offset / 8), id},
      );
      this.inject(concat(new Uint8Array(10), head, data));
      return;
    }
    const extension = Uint8Array.of(
      protocol,
      0,
      offset >> 8,
      (offset & 0xff) | (more ? 1 : 0),
      0,
      0,
      0,
      id,
    );
    const transport = concat(extension, data);
    this.inject(
      concat(new Uint8Array(10), ipHeader({...base, protocol: 44, transport}), transport),
    );
  }
}

for (const version of [4, 6] as const) {
  const step = version === 4 ? 1480 : 1448;

  test(`a datagram is put together of its fragments (IPv${version})`, (t) => {
    const rig = new FragmentRig({version});
    for (const length of [1_473, 9_000, version === 4 ? 65_507 : 65_527]) {
      for (const fragment of rig.cut(length, step)) {
        t.is(rig.datagrams.length, 0);
        rig.fragment(fragment);
      }
      t.deepEqual(rig.datagrams.splice(0), [length]);
      t.true(rig.isIntact);
    }
    t.is(rig.stack.counters.reassembled, 3);
    rig.advance(300_000);
    t.is(rig.stack.pollAt(), undefined);
  });

  test(`fragments may come in any order, and more than once (IPv${version})`, (t) => {
    fc.assert(
      fc.property(
        fc.integer({min: 1, max: 12_000}),
        fc.integer({min: 0, max: 2 ** 31}),
        (length, seed) => {
          const rig = new FragmentRig({version});
          const fragments = rig.cut(length, step);
          const last = fragments.length - 1;
          const order = [...fragments.keys()].sort(
            (a, b) => (((a + 1) * seed) % 97) - (((b + 1) * seed) % 97),
          );
          for (const index of order.slice(0, last)) {
            const fragment = fragments[index];
            if (fragment !== undefined) {
              rig.fragment(fragment);
              rig.fragment(fragment);
            }
          }
          t.is(rig.datagrams.length, 0);
          const final = fragments[order[last] ?? 0];
          if (final !== undefined) {
            rig.fragment(final);
          }
          t.deepEqual(rig.datagrams, [length]);
          t.true(rig.isIntact);
        },
      ),
      {numRuns: 50},
    );
  });

  test(`an overlap spoils the packet (IPv${version})`, (t) => {
    const rig = new FragmentRig({version});
    const [first, second] = rig.cut(2_000, step);
    if (first === undefined || second === undefined) {
      t.fail();
      return;
    }
    rig.fragment(first);
    rig.fragment({offset: step - 8, more: true, data: new Uint8Array(16)});
    t.is(rig.stack.counters.reassemblyFailed, 1);
    rig.fragment(second);
    t.deepEqual(rig.datagrams, []);
    rig.advance(30_000);
    t.is(rig.stack.pollAt(), undefined);
  });

  test(`a packet that lacks a fragment is forgotten after 30 s (IPv${version})`, (t) => {
    const rig = new FragmentRig({version});
    const [first, second] = rig.cut(2_000, step);
    if (first === undefined || second === undefined) {
      t.fail();
      return;
    }
    rig.fragment(first);
    rig.advance(29_999);
    t.is(rig.stack.counters.reassemblyFailed, 0);
    rig.advance(1);
    t.is(rig.stack.counters.reassemblyFailed, 1);
    t.is(rig.stack.pollAt(), undefined);
    rig.fragment(second);
    t.deepEqual(rig.datagrams, []);
  });
}

test('packets of different identification are kept apart', (t) => {
  const rig = new FragmentRig();
  const a = rig.cut(3_000, 1480);
  const b = rig.cut(2_500, 1480);
  for (const index of [0, 1, 2]) {
    for (const [id, fragments] of [
      [1, a],
      [2, b],
    ] as const) {
      const fragment = fragments[index];
      if (fragment !== undefined) {
        rig.fragment(fragment, id);
      }
    }
  }
  t.deepEqual([...rig.datagrams].sort(), [2_500, 3_000]);
  t.true(rig.isIntact);
});

test('the protocol of an IPv6 packet is the one of its first fragment', (t) => {
  const rig = new FragmentRig({version: 6});
  const [first, second] = rig.cut(2_000, 1448);
  if (first === undefined || second === undefined) {
    t.fail();
    return;
  }
  // Extension byte 0 of the later fragment says something else.
  rig.fragment(second, 1, 99);
  rig.fragment(first, 1);
  t.deepEqual(rig.datagrams, [2_000]);
});

test('fragments that make no sense are dropped', (t) => {
  const rig = new FragmentRig();
  rig.fragment({offset: 0, more: true, data: new Uint8Array(13)});
  rig.fragment({offset: 8, more: false, data: new Uint8Array(0)});
  rig.fragment({offset: 65_528, more: false, data: new Uint8Array(100)});
  t.is(rig.stack.counters.malformed, 3);
  rig.fragment({offset: 800, more: false, data: new Uint8Array(8)});
  rig.fragment({offset: 1_600, more: true, data: new Uint8Array(8)});
  t.is(rig.stack.counters.reassemblyFailed, 1, 'beyond the last one');
  rig.fragment({offset: 1_600, more: true, data: new Uint8Array(8)}, 2);
  rig.fragment({offset: 800, more: false, data: new Uint8Array(8)}, 2);
  t.is(rig.stack.counters.reassemblyFailed, 2, 'a last one before others');
});

test('packets that lack fragments are bounded in number and bytes', (t) => {
  const rig = new FragmentRig({limits: {reassemblyPackets: 10, reassemblyBytes: 8_000}});
  for (let id = 1; id <= 15; id += 1) {
    rig.fragment({offset: 0, more: true, data: new Uint8Array(8)}, id);
  }
  t.is(rig.stack.counters.reassemblyLimit, 5);
  for (let id = 21; id <= 28; id += 1) {
    rig.fragment({offset: 0, more: true, data: new Uint8Array(1_400)}, id);
  }
  t.is(rig.stack.counters.reassemblyLimit, 5 + 10 + 3);
});

test('a reassembled packet with a wrong checksum is dropped, whatever the virtio header said', (t) => {
  const rig = new FragmentRig();
  const fragments = rig.cut(2_000, 1480);
  for (const {offset, more, data} of fragments) {
    if (offset === 0) {
      data[100] = (data[100] ?? 0) ^ 1;
    }
    const {source, destination} = rig;
    const head = ipHeader(
      {source, destination, protocol: 17, transport: data},
      {fragment: (more ? 0x2000 : 0) | (offset / 8), id: 1},
    );
    rig.inject(concat(Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0, 0, 0), head, data));
  }
  t.deepEqual(rig.datagrams, []);
  t.is(rig.stack.counters.badChecksum, 1);
});

test('an echo request may come in fragments, as a large ping does', (t) => {
  let length = 0;
  const rig = new FragmentRig({
    onEcho: (echo) => {
      length = echo.payload.length;
    },
  });
  const message = concat(Uint8Array.of(8, 0, 0, 0, 0, 1, 0, 1), stream(0, 4_000));
  const sum = checksum(message);
  message.set([sum >> 8, sum & 0xff], 2);
  for (let offset = 0; offset < message.length; offset += 1480) {
    const data = message.slice(offset, offset + 1480);
    const more = offset + 1480 < message.length;
    const {source, destination} = rig;
    const head = ipHeader(
      {source, destination, protocol: 1, transport: data},
      {fragment: (more ? 0x2000 : 0) | (offset / 8), id: 9},
    );
    rig.inject(concat(new Uint8Array(10), head, data));
  }
  t.is(length, 4_000);
});
