import test from 'ava';
import {Rig, stream} from '../../helpers/netstack.ts';

function established(options: ConstructorParameters<typeof Rig>[0] = {}): Rig {
  const rig = new Rig(options);
  rig.establish();
  return rig;
}

/** A connection that we have closed first, the FIN acknowledged. */
function finWait2(): Rig {
  const rig = established();
  rig.flow.end();
  rig.takeText();
  rig.tcp('< . 1001:1001(0) ack 2');
  rig.log.events.length = 0;
  return rig;
}

/** A connection that both ends have closed, we first. */
function timeWait(): Rig {
  const rig = finWait2();
  rig.tcp('< F. 1001:1001(0) ack 2');
  return rig;
}

test('ESTABLISHED: a FIN is acknowledged, and the other direction goes on', (t) => {
  const rig = established();
  t.deepEqual(rig.tcp('< F. 1001:1001(0) ack 1'), ['> . 1:1(0) ack 1002 win 8192']);
  t.deepEqual(rig.log.events, ['end']);
  rig.flow.write(stream(0, 100));
  t.deepEqual(rig.takeText(), ['> P. 1:101(100) ack 1002 win 8192']);
  rig.advance(0);
  rig.tcp('< . 1002:1002(0) ack 101');
  rig.flow.end();
  t.deepEqual(rig.takeText(), ['> F. 101:101(0) ack 1002 win 8192']);
  t.deepEqual(rig.tcp('< . 1002:1002(0) ack 102'), []);
  t.deepEqual(rig.log.events, ['end', 'acked 100', 'close']);
  t.is(rig.stack.pollAt(), undefined);
});

test('ESTABLISHED: our FIN follows all data, and the other direction goes on', (t) => {
  const rig = established();
  rig.flow.write(stream(0, 100));
  rig.flow.end();
  t.deepEqual(rig.takeText(), ['> FP. 1:101(100) ack 1001 win 8192']);
  t.deepEqual(rig.tcp('< . 1001:1001(0) ack 102'), []);
  rig.advance(3_600_000);
  t.deepEqual(rig.tcp('< P. 1001:1101(100) ack 102'), ['> . 102:102(0) ack 1101 win 8191']);
  t.deepEqual(rig.tcp('< F. 1101:1101(0) ack 102'), ['> . 102:102(0) ack 1102 win 8191']);
  t.deepEqual(rig.log.events, ['acked 100', 'data 100', 'end', 'close']);
});

test('ESTABLISHED: bytes written after end are not sent', (t) => {
  const rig = established();
  rig.flow.end();
  rig.flow.write(stream(0, 10));
  t.deepEqual(rig.takeText(), ['> F. 1:1(0) ack 1001 win 8192']);
});

test('FIN-WAIT-1: FINs that cross lead through CLOSING to TIME-WAIT', (t) => {
  const rig = established();
  rig.flow.end();
  rig.takeText();
  t.deepEqual(rig.tcp('< F. 1001:1001(0) ack 1'), ['> . 2:2(0) ack 1002 win 8192']);
  t.deepEqual(rig.log.events, ['end']);
  t.deepEqual(rig.tcp('< . 1002:1002(0) ack 2'), ['> . 2:2(0) ack 1002 win 8192']);
  t.deepEqual(rig.log.events, ['end', 'close']);
});

test('FIN-WAIT-1: FIN and the ACK of ours in one segment close at once', (t) => {
  const rig = established();
  rig.flow.end();
  rig.takeText();
  t.deepEqual(rig.tcp('< F. 1001:1001(0) ack 2'), ['> . 2:2(0) ack 1002 win 8192']);
  t.deepEqual(rig.log.events, ['end', 'close']);
});

test('FIN-WAIT-1: the FIN is sent again like data', (t) => {
  const rig = established();
  rig.flow.write(stream(0, 10));
  rig.flow.end();
  t.deepEqual(rig.takeText(), ['> FP. 1:11(10) ack 1001 win 8192']);
  rig.advance(200);
  t.deepEqual(rig.takeText(), ['> FP. 1:11(10) ack 1001 win 8192']);
  rig.tcp('< . 1001:1001(0) ack 11');
  rig.take();
  rig.advance(400);
  t.is(rig.takeText().at(-1), '> F. 11:11(0) ack 1001 win 8192');
});

test('FIN-WAIT-2: data and FIN arrive together, out of order', (t) => {
  const rig = finWait2();
  rig.tcp('< FP. 1011:1021(10) ack 2', '< P. 1001:1011(10) ack 2');
  t.deepEqual(rig.log.events, ['data 10', 'data 10', 'end', 'close']);
});

test('FIN-WAIT-2: a half-closed connection may stay so for hours', (t) => {
  const rig = finWait2();
  t.is(rig.stack.pollAt(), undefined);
  rig.advance(7_200_000);
  rig.tcp('< P. 1001:1011(10) ack 2');
  t.deepEqual(rig.log.events, ['data 10']);
});

test('CLOSE-WAIT: a repeated FIN is acknowledged again', (t) => {
  const rig = established();
  const [ack = ''] = rig.tcp('< F. 1001:1001(0) ack 1');
  t.deepEqual(rig.tcp('< F. 1001:1001(0) ack 1'), [ack]);
  t.deepEqual(rig.tcp('< FP. 990:1001(11) ack 1'), [ack]);
  t.deepEqual(rig.log.events, ['end']);
});

test('CLOSE-WAIT: text after the FIN is answered by RST', (t) => {
  const rig = established();
  rig.tcp('< F. 1001:1001(0) ack 1');
  t.deepEqual(rig.tcp('< P. 1002:1012(10) ack 1'), ['> R. 1:1(0) ack 1002 win 8192']);
  t.deepEqual(rig.log.events, ['end', 'reset']);
  t.is(rig.stack.pollAt(), undefined);
});

test('CLOSE-WAIT: the RST that our data draws from a closed socket ends the flow', (t) => {
  const rig = established();
  rig.tcp('< F. 1001:1001(0) ack 1');
  rig.flow.write(stream(0, 10));
  rig.takeText();
  t.deepEqual(rig.tcp('< R 1002:1002(0)'), []);
  t.deepEqual(rig.log.events, ['end', 'reset']);
});

test('LAST-ACK: a RST before the last bytes are acknowledged is told', (t) => {
  const rig = established();
  rig.tcp('< F. 1001:1001(0) ack 1');
  rig.flow.write(stream(0, 10));
  rig.flow.end();
  t.deepEqual(rig.takeText(), ['> FP. 1:11(10) ack 1002 win 8192']);
  rig.tcp('< R 1002:1002(0)');
  t.deepEqual(rig.log.events, ['end', 'reset']);
});

test('LAST-ACK: a peer that never acknowledges is given up after a minute', (t) => {
  const rig = established();
  rig.tcp('< F. 1001:1001(0) ack 1');
  rig.flow.end();
  rig.takeText();
  rig.advance(120_000);
  t.deepEqual(rig.log.events, ['end', 'timeout']);
  t.is(rig.stack.pollAt(), undefined);
});

test('TIME-WAIT: a repeated FIN is acknowledged, and the tombstone lives on', (t) => {
  const rig = timeWait();
  rig.advance(4_000);
  t.deepEqual(rig.tcp('< F. 1001:1001(0) ack 2'), ['> . 2:2(0) ack 1002 win 8192']);
  rig.advance(4_000);
  t.deepEqual(rig.tcp('< F. 1001:1001(0) ack 2'), ['> . 2:2(0) ack 1002 win 8192']);
  rig.advance(5_000);
  t.is(rig.stack.pollAt(), undefined);
  t.deepEqual(rig.tcp('< F. 1001:1001(0) ack 2'), ['> R 2:2(0) win 0'], 'then it is gone');
});

test('TIME-WAIT: a SYN above the old numbers opens a new connection at once', (t) => {
  const rig = timeWait();
  t.deepEqual(rig.tcp('< S 5000:5000(0) win 65535 <mss 1460>'), [
    '> S. 0:0(0) ack 5001 win 65535 <mss 1460>',
  ]);
  t.is(rig.flows.length, 2);
});

test('TIME-WAIT: a SYN below the old numbers is challenged', (t) => {
  const rig = timeWait();
  t.deepEqual(rig.tcp('< S 500:500(0) win 65535 <mss 1460>'), ['> . 2:2(0) ack 1002 win 8192']);
  t.is(rig.flows.length, 1);
});

test('TIME-WAIT: tombstones are bounded, the oldest goes first', (t) => {
  const rig = new Rig({limits: {timeWait: 2}});
  for (let port = 1; port <= 5; port += 1) {
    rig.port = port;
    rig.establish();
    rig.flow.end();
    rig.takeText();
    rig.tcp('< F. 1001:1001(0) ack 1', '< . 1002:1002(0) ack 2');
    t.is(rig.log.events.at(-1), 'close');
  }
  t.is(rig.stack.counters.timeWaitLimit, 3);
  rig.advance(5_000);
  t.is(rig.stack.pollAt(), undefined);
});

test('TIME-WAIT: an exact RST removes the tombstone, another does not', (t) => {
  const rig = timeWait();
  rig.tcp('< R 1005:1005(0)');
  t.not(rig.stack.pollAt(), undefined);
  rig.tcp('< R 1002:1002(0)');
  t.is(rig.stack.pollAt(), undefined);
});

test('ESTABLISHED: an exact RST ends the flow', (t) => {
  const rig = established();
  t.deepEqual(rig.tcp('< R. 1001:1001(0) ack 1'), []);
  t.deepEqual(rig.log.events, ['reset']);
  t.is(rig.stack.pollAt(), undefined);
});

test('ESTABLISHED: a RST in the window but not exact is challenged', (t) => {
  const rig = established();
  t.deepEqual(rig.tcp('< R 1002:1002(0)'), ['> . 1:1(0) ack 1001 win 8192']);
  t.deepEqual(rig.log.events, []);
  t.deepEqual(rig.tcp('< R 1001:1001(0)'), [], 'the exact one that the challenge draws');
  t.deepEqual(rig.log.events, ['reset']);
});

test('ESTABLISHED: a RST outside of the window is dropped', (t) => {
  const rig = established();
  t.deepEqual(rig.tcp('< R 1000:1000(0)', '< R 3000000:3000000(0)'), []);
  t.deepEqual(rig.log.events, []);
});

test('ESTABLISHED: a SYN is challenged, ten times a second at most', (t) => {
  const rig = established();
  const challenge = ['> . 1:1(0) ack 1001 win 8192'];
  t.deepEqual(rig.tcp('< S 7000:7000(0) win 1000'), challenge);
  t.deepEqual(rig.tcp('< S 7000:7000(0) win 1000', '< S 1001:1001(0) win 1000'), []);
  rig.now += 100;
  t.deepEqual(rig.tcp('< S 7000:7000(0) win 1000'), challenge);
  t.is(rig.stack.counters.challengesSuppressed, 2);
});

test('ESTABLISHED: reset sends what fits into the window, then an exact RST', (t) => {
  const rig = established();
  rig.tcp('< . 1001:1001(0) ack 1 win 20');
  rig.flow.write(stream(0, 100));
  rig.flow.write(stream(100, 10_000));
  rig.flow.reset();
  t.deepEqual(rig.takeText(), [
    '> P. 1:1461(1460) ack 1001 win 8192',
    '> R. 1461:1461(0) ack 1001 win 8192',
  ]);
  t.deepEqual(rig.log.events, []);
  t.is(rig.stack.pollAt(), undefined);
});

test('ESTABLISHED: after a reset, the challenge of an inexact RST is answered by an exact one', (t) => {
  const rig = established();
  rig.flow.write(stream(0, 100));
  rig.flow.reset();
  t.deepEqual(rig.takeText(), [
    '> P. 1:101(100) ack 1001 win 8192',
    '> R. 101:101(0) ack 1001 win 8192',
  ]);
  // The data was lost: the kernel expects 1, not 101.
  t.deepEqual(rig.tcp('< . 1001:1001(0) ack 1'), ['> R 1:1(0) win 0']);
  t.deepEqual(rig.log.events, []);
});

test('ESTABLISHED: a reset with a full device goes on when there is room', (t) => {
  const rig = established();
  rig.flow.write(stream(0, 100_000));
  rig.room = 1;
  rig.flow.reset();
  t.is(rig.takeText().length, 1);
  rig.room = 0;
  t.deepEqual(rig.tcp('< P. 1001:1011(10) ack 1'), []);
  rig.room = 10;
  t.deepEqual(rig.takeText(), [
    '> P. 64241:100001(35760) ack 1001 win 8192',
    '> R. 100001:100001(0) ack 1001 win 8192',
  ]);
  t.is(rig.stack.pollAt(), undefined);
});

for (const [state, lines] of Object.entries({
  'CLOSE-WAIT': ['< F. 1001:1001(0) ack 1'],
  'FIN-WAIT-1': [],
  'FIN-WAIT-2': ['< . 1001:1001(0) ack 2'],
  CLOSING: ['< F. 1001:1001(0) ack 1'],
})) {
  test(`${state}: reset sends RST and frees the flow`, (t) => {
    const rig = established();
    if (state !== 'CLOSE-WAIT') {
      rig.flow.end();
      rig.takeText();
    }
    rig.tcp(...lines);
    rig.flow.reset();
    const [line = ''] = rig.takeText();
    t.regex(line, /^> R\. [12]:/);
    t.is(rig.stack.pollAt(), undefined);
  });
}

test('ports can be reused thirty thousand times', (t) => {
  const rig = new Rig();
  for (let round = 0; round < 30_000; round += 1) {
    const isn = 1_000 + round * 10;
    rig.firstByte = isn + 1;
    rig.now += 1;
    rig.tcp(`< S ${isn}:${isn}(0) win 65535 <mss 1460>`);
    rig.tcp(`< . ${isn + 1}:${isn + 1}(0) ack 1`);
    rig.flow.end();
    rig.takeText();
    rig.tcp(`< F. ${isn + 1}:${isn + 1}(0) ack 2`, `< . ${isn + 2}:${isn + 2}(0) ack 2`);
    if (rig.log.events.at(-1) !== 'close') {
      t.fail(`round ${round}: ${rig.log.events}`);
      return;
    }
    rig.flows.length = 0;
  }
  rig.advance(10_000);
  t.is(rig.stack.pollAt(), undefined);
});

test('a disposed stack is silent', (t) => {
  const rig = established();
  rig.flow.write(stream(0, 100));
  rig.stack[Symbol.dispose]();
  t.deepEqual(rig.tcp('< P. 1001:1011(10) ack 1'), []);
  rig.flow.reset();
  t.deepEqual(rig.takeText(), []);
  t.is(rig.stack.pollAt(), undefined);
  t.deepEqual(rig.log.events, []);
});
