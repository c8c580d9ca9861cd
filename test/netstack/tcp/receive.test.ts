import test from 'ava';
import {Rig, stream} from '../../helpers/netstack.ts';

/** A rig with a connection whose credit is `limit`. */
function established(limit = 1 << 20, options = 'mss 1460,nop,wscale 7'): Rig {
  const rig = new Rig({onTcp: (flow) => flow.accept(limit)});
  rig.establish(options);
  return rig;
}

test('ESTABLISHED: text in order is delivered and acknowledged once for a batch', (t) => {
  const rig = established();
  t.deepEqual(
    rig.tcp('< . 1001:2461(1460) ack 1', '< . 2461:3921(1460) ack 1', '< P. 3921:4000(79) ack 1'),
    ['> . 1:1(0) ack 4000 win 8168'],
  );
  t.deepEqual(rig.log.events, ['data 1460', 'data 1460', 'data 79']);
  t.true(rig.log.isIntact);
});

test('ESTABLISHED: a super-segment is one segment', (t) => {
  const rig = established();
  t.deepEqual(rig.tcp('< P. 1001:65241(64240) ack 1'), ['> . 1:1(0) ack 65241 win 7690']);
  t.deepEqual(rig.log.events, ['data 64240']);
});

test('ESTABLISHED: a super-segment may end in FIN', (t) => {
  const rig = established();
  t.deepEqual(rig.tcp('< FP. 1001:65241(64240) ack 1'), ['> . 1:1(0) ack 65242 win 7690']);
  t.deepEqual(rig.log.events, ['data 64240', 'end']);
});

test('ESTABLISHED: text out of order waits, and draws a duplicate ACK', (t) => {
  const rig = established();
  t.deepEqual(rig.tcp('< P. 1011:1021(10) ack 1'), ['> . 1:1(0) ack 1001 win 8192']);
  t.deepEqual(rig.log.events, []);
  t.deepEqual(rig.tcp('< P. 1001:1011(10) ack 1'), ['> . 1:1(0) ack 1021 win 8191']);
  t.is(rig.log.received, 20);
  t.true(rig.log.isIntact);
});

test('ESTABLISHED: three segments out of order in one batch draw three duplicate ACKs', (t) => {
  const rig = established();
  const ack = '> . 1:1(0) ack 1001 win 8192';
  const lines = [2, 3, 4, 5, 6].map((n) => `< . ${1001 + n * 10}:${1011 + n * 10}(10) ack 1`);
  t.deepEqual(rig.tcp(...lines), [ack, ack, ack]);
});

test('ESTABLISHED: of overlapping segments each byte is delivered once', (t) => {
  const rig = established();
  rig.tcp(
    '< . 1021:1041(20) ack 1',
    '< . 1031:1061(30) ack 1',
    '< . 1011:1071(60) ack 1',
    '< . 1001:1031(30) ack 1',
    '< . 1001:1081(80) ack 1',
  );
  t.is(rig.log.received, 80);
  t.true(rig.log.isIntact);
});

test('ESTABLISHED: a repeated segment is acknowledged again and not delivered', (t) => {
  const rig = established();
  rig.tcp('< P. 1001:1101(100) ack 1');
  t.deepEqual(rig.tcp('< P. 1001:1101(100) ack 1'), ['> . 1:1(0) ack 1101 win 8191']);
  t.is(rig.log.received, 100);
});

test('ESTABLISHED: a FIN out of order waits for what is before it', (t) => {
  const rig = established();
  rig.tcp('< F. 1011:1011(0) ack 1');
  t.deepEqual(rig.log.events, []);
  t.deepEqual(rig.tcp('< P. 1001:1011(10) ack 1'), ['> . 1:1(0) ack 1012 win 8191']);
  t.deepEqual(rig.log.events, ['data 10', 'end']);
});

test('ESTABLISHED: sequence numbers wrap at 2^32', (t) => {
  const rig = new Rig();
  const isn = 2 ** 32 - 100;
  rig.firstByte = isn + 1;
  rig.tcp(`< S ${isn}:${isn}(0) win 65535 <mss 1460,nop,wscale 7>`);
  rig.tcp(`< . ${isn + 1}:${isn + 1}(0) ack 1`);
  // Out of order across the wrap, then the gap before it.
  rig.tcp(`< . ${isn + 51}:21(70) ack 1`.replace(/\d+\(70\)/, `${(isn + 121) % 2 ** 32}(70)`));
  const end = (isn + 51) % 2 ** 32;
  t.deepEqual(rig.tcp(`< . ${isn + 1}:${end}(50) ack 1`), ['> . 1:1(0) ack 21 win 8191']);
  rig.tcp('< P. 21:121(100) ack 1', '< F. 121:121(0) ack 1');
  t.is(rig.log.received, 220);
  t.true(rig.log.isIntact);
  t.is(rig.log.events.at(-1), 'end');
});

test('ESTABLISHED: text is taken up to the right edge of the window and cut there', (t) => {
  const rig = established(1000);
  t.deepEqual(rig.tcp('< P. 1001:2501(1500) ack 1'), ['> . 1:1(0) ack 2001 win 0']);
  t.is(rig.log.received, 1000);
});

test('ESTABLISHED: text beyond the right edge is dropped, its ACK limited to ten a second', (t) => {
  const rig = established(1000);
  t.deepEqual(rig.tcp('< P. 2001:2011(10) ack 1'), ['> . 1:1(0) ack 1001 win 7']);
  t.deepEqual(rig.tcp('< P. 2001:2011(10) ack 1'), []);
  rig.now += 100;
  t.is(rig.tcp('< P. 2001:2011(10) ack 1').length, 1);
  t.is(rig.log.received, 0);
});

test('ESTABLISHED: the last byte of the window is taken', (t) => {
  const rig = established(1000);
  t.deepEqual(
    rig.tcp('< P. 2000:2001(1) ack 1', '< P. 1001:2000(999) ack 1').at(-1),
    '> . 1:1(0) ack 2001 win 0',
  );
  t.is(rig.log.received, 1000);
});

test('ESTABLISHED: a cut FIN is not taken, and comes again', (t) => {
  const rig = established(1000);
  rig.tcp('< FP. 1001:2101(1100) ack 1');
  t.deepEqual(rig.log.events, ['data 1000']);
  rig.flow.grant(100_000);
  rig.takeText();
  rig.tcp('< FP. 2001:2101(100) ack 1');
  t.deepEqual(rig.log.events, ['data 1000', 'data 100', 'end']);
});

test('ESTABLISHED: a bare FIN is taken by a closed window', (t) => {
  const rig = established(1000);
  rig.tcp('< P. 1001:2001(1000) ack 1');
  t.deepEqual(rig.tcp('< F. 2001:2001(0) ack 1'), ['> . 1:1(0) ack 2002 win 0']);
  t.deepEqual(rig.log.events, ['data 1000', 'end']);
});

test('ESTABLISHED: every probe of a closed window is answered', (t) => {
  const rig = established(1000);
  rig.tcp('< P. 1001:2001(1000) ack 1');
  for (const gap of [200, 400, 1_000, 2_200, 4_800, 1, 1]) {
    rig.now += gap;
    t.deepEqual(rig.tcp('< . 2000:2000(0) ack 1'), ['> . 1:1(0) ack 2001 win 0']);
    // Other kernels probe with a byte.
    t.deepEqual(rig.tcp('< . 2001:2002(1) ack 1'), ['> . 1:1(0) ack 2001 win 0']);
  }
  t.is(rig.log.received, 1000);
});

test('ESTABLISHED: keepalives are answered at once, with and without a byte', (t) => {
  const rig = established();
  rig.tcp('< P. 1001:1011(10) ack 1');
  for (let round = 0; round < 5; round += 1) {
    t.deepEqual(rig.tcp('< . 1010:1010(0) ack 1'), ['> . 1:1(0) ack 1011 win 8191']);
    t.deepEqual(rig.tcp('< . 1010:1011(1) ack 1'), ['> . 1:1(0) ack 1011 win 8191']);
  }
  t.is(rig.log.received, 10);
});

test('ESTABLISHED: a window opened by the layer is told at once', (t) => {
  const rig = established(1000);
  rig.tcp('< P. 1001:2001(1000) ack 1');
  rig.flow.grant(1000 + 65_536);
  t.deepEqual(rig.takeText(), ['> . 1:1(0) ack 2001 win 512']);
});

test('ESTABLISHED: a window opened by a trifle is not told', (t) => {
  const rig = established(102_400);
  rig.tcp('< P. 1001:51401(50400) ack 1', '< P. 51401:103401(52000) ack 1');
  t.is(rig.log.received, 102_400);
  for (let limit = 102_401; limit < 103_800; limit += 100) {
    rig.flow.grant(limit);
    t.deepEqual(rig.takeText(), [], `at ${limit}`);
  }
  rig.flow.grant(106_400);
  t.deepEqual(rig.takeText(), ['> . 1:1(0) ack 103401 win 31']);
});

test('ESTABLISHED: a window update goes out for 64 KiB, not for less', (t) => {
  const rig = established(1 << 20);
  rig.flow.grant((1 << 20) + 60_000);
  t.deepEqual(rig.takeText(), []);
  rig.flow.grant((1 << 20) + 65_536);
  t.deepEqual(rig.takeText(), ['> . 1:1(0) ack 1001 win 8704']);
});

test('ESTABLISHED: grants never lower the limit', (t) => {
  const rig = established(5_000);
  rig.flow.grant(10);
  rig.flow.grant(-1);
  rig.flow.grant(Number.NaN);
  rig.tcp('< P. 1001:6001(5000) ack 1');
  t.is(rig.log.received, 5_000);
});

test('ESTABLISHED: urgent data is delivered in line', (t) => {
  const rig = established();
  rig.tcp('< PU. 1001:1011(10) ack 1');
  t.is(rig.log.received, 10);
  t.true(rig.log.isIntact);
});

test('ESTABLISHED: options of a segment (timestamps, SACK blocks, nonsense) are no part of its text', (t) => {
  const rig = established();
  for (const [at, options] of ['TS', 'raw 050a0000000100000002', 'raw 05ff'].entries()) {
    const seq = 1001 + at * 10;
    rig.tcp(`< P. ${seq}:${seq + 10}(10) ack 1 win 65535 <${options}>`);
    t.is(rig.log.received, 10 * (at + 1), options);
  }
  t.true(rig.log.isIntact);
});

test('ESTABLISHED: a segment without ACK is ignored', (t) => {
  const rig = established();
  t.deepEqual(rig.tcp('< P 1001:1011(10)'), []);
  t.is(rig.log.received, 0);
});

test('ESTABLISHED: an ACK of what was never sent is challenged, its text ignored', (t) => {
  const rig = established();
  t.deepEqual(rig.tcp('< P. 1001:1011(10) ack 2'), ['> . 1:1(0) ack 1001 win 8192']);
  t.is(rig.log.received, 0);
});

test('ESTABLISHED: a segment whose checksum is wrong is dropped, and one vouched for is not', (t) => {
  const rig = established();
  const bytes = rig.build('< P. 1001:1011(10) ack 1');
  bytes[10 + 20 + 16] = (bytes[10 + 20 + 16] ?? 0) ^ 1;
  rig.inject(bytes);
  t.is(rig.log.received, 0);
  t.is(rig.stack.counters.badChecksum, 1);
  bytes[0] = 1;
  rig.inject(bytes);
  t.is(rig.log.received, 10);
});

test('ESTABLISHED: out-of-order data is bounded in bytes and pieces', (t) => {
  const rig = new Rig({limits: {outOfOrderBytes: 50, outOfOrderSegments: 3}});
  rig.establish();
  for (const seq of [1011, 1031, 1051, 1071, 1091]) {
    rig.tcp(`< . ${seq}:${seq + 10}(10) ack 1`);
  }
  t.is(rig.stack.counters.assemblerLimit, 2);
  rig.tcp('< . 1001:1101(100) ack 1');
  t.is(rig.log.received, 100);
  t.true(rig.log.isIntact);
});

test('ESTABLISHED: a handler that resets in the middle of data hears no more', (t) => {
  const rig = established();
  const {handler} = rig.flow;
  if (handler !== undefined) {
    handler.onData = () => {
      rig.log.events.push('data');
      rig.flow.reset();
    };
  }
  rig.tcp('< P. 1011:1021(10) ack 1', '< FP. 1021:1031(10) ack 1', '< P. 1001:1011(10) ack 1');
  t.deepEqual(rig.log.events, ['data']);
  t.deepEqual(rig.tcp('< P. 1031:1041(10) ack 1'), ['> R 1:1(0) win 0']);
});

test('ESTABLISHED: a thirty-minute idle connection still works', (t) => {
  const rig = established();
  rig.tcp('< P. 1001:1011(10) ack 1');
  t.is(rig.stack.pollAt(), undefined, 'nothing ticks meanwhile');
  rig.advance(30 * 60_000);
  t.deepEqual(rig.tcp('< P. 1011:1021(10) ack 1'), ['> . 1:1(0) ack 1021 win 8191']);
  rig.flow.write(stream(0, 10));
  t.deepEqual(rig.takeText(), ['> P. 1:11(10) ack 1021 win 8191']);
  t.deepEqual(rig.log.events, ['data 10', 'data 10']);
});
