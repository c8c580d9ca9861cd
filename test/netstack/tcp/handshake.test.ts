import test from 'ava';
import type {TcpFlow} from '../../../netstack/types.ts';
import {Rig} from '../../helpers/netstack.ts';

const SYN = '< S 1000:1000(0) win 65535 <mss 1460,nop,wscale 7>';

/** A rig whose dials stay unanswered until the test answers them. */
function lazy(version: 4 | 6 = 4): Rig {
  return new Rig({version, onTcp: () => {}});
}

for (const version of [4, 6] as const) {
  test(`PENDING: nothing is sent until the flow is accepted (IPv${version})`, (t) => {
    const rig = lazy(version);
    t.deepEqual(rig.tcp(SYN), []);
    rig.advance(3_000);
    t.deepEqual(rig.takeText(), []);
    t.deepEqual(rig.flow.source, {address: rig.source, port: rig.port});
    t.deepEqual(rig.flow.destination, {address: rig.destination, port: rig.serverPort});
    rig.flow.accept(1 << 20);
    const mss = version === 4 ? 1460 : 1440;
    t.deepEqual(rig.takeText(), [`> S. 0:0(0) ack 1001 win 65535 <mss ${mss},nop,wscale 7>`]);
  });
}

test('PENDING: the same SYN again is ignored', (t) => {
  const rig = lazy();
  t.deepEqual(rig.tcp(SYN, SYN), []);
  t.is(rig.flows.length, 1);
  t.is(rig.stack.counters.synDuplicates, 1);
});

test('PENDING: a SYN with another ISN ends the dial and begins a new one', (t) => {
  const rig = lazy();
  rig.tcp(SYN);
  const first = rig.log;
  t.deepEqual(rig.tcp('< S 5000:5000(0) win 65535 <mss 1460>'), []);
  t.deepEqual(first.events, ['reset']);
  t.is(rig.flows.length, 2);
  first.flow.accept(1000);
  t.deepEqual(rig.takeText(), [], 'the old handle is dead');
  rig.flow.accept(1000);
  t.deepEqual(rig.takeText(), ['> S. 0:0(0) ack 5001 win 1000 <mss 1460>']);
});

test('PENDING: a dial that nobody answers is given up after the kernel has', (t) => {
  const rig = lazy();
  rig.tcp(SYN);
  rig.advance(140_000);
  t.deepEqual(rig.log.events, []);
  rig.advance(20_000);
  t.deepEqual(rig.log.events, ['timeout']);
  t.is(rig.stack.pollAt(), undefined);
});

test('PENDING: stray segments change nothing', (t) => {
  const rig = lazy();
  t.deepEqual(
    rig.tcp(SYN, '< . 1001:1001(0) ack 77', '< P. 1001:1011(10) ack 1', '< F. 1001:1001(0) ack 1'),
    [],
  );
  rig.flow.accept(100);
  t.is(rig.takeText().length, 1);
  t.deepEqual(rig.log.events, []);
});

test('SYN-RECEIVED: the SYN-ACK is repeated when the SYN is', (t) => {
  const rig = new Rig();
  const [synAck] = rig.tcp(SYN);
  t.deepEqual(rig.tcp(SYN), [synAck]);
});

test('SYN-RECEIVED: the SYN-ACK is repeated by timer, and the dial given up with a RST', (t) => {
  const rig = new Rig();
  const [synAck] = rig.tcp(SYN);
  rig.advance(999);
  t.deepEqual(rig.takeText(), []);
  rig.advance(1);
  t.deepEqual(rig.takeText(), [synAck]);
  rig.advance(2_000);
  t.deepEqual(rig.takeText(), [synAck]);
  rig.advance(200_000);
  t.deepEqual(rig.log.events, ['timeout']);
  t.is(rig.takeText().at(-1), '> R. 1:1(0) ack 1001 win 8192');
  t.is(rig.stack.pollAt(), undefined);
});

test('SYN-RECEIVED: the RST of a program that gave up ends the flow', (t) => {
  const rig = new Rig();
  rig.tcp(SYN);
  t.deepEqual(rig.tcp('< R 1001:1001(0)'), []);
  t.deepEqual(rig.log.events, ['reset']);
  t.is(rig.stack.pollAt(), undefined);
});

test('SYN-RECEIVED: a RST elsewhere in the window is challenged', (t) => {
  const rig = new Rig();
  rig.tcp(SYN);
  t.deepEqual(rig.tcp('< R 1002:1002(0)'), ['> . 1:1(0) ack 1001 win 8192']);
  t.deepEqual(rig.log.events, []);
});

test('SYN-RECEIVED: a SYN with another ISN begins a new connection', (t) => {
  const rig = new Rig();
  rig.tcp(SYN);
  const first = rig.log;
  t.deepEqual(rig.tcp('< S 5000:5000(0) win 65535 <mss 1460>'), [
    '> S. 0:0(0) ack 5001 win 65535 <mss 1460>',
  ]);
  t.deepEqual(first.events, ['reset']);
});

for (const ack of [0, 2, -1]) {
  test(`SYN-RECEIVED: an ACK of ${ack} is answered by RST, and the connection waits on`, (t) => {
    const rig = new Rig();
    rig.tcp(SYN);
    t.deepEqual(rig.tcp(`< . 1001:1001(0) ack ${ack}`), [`> R ${ack >>> 0}:${ack >>> 0}(0) win 0`]);
    t.deepEqual(rig.log.events, []);
    t.deepEqual(rig.tcp('< . 1001:1001(0) ack 1'), ['> . 1:1(0) ack 1001 win 8192']);
  });
}

test('SYN-RECEIVED: the ACK may bring data and FIN', (t) => {
  const rig = new Rig();
  rig.tcp(SYN);
  t.deepEqual(rig.tcp('< FP. 1001:1011(10) ack 1'), ['> . 1:1(0) ack 1012 win 8191']);
  t.deepEqual(rig.log.events, ['data 10', 'end']);
});

test('SYN-RECEIVED: what the server says first goes out after the handshake', (t) => {
  const rig = new Rig();
  rig.tcp(SYN);
  rig.flow.write(Uint8Array.of(0, 31, 62));
  rig.flow.end();
  t.deepEqual(rig.takeText(), []);
  t.deepEqual(rig.tcp('< . 1001:1001(0) ack 1'), ['> FP. 1:4(3) ack 1001 win 8192']);
});

test('ESTABLISHED: a window above 64 KiB is announced at once', (t) => {
  const rig = new Rig();
  rig.tcp(SYN);
  t.deepEqual(rig.tcp('< . 1001:1001(0) ack 1'), ['> . 1:1(0) ack 1001 win 8192']);
});

test('ESTABLISHED: a window below 64 KiB needs no update', (t) => {
  const rig = new Rig({onTcp: (flow) => flow.accept(10_000)});
  t.deepEqual(rig.tcp(SYN), ['> S. 0:0(0) ack 1001 win 10000 <mss 1460,nop,wscale 7>']);
  t.deepEqual(rig.tcp('< . 1001:1001(0) ack 1'), []);
});

const optionCases: Array<[string, string, string]> = [
  ['no options', '', 'mss 1460'],
  ['no window scale', 'mss 1460', 'mss 1460'],
  ['timestamps and SACK', 'mss 1460,sackOK,TS,nop,wscale 10', 'mss 1460,nop,wscale 7'],
  [
    'fast open and MPTCP',
    'mss 1460,raw 2202,raw 1e0c00010000000000000000,nop,wscale 7',
    'mss 1460,nop,wscale 7',
  ],
  ['an option of length 0', 'mss 1460,raw 0500', 'mss 1460'],
  ['an option of length 1', 'mss 1460,raw 0501,wscale 7', 'mss 1460'],
  ['an option beyond the header', 'mss 1460,raw 0528', 'mss 1460'],
  ['an MSS of wrong length', 'raw 020305,nop,wscale 7', 'mss 1460,nop,wscale 7'],
  ['options after the end', 'mss 1460,eol,wscale 7', 'mss 1460'],
  ['a shift above 14', 'mss 1460,nop,wscale 200', 'mss 1460,nop,wscale 7'],
];
for (const [what, options, answer] of optionCases) {
  test(`LISTEN: a SYN with ${what} is accepted`, (t) => {
    const rig = new Rig();
    const syn = `< S 1000:1000(0) win 65535${options === '' ? '' : ` <${options}>`}`;
    t.deepEqual(rig.tcp(syn), [`> S. 0:0(0) ack 1001 win 65535 <${answer}>`]);
    rig.tcp('< . 1001:1001(0) ack 1', '< P. 1001:1006(5) ack 1');
    t.is(rig.log.received, 5);
  });
}

test('LISTEN: a SYN with ECN flags is accepted without them', (t) => {
  const rig = new Rig();
  t.deepEqual(rig.tcp('< SEW 1000:1000(0) win 65535 <mss 1460>'), [
    '> S. 0:0(0) ack 1001 win 65535 <mss 1460>',
  ]);
});

test('LISTEN: text in a SYN is not taken', (t) => {
  const rig = new Rig();
  rig.firstByte = 1000;
  t.deepEqual(rig.tcp('< S 1000:1100(100) win 65535 <mss 1460>'), [
    '> S. 0:0(0) ack 1001 win 65535 <mss 1460>',
  ]);
  rig.firstByte = 1001;
  rig.tcp('< P. 1001:1101(100) ack 1');
  t.is(rig.log.received, 100);
  t.true(rig.log.isIntact);
});

test('LISTEN: the peer without window scale is not scaled to', (t) => {
  const rig = new Rig();
  rig.tcp('< S 1000:1000(0) win 65535 <mss 1460>');
  t.deepEqual(rig.tcp('< P. 1001:1101(100) ack 1 win 1000'), ['> . 1:1(0) ack 1101 win 65435']);
  rig.flow.write(new Uint8Array(0));
  t.is(rig.log.received, 100);
});

test('LISTEN: the MSS of a peer limits its segments, not below 88', (t) => {
  const rig = new Rig({gso: true});
  rig.establish('mss 1,nop,wscale 7');
  rig.flow.write(new Uint8Array(1).fill(0));
  rig.flow.write(rigStream(1, 999));
  const [packet] = rig.take();
  t.is(packet?.virtio.gsoSize, 88);
});

function rigStream(start: number, length: number): Uint8Array {
  return Uint8Array.from({length}, (_, at) => ((start + at) * 31 + ((start + at) >> 8)) & 0xff);
}

for (const flags of ['SF', 'S.', 'F.', '.', 'P.']) {
  test(`CLOSED: ${flags} is answered by RST`, (t) => {
    const rig = new Rig();
    const ack = flags.includes('.');
    const line = `< ${flags} 1000:1000(0)${ack ? ' ack 77' : ''}`;
    t.deepEqual(rig.tcp(line), [ack ? '> R 77:77(0) win 0' : '> R. 0:0(0) ack 1002 win 0']);
    t.is(rig.flows.length, 0);
  });
}

test('CLOSED: the RST of an ACK-less segment acknowledges its length', (t) => {
  const rig = new Rig();
  t.deepEqual(rig.tcp('< FP 1000:1010(10)'), ['> R. 0:0(0) ack 1011 win 0']);
});

test('CLOSED: a RST is never answered', (t) => {
  const rig = new Rig();
  t.deepEqual(rig.tcp('< R 1000:1000(0)', '< R. 1000:1000(0) ack 5', '< SR 1:1(0)'), []);
});

test('CLOSED: SYNs to multicast, broadcast, nowhere and port 0 are answered by RST', (t) => {
  for (const address of [
    [224, 0, 0, 1],
    [255, 255, 255, 255],
    [0, 0, 0, 0],
  ]) {
    const rig = new Rig();
    rig.destination.set(address);
    t.deepEqual(rig.tcp(SYN), ['> R. 0:0(0) ack 1001 win 0']);
    rig.destination.set([192, 0, 2, 7]);
  }
  const rig = new Rig({port: 0});
  t.deepEqual(rig.tcp(SYN), ['> R. 0:0(0) ack 1001 win 0']);
});

test('LISTEN: of ten thousand concurrent SYNs each dials, and each is answered', (t) => {
  const rig = new Rig({onTcp: () => {}});
  for (let port = 20_000; port < 30_000; port += 1) {
    rig.port = port;
    rig.inject(rig.build(SYN));
  }
  t.is(rig.flows.length, 10_000);
  for (const {flow} of rig.flows) {
    flow.accept(1000);
  }
  const answers = rig.take();
  const ports = new Set(
    answers.map(({transport}) => ((transport[2] ?? 0) << 8) | (transport[3] ?? 0)),
  );
  t.is(ports.size, 10_000);
});

/** Sends a SYN from each of `count` ports and returns how many were answered by RST. */
function flood(rig: Rig, count: number): number {
  let refused = 0;
  for (let at = 0; at < count; at += 1) {
    rig.port = 1 + (at % 60_000);
    rig.destination[3] = 1 + Math.floor(at / 60_000);
    refused += rig.tcp(SYN).filter((line) => line === '> R. 0:0(0) ack 1001 win 0').length;
  }
  rig.destination[3] = 7;
  return refused;
}

test('LISTEN: a flood of SYNs that nobody answers is refused past 32,768 dials, and counted', (t) => {
  const rig = new Rig({onTcp: () => {}});
  t.is(flood(rig, 32_768 + 100), 100);
  t.is(rig.flows.length, 32_768);
  t.is(rig.stack.counters.pendingLimit, 100);
  // One that is answered makes room for another.
  rig.flow.refuse('ECONNREFUSED');
  rig.take();
  rig.port = 61_000;
  t.deepEqual(rig.tcp(SYN), []);
  t.is(rig.flows.length, 32_769);
  // After their time all are forgotten.
  rig.advance(150_000);
  t.is(rig.stack.pollAt(), undefined);
});

test('LISTEN: 65,536 connections are open at once; one more is refused, and counted', (t) => {
  const rig = new Rig();
  t.is(flood(rig, 65_536 + 3), 3);
  t.is(rig.flows.length, 65_536);
  t.is(rig.stack.counters.flowLimit, 3);
});

test('initial sequence numbers differ by connection, and grow with time on one', (t) => {
  const isnAt = (port: number, now: number): number => {
    const rig = new Rig({port});
    rig.now = now;
    rig.tcp(SYN);
    return rig.iss;
  };
  t.is((isnAt(40_000, 2_000) - isnAt(40_000, 1_000)) >>> 0, 250_000);
  t.not(isnAt(40_000, 1_000), isnAt(40_001, 1_000));
});

test('a flow refused or reset in the handler itself is answered', (t) => {
  const rig = new Rig({onTcp: (flow: TcpFlow) => flow.reset()});
  t.deepEqual(rig.tcp(SYN), ['> R. 0:0(0) ack 1001 win 0']);
});

for (const mtu of [1280, 1500, 9000, 65_520]) {
  for (const version of [4, 6] as const) {
    test(`LISTEN: at an MTU of ${mtu} our MSS leaves room for both headers (IPv${version})`, (t) => {
      const rig = new Rig({mtu, version});
      const mss = mtu - (version === 4 ? 40 : 60);
      t.deepEqual(rig.tcp('< S 1000:1000(0) win 65535 <mss 65000>'), [
        `> S. 0:0(0) ack 1001 win 65535 <mss ${mss}>`,
      ]);
    });
  }
}
