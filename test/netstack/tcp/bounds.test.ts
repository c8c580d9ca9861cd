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
