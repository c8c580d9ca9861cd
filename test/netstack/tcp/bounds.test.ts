import test from 'ava';
import {Rig, stream} from '../../helpers/netstack.ts';

test('a stopped reader stops the writer: no more is taken than granted, however much is sent', (t) => {
  const credit = 64_000;
  const rig = new Rig({onTcp: (flow) => flow.accept(credit)});
  rig.establish();
  let seq = 1001;
  for (let round = 0; round < 200; round += 1) {
    // A writer that ignores the window.
    rig.tcp(`< . ${seq}:${seq + 1460}(1460) ack 1`);
    seq = Math.min(seq + 1460, 1001 + credit);
    rig.now += 10;
  }
  t.true(rig.log.received <= credit);
  t.true(rig.log.received > credit - 128);
  t.true(rig.log.isIntact);
});

test('a reader that takes a byte at a time does not make windows of a byte', (t) => {
  const rig = new Rig({onTcp: (flow) => flow.accept(20_480)});
  rig.establish();
  rig.tcp('< P. 1001:21481(20480) ack 1');
  t.is(rig.log.received, 20_480);
  let updates = 0;
  for (let read = 1; read <= 20_480; read += 1) {
    rig.flow.grant(20_480 + read);
    updates += rig.takeText().length;
  }
  t.true(updates > 0 && updates <= 15, `${updates}`);
});

test('forty thousand idle connections cost a dispatch nothing', (t) => {
  const rig = new Rig({limits: {pending: 65_536}});
  for (let port = 1; port <= 40_000; port += 1) {
    rig.port = port;
    rig.inject(rig.build('< S 1000:1000(0) win 65535 <mss 1460,nop,wscale 7>'));
    rig.takeText();
    rig.inject(rig.build('< . 1001:1001(0) ack 1'));
  }
  rig.take();
  t.is(rig.stack.counters.tcpEstablished, 40_000);
  t.is(rig.stack.pollAt(), undefined);
  const {framesOut} = rig.stack.counters;
  rig.flow.write(stream(0, 10));
  t.deepEqual(rig.takeText(), ['> P. 1:11(10) ack 1001 win 8192']);
  t.is(rig.stack.counters.framesOut, framesOut + 1);
});

test('a window that the device did not take was never promised', (t) => {
  const rig = new Rig({onTcp: (flow) => flow.accept(1_000)});
  rig.establish();
  rig.flow.grant(100_000);
  rig.room = 0;
  rig.dispatch();
  rig.tcp('< P. 1001:3001(2000) ack 1');
  t.is(rig.log.received, 1_000);
  rig.room = 10;
  rig.takeText();
  rig.tcp('< P. 2001:3001(1000) ack 1');
  t.is(rig.log.received, 2_000);
});

test('without TSO each window is a share of the budget, and none moves left', (t) => {
  const windowBudget = 600_000;
  const rig = new Rig({windowBudget});
  /** The right edge of each connection as its peer knows it, in bytes of its stream. */
  const edges = new Map<number, number>();
  const look = (): void => {
    for (const packet of rig.take()) {
      rig.describe(packet);
      const view = new DataView(packet.transport.buffer, packet.transport.byteOffset);
      const isSyn = (view.getUint8(13) & 2) !== 0;
      const edge = view.getUint32(8) - 1001 + view.getUint16(14) * (isSyn ? 1 : 128);
      const port = view.getUint16(2);
      const known = edges.get(port) ?? 0;
      t.true(edge > known - 128, `the edge moves left, from ${known} to ${edge}`);
      edges.set(port, Math.max(edge, known));
    }
  };
  for (; rig.port < 40_020; rig.port += 1) {
    rig.inject(rig.build('< S 1000:1000(0) win 65535 <mss 1460,nop,wscale 7>'));
    look();
    rig.inject(rig.build('< . 1001:1001(0) ack 1'));
    look();
  }
  const all = [...edges.values()];
  t.is(
    all[0],
    Math.floor(windowBudget / 128) * 128,
    'alone it has all, and what was promised stays',
  );
  t.is(all[19], windowBudget / 20);
});

test('without TSO the window of a connection moves on with each ACK, up to its credit', (t) => {
  const rig = new Rig({windowBudget: 12_800});
  rig.establish();
  t.deepEqual(rig.tcp('< P. 1001:11001(10000) ack 1'), ['> . 1:1(0) ack 11001 win 100']);
  t.deepEqual(rig.tcp('< P. 11001:21001(10000) ack 1'), ['> . 1:1(0) ack 21001 win 100']);
});

test('without TSO a share is never less than two packets', (t) => {
  const rig = new Rig({windowBudget: 1});
  rig.establish();
  t.deepEqual(rig.tcp('< P. 1001:2501(1500) ack 1'), ['> . 1:1(0) ack 2501 win 23']);
});
