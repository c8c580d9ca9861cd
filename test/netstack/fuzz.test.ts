import test from 'ava';
import fc from 'fast-check';
import {Rig, seeded, stream} from '../helpers/netstack.ts';
import {concat, frame, icmp, udp} from '../helpers/packet.ts';

/** A rig with handlers that keep nothing, and some life in every table. */
function lively(version: 4 | 6): Rig {
  const rig = new Rig({
    version,
    onUdp: (flow) => {
      flow.handler = {onDatagram: (to, payload) => flow.send(to, payload), onClose: () => {}};
    },
    onEcho: (echo) => rig.stack.echoReply(echo),
  });
  rig.establish();
  rig.flow.write(stream(0, 5_000));
  return rig;
}

/** Good packets of all kinds, to be damaged. */
function corpus(rig: Rig): Uint8Array[] {
  const {source, destination} = rig;
  const is4 = source.length === 4;
  const echo = icmp([source, destination], {type: is4 ? 8 : 128, code: 0, rest: 1}, stream(0, 40));
  const datagram = udp([source, 5000], [destination, 7], stream(0, 40));
  const base = {source, destination};
  return [
    rig.build('< S 1000:1000(0) win 65535 <mss 1460,sackOK,TS,nop,wscale 7>'),
    rig.build('< P. 1001:1101(100) ack 1'),
    rig.build('< . 1001:1001(0) ack 2000'),
    rig.build('< FP. 1101:1111(10) ack 1'),
    rig.build('< R 1001:1001(0)'),
    frame({...base, protocol: 17, transport: datagram}),
    frame({...base, protocol: 17, transport: datagram, flags: 1, gsoType: 5, gsoSize: 7}),
    frame({...base, protocol: is4 ? 1 : 58, transport: echo}),
    frame({
      ...base,
      protocol: 44,
      transport: concat(Uint8Array.of(17, 0, 0, 1, 0, 0, 0, 1), datagram),
    }),
    frame({
      ...base,
      protocol: 60,
      transport: concat(Uint8Array.of(6, 0, 1, 4, 0, 0, 0, 0), datagram),
    }),
  ];
}

test('random bytes neither throw nor open anything', (t) => {
  const rig = new Rig();
  fc.assert(
    fc.property(fc.uint8Array({maxLength: 200}), (bytes) => {
      rig.inject(bytes);
      rig.take();
    }),
    {numRuns: 5_000},
  );
  t.is(rig.flows.length, 0);
});

for (const version of [4, 6] as const) {
  test(`damaged packets do not throw, and every answer is well-formed (IPv${version})`, (t) => {
    const random = seeded(version);
    let rig = lively(version);
    let packets = corpus(rig);
    for (let round = 0; round < 20_000; round += 1) {
      if (round % 200 === 0) {
        rig = lively(version);
        packets = corpus(rig);
      }
      const bytes = (packets[Math.floor(random() * packets.length)] ?? new Uint8Array(0)).slice();
      for (let hits = Math.floor(random() * 4); hits > 0; hits -= 1) {
        bytes[Math.floor(random() * bytes.length)] = Math.floor(random() * 256);
      }
      if (random() < 0.7) {
        // Vouched for: damage below the checksums gets through.
        bytes[0] = 1;
      }
      const cut = random() < 0.2 ? Math.floor(random() * bytes.length) : bytes.length;
      rig.inject(bytes.subarray(0, cut));
      rig.now += Math.floor(random() * 50);
      // `take` verifies headers and checksums of all that is sent.
      rig.take();
    }
    rig.advance(600_000);
    t.pass();
  });
}

test('a frame that reaches beyond its buffer is dropped', (t) => {
  const rig = new Rig();
  const bytes = rig.build('< S 1000:1000(0) win 65535 <mss 1460>');
  rig.stack.process(bytes, 0, bytes.length + 1, 0);
  rig.stack.process(bytes, -1, bytes.length, 0);
  rig.stack.process(bytes, 1, bytes.length, 0);
  rig.stack.process(bytes, 0, 10, 0);
  rig.stack.process(new Uint8Array(0), 0, 0, 0);
  t.is(rig.stack.counters.malformed, 5);
  t.is(rig.flows.length, 0);
});

test('pollAt agrees with dispatch: at that time something happens, and time moves on', (t) => {
  const random = seeded(7);
  for (let round = 0; round < 50; round += 1) {
    const rig = lively(4);
    for (const packet of corpus(rig)) {
      if (random() < 0.5) {
        rig.inject(packet);
      }
    }
    rig.take();
    for (let steps = 0; steps < 500; steps += 1) {
      const at = rig.stack.pollAt();
      if (at === undefined) {
        break;
      }
      t.true(at > rig.now, 'what was due has been done');
      rig.now = at;
      rig.take();
    }
    t.is(rig.stack.pollAt(), undefined);
  }
});
