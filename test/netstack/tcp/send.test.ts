import test from 'ava';
import {Rig, stream} from '../../helpers/netstack.ts';

/** A connection whose peer has a window of `window` × 2^7 bytes. */
function established(window = 65_535, gso = true, version: 4 | 6 = 4): Rig {
  const rig = new Rig({gso, version});
  rig.establish('mss 1460,nop,wscale 7', window);
  return rig;
}

test('ESTABLISHED: what is written is sent, with PSH on its last segment', (t) => {
  const rig = established();
  rig.flow.write(stream(0, 100));
  t.deepEqual(rig.takeText(), ['> P. 1:101(100) ack 1001 win 8192']);
  t.deepEqual(rig.tcp('< . 1001:1001(0) ack 101'), []);
  t.deepEqual(rig.log.events, ['acked 100']);
  t.is(rig.stack.pollAt(), undefined);
});

test('ESTABLISHED: queued chunks leave in one super-segment, copied from memory that may change', (t) => {
  const rig = established();
  for (const chunk of [stream(0, 1_000), stream(1_000, 5_000), stream(6_000, 1)]) {
    rig.flow.write(chunk);
    chunk.fill(0xa5);
  }
  let parts: Uint8Array[] = [];
  rig.stack.dispatch(rig.now, (packet) => {
    parts = packet.parts.slice(0, packet.partCount);
    return true;
  });
  t.deepEqual(Buffer.concat(parts), Buffer.from(stream(0, 6_001)));
});

for (const [version, mss, most] of [
  [4, 1460, 64_240],
  [6, 1440, 64_800],
] as const) {
  test(`ESTABLISHED: super-segments hold whole segments (IPv${version})`, (t) => {
    const rig = established(65_535, true, version);
    rig.flow.write(stream(0, 200_000));
    const packets = rig.take();
    const lengths = packets.map(({transport}) => transport.length - 20);
    t.deepEqual(lengths, [most, most, most, 200_000 - 3 * most]);
    for (const {virtio} of packets) {
      t.is(virtio.gsoType, version === 4 ? 1 : 4);
      t.is(virtio.gsoSize, mss);
      t.is(virtio.hdrLen, version === 4 ? 40 : 60);
      t.is(virtio.flags, 1);
    }
    const pushed = packets.map(({transport}) => (transport[13] ?? 0) & 8);
    t.deepEqual(pushed, [0, 0, 0, 8], 'PSH ends the burst');
  });
}

for (const length of [1459, 1460, 1461]) {
  test(`ESTABLISHED: ${length} bytes are GSO only above one MSS`, (t) => {
    const rig = established();
    rig.flow.write(stream(0, length));
    const [packet] = rig.take();
    t.is(packet?.virtio.gsoType, length > 1460 ? 1 : 0);
    t.is(packet?.virtio.gsoSize, length > 1460 ? 1460 : 0);
  });
}

test('ESTABLISHED: without GSO a long segment is a plain packet', (t) => {
  const rig = established(65_535, false);
  rig.flow.write(stream(0, 64_240));
  const [packet] = rig.take();
  t.is(packet?.transport.length, 64_260);
  t.deepEqual(packet?.virtio, {
    flags: 1,
    gsoType: 0,
    hdrLen: 40,
    gsoSize: 0,
    csumStart: 20,
    csumOffset: 16,
  });
});

test('ESTABLISHED: a packet has a bounded number of parts', (t) => {
  const rig = new Rig({limits: {partsPerPacket: 2}});
  rig.establish();
  // In blocks of 10, 4,000 and more bytes.
  rig.flow.write(stream(0, 10));
  rig.flow.write(stream(10, 4_000));
  rig.flow.write(stream(4_010, 90));
  rig.flow.write(stream(4_100, 100));
  t.deepEqual(rig.takeText(), [
    '> . 1:4011(4010) ack 1001 win 8192',
    '> P. 4011:4201(190) ack 1001 win 8192',
  ]);
});

test('ESTABLISHED: no more is sent than the window of the peer takes', (t) => {
  const rig = established(100);
  rig.flow.write(stream(0, 50_000));
  t.deepEqual(rig.takeText(), ['> P. 1:11681(11680) ack 1001 win 8192']);
  t.deepEqual(rig.tcp('< . 1001:1001(0) ack 11681 win 100'), [
    '> P. 11681:23361(11680) ack 1001 win 8192',
  ]);
});

test('ESTABLISHED: an old segment does not move the window back', (t) => {
  const rig = established(100);
  rig.tcp('< P. 1001:1011(10) ack 1 win 1000');
  rig.tcp('< . 1001:1001(0) ack 1 win 1');
  rig.flow.write(stream(0, 50_000));
  t.deepEqual(rig.takeText(), ['> P. 1:50001(50000) ack 1011 win 8191']);
});

test('ESTABLISHED: data acknowledges what came in', (t) => {
  const rig = established();
  rig.flow.write(stream(0, 10));
  t.deepEqual(rig.tcp('< P. 1001:1011(10) ack 1'), ['> P. 1:11(10) ack 1011 win 8191']);
});

test('ESTABLISHED: a closed window is probed, with back-off, until it opens', (t) => {
  const rig = established(0);
  rig.flow.write(stream(0, 100));
  t.deepEqual(rig.takeText(), []);
  const probe = '> . 0:0(0) ack 1001 win 8192';
  for (const gap of [200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 51_200, 60_000, 60_000]) {
    rig.advance(gap - 1);
    t.deepEqual(rig.takeText(), [], `before ${gap}`);
    rig.advance(1);
    t.deepEqual(rig.takeText(), [probe], `after ${gap}`);
    t.deepEqual(rig.tcp('< . 1001:1001(0) ack 1 win 0'), []);
  }
  t.deepEqual(rig.tcp('< . 1001:1001(0) ack 1 win 100'), ['> P. 1:101(100) ack 1001 win 8192']);
  t.deepEqual(rig.log.events, []);
});

test('ESTABLISHED: a FIN waits for a closed window too', (t) => {
  const rig = established(0);
  rig.flow.end();
  t.deepEqual(rig.takeText(), []);
  rig.advance(200);
  t.deepEqual(rig.takeText(), ['> . 0:0(0) ack 1001 win 8192']);
  t.deepEqual(rig.tcp('< . 1001:1001(0) ack 1 win 1'), ['> F. 1:1(0) ack 1001 win 8192']);
});

test('ESTABLISHED: a window smaller than a segment is filled by the override timer', (t) => {
  const rig = established(1000);
  rig.flow.write(stream(0, 128_000));
  rig.take();
  // 128 bytes open: neither a segment, nor all there is, nor half of the largest window.
  rig.flow.write(stream(128_000, 5_000));
  t.deepEqual(rig.tcp('< . 1001:1001(0) ack 128001 win 1'), []);
  rig.advance(199);
  t.deepEqual(rig.takeText(), []);
  rig.advance(1);
  t.deepEqual(rig.takeText(), ['> P. 128001:128129(128) ack 1001 win 8192']);
});

test('ESTABLISHED: half of the largest window is enough to send', (t) => {
  const rig = established(8);
  rig.flow.write(stream(0, 5_000));
  t.deepEqual(rig.takeText(), ['> P. 1:1025(1024) ack 1001 win 8192']);
  t.deepEqual(rig.tcp('< . 1001:1001(0) ack 1025 win 4'), [
    '> P. 1025:1537(512) ack 1001 win 8192',
  ]);
});

test('ESTABLISHED: less than half of the largest window is not enough', (t) => {
  const rig = established(8);
  rig.flow.write(stream(0, 5_000));
  rig.take();
  t.deepEqual(rig.tcp('< . 1001:1001(0) ack 1025 win 3'), []);
});

test('ESTABLISHED: after a timeout partial ACKs resend the next segment at once', (t) => {
  const rig = established();
  rig.flow.write(stream(0, 200_000));
  rig.take();
  rig.advance(200);
  t.deepEqual(rig.takeText(), ['> P. 1:64241(64240) ack 1001 win 8192']);
  t.deepEqual(rig.tcp('< . 1001:1001(0) ack 64241'), [
    '> P. 64241:128481(64240) ack 1001 win 8192',
  ]);
  t.deepEqual(rig.tcp('< . 1001:1001(0) ack 200001'), []);
});

test('ESTABLISHED: an RTT sample ends with the ACK of its last byte, not before', (t) => {
  const rig = established();
  rig.flow.write(stream(0, 10));
  rig.take();
  rig.now += 50;
  rig.tcp('< . 1001:1001(0) ack 5');
  rig.now += 100;
  rig.tcp('< . 1001:1001(0) ack 11');
  rig.flow.write(stream(10, 10));
  rig.take();
  // The handshake took 0 ms, this took 150: SRTT 18.75, RTTVAR 37.5.
  t.is((rig.stack.pollAt() ?? 0) - rig.now, 200);
  for (let at = 20; at < 400; at += 10) {
    rig.now += 1;
    rig.tcp(`< . 1001:1001(0) ack ${at - 4}`);
    rig.now += 299;
    rig.tcp(`< . 1001:1001(0) ack ${at + 1}`);
    rig.flow.write(stream(at, 10));
    rig.take();
  }
  t.true((rig.stack.pollAt() ?? 0) - rig.now >= 299);
});

test('ESTABLISHED: lost data is sent again by timer, with back-off, then given up', (t) => {
  const rig = established();
  rig.flow.write(stream(0, 100));
  const segment = '> P. 1:101(100) ack 1001 win 8192';
  t.deepEqual(rig.takeText(), [segment]);
  // The handshake took no time: the RTO is at its least.
  for (const gap of [200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600]) {
    rig.advance(gap - 1);
    t.deepEqual(rig.takeText(), [], `before ${gap}`);
    rig.advance(1);
    t.deepEqual(rig.takeText(), [segment], `after ${gap}`);
  }
  rig.advance(200_000);
  t.deepEqual(rig.log.events, ['timeout']);
  t.is(rig.takeText().at(-1), '> R. 101:101(0) ack 1001 win 8192');
  t.is(rig.stack.pollAt(), undefined);
});

test('ESTABLISHED: a peer that shrinks its window to nothing and answers is never given up', (t) => {
  const rig = established();
  rig.flow.write(stream(0, 100));
  rig.takeText();
  rig.tcp('< . 1001:1001(0) ack 1 win 0');
  for (let minute = 0; minute < 60; minute += 1) {
    rig.advance(60_000);
    t.true(rig.takeText().every((line) => line === '> . 0:0(0) ack 1001 win 8192'));
    rig.tcp('< . 1001:1001(0) ack 1 win 0');
  }
  t.deepEqual(rig.log.events, []);
  rig.tcp('< . 1001:1001(0) ack 1 win 100');
  rig.advance(60_000);
  t.true(rig.takeText().includes('> P. 1:101(100) ack 1001 win 8192'));
});

test('ESTABLISHED: three duplicate ACKs resend the first segment, partial ACKs the next', (t) => {
  const rig = established();
  rig.flow.write(stream(0, 200_000));
  rig.take();
  const dup = '< . 1001:1001(0) ack 1';
  t.deepEqual(rig.tcp(dup, dup), []);
  t.deepEqual(rig.tcp(dup), ['> P. 1:64241(64240) ack 1001 win 8192']);
  t.deepEqual(rig.tcp(dup, dup, dup), [], 'once');
  t.deepEqual(rig.tcp('< . 1001:1001(0) ack 64241'), [
    '> P. 64241:128481(64240) ack 1001 win 8192',
  ]);
  t.deepEqual(rig.tcp('< . 1001:1001(0) ack 200001'), []);
  t.is(rig.log.acked, 200_000);
  t.is(rig.stack.pollAt(), undefined);
});

test('ESTABLISHED: window updates, data and idle ACKs are no duplicate ACKs', (t) => {
  const rig = established();
  rig.flow.write(stream(0, 100));
  rig.takeText();
  rig.tcp('< . 1001:1001(0) ack 1 win 1000', '< . 1001:1001(0) ack 1 win 1001');
  rig.tcp('< . 1001:1001(0) ack 1 win 1002', '< P. 1001:1002(1) ack 1 win 1002');
  t.is(rig.stack.counters.fastRetransmits, 0);
});

test('ESTABLISHED: the RTO follows the round-trip time, and takes no sample of a repeat', (t) => {
  const rig = established();
  let at = 0;
  for (let round = 0; round < 50; round += 1) {
    rig.flow.write(stream(at, 10));
    at += 10;
    rig.take();
    rig.now += 500;
    rig.tcp(`< . 1001:1001(0) ack ${at + 1}`);
  }
  rig.flow.write(stream(at, 10));
  rig.take();
  const wait = (rig.stack.pollAt() ?? 0) - rig.now;
  t.true(wait >= 500 && wait < 700, `${wait}`);
});

test('ESTABLISHED: sequence numbers of ours wrap at 2^32', (t) => {
  // The ISN of this seed, port and time is so that a gigabyte of offsets crosses the wrap.
  let rig = established();
  for (let port = 40_000; rig.iss < 2 ** 32 - 3_000_000; port += 1) {
    rig = new Rig({port});
    rig.establish();
  }
  const total = 4_000_000;
  let acked = 0;
  rig.flow.write(stream(0, total));
  while (acked < total) {
    const bytes = rig.take().reduce((sum, {transport}) => sum + transport.length - 20, 0);
    t.true(bytes > 0);
    acked += bytes;
    rig.tcp(`< . 1001:1001(0) ack ${acked + 1}`).forEach(() => {});
  }
  t.is(acked, total);
  t.is(rig.log.acked, total);
});

test('ESTABLISHED: a full device loses nothing', (t) => {
  const rig = established();
  rig.room = 2;
  rig.flow.write(stream(0, 300_000));
  rig.flow.end();
  rig.dispatch();
  t.is(rig.sent.length, 2);
  t.true((rig.stack.pollAt() ?? 1e9) <= rig.now);
  rig.room = 1;
  rig.dispatch();
  rig.room = 100;
  const lines = rig.takeText();
  t.is(lines.length, 5);
  t.is(lines.at(-1), '> FP. 256961:300001(43040) ack 1001 win 8192');
});

test('ESTABLISHED: an ACK of long ago is challenged', (t) => {
  const rig = established(1);
  rig.flow.write(stream(0, 128));
  rig.takeText();
  rig.tcp('< . 1001:1001(0) ack 129 win 1');
  t.deepEqual(rig.tcp('< P. 1001:1011(10) ack -1000 win 1'), ['> . 129:129(0) ack 1001 win 8192']);
  t.is(rig.log.received, 0);
});

test('a flow that is gone ignores every verb', (t) => {
  const rig = established();
  rig.tcp('< R 1001:1001(0)');
  t.deepEqual(rig.log.events, ['reset']);
  const {flow} = rig;
  flow.write(stream(0, 10));
  flow.end();
  flow.grant(1e9);
  flow.accept(1);
  flow.refuse('EPERM');
  flow.reset();
  t.deepEqual(rig.takeText(), []);
  t.is(rig.stack.pollAt(), undefined);
});
