import test from 'ava';
import {ERRNOS, type Errno} from '../../../netstack/types.ts';
import {Rig} from '../../helpers/netstack.ts';
import {checksum} from '../../helpers/packet.ts';

const SYN = '< S 1000:1000(0) win 65535 <mss 1460,nop,wscale 7>';
const RST = '> R. 0:0(0) ack 1001 win 0';

/** What goes out for each errno; undefined: nothing. */
const SIGNALS: Record<Errno, [v4: string | undefined, v6: string | undefined]> = {
  ECONNREFUSED: [RST, RST],
  ECONNRESET: [RST, RST],
  ENETUNREACH: ['icmp 3/0', 'icmp 1/0'],
  EHOSTUNREACH: ['icmp 3/1', 'icmp 1/3'],
  EACCES: ['icmp 3/13', 'icmp 1/1'],
  EPERM: ['icmp 3/13', 'icmp 1/1'],
  ENOPROTOOPT: ['icmp 3/2', RST],
  EPROTO: ['icmp 12/0', 'icmp 4/1'],
  EMSGSIZE: [RST, RST],
  ETIMEDOUT: [undefined, undefined],
};

for (const version of [4, 6] as const) {
  for (const errno of ERRNOS) {
    const signal = SIGNALS[errno][version === 4 ? 0 : 1];
    test(`PENDING: refused with ${errno} sends ${signal ?? 'nothing'} (IPv${version})`, (t) => {
      const rig = new Rig({version, onTcp: () => {}});
      rig.tcp(SYN);
      rig.flow.refuse(errno);
      const packets = rig.take();
      t.deepEqual(
        packets.map((packet) => rig.describe(packet)),
        signal === undefined ? [] : [signal],
      );
      t.deepEqual(rig.log.events, [], 'no handler is called');
      const [packet] = packets;
      if (packet !== undefined) {
        t.deepEqual(packet.source, rig.destination);
        t.deepEqual(packet.destination, rig.source);
        t.is(rig.stack.pollAt(), undefined);
      }
      if (packet !== undefined && signal !== RST) {
        const embedded = packet.transport.subarray(8);
        const headerLength = version === 4 ? 20 : 40;
        const sent = rig.build(SYN).subarray(10);
        t.deepEqual(
          embedded.subarray(headerLength, headerLength + 8),
          sent.subarray(headerLength, headerLength + 8),
          'ports and sequence number of the SYN',
        );
        const addressAt = version === 4 ? 12 : 8;
        t.deepEqual(
          embedded.subarray(addressAt, headerLength),
          sent.subarray(addressAt, headerLength),
        );
        t.is(embedded[version === 4 ? 9 : 6], 6);
        if (version === 4) {
          t.is(checksum(embedded.subarray(0, 20)), 0);
        }
      }
    });
  }
}

test('PENDING: a dial that timed out is not dialed again while the kernel repeats its SYN', (t) => {
  const rig = new Rig({onTcp: () => {}});
  rig.tcp(SYN);
  rig.flow.refuse('ETIMEDOUT');
  for (let round = 0; round < 20; round += 1) {
    rig.advance(7_000);
    t.deepEqual(rig.tcp(SYN), []);
  }
  t.is(rig.flows.length, 1);
  rig.advance(160_000);
  t.is(rig.stack.pollAt(), undefined);
  t.deepEqual(rig.log.events, []);
});

test('PENDING: after a silent timeout the port can be used again', (t) => {
  const rig = new Rig({onTcp: () => {}});
  rig.tcp(SYN);
  rig.flow.refuse('ETIMEDOUT');
  rig.tcp('< S 9000:9000(0) win 65535 <mss 1460>');
  t.is(rig.flows.length, 2);
});

test('PENDING: a refused connect is repeated by a new dial', (t) => {
  const rig = new Rig({onTcp: (flow) => flow.refuse('ECONNREFUSED')});
  t.deepEqual(rig.tcp(SYN), [RST]);
  t.deepEqual(rig.tcp(SYN), [RST]);
  t.is(rig.flows.length, 2);
});

test('SYN-RECEIVED: a refusal that comes too late is a RST', (t) => {
  const rig = new Rig();
  rig.tcp(SYN);
  rig.flow.refuse('EHOSTUNREACH');
  t.deepEqual(rig.takeText(), []);
  t.deepEqual(rig.tcp('< . 1001:1001(0) ack 1'), ['> R. 1:1(0) ack 1001 win 8192']);
});

test('the refusal waits for a device that is full', (t) => {
  const rig = new Rig({onTcp: (flow) => flow.refuse('EHOSTUNREACH')});
  rig.room = 0;
  t.deepEqual(rig.tcp(SYN), []);
  t.true((rig.stack.pollAt() ?? 1e9) <= rig.now);
  rig.room = 1;
  t.deepEqual(rig.takeText(), ['icmp 3/1']);
  t.is(rig.stack.pollAt(), undefined);
});

test('a thousand dials refused at once are all answered', (t) => {
  const rig = new Rig({onTcp: (flow) => flow.refuse('ENETUNREACH')});
  for (let port = 1_000; port < 2_000; port += 1) {
    rig.port = port;
    rig.inject(rig.build(SYN));
  }
  t.is(rig.takeText().filter((line) => line === 'icmp 3/0').length, 1_000);
});

test('SYN-RECEIVED: accept, write and reset in one go still connect, deliver, then reset', (t) => {
  const rig = new Rig({
    onTcp: (flow) => {
      flow.accept(1_000);
      flow.write(Uint8Array.of(0, 31, 62));
      flow.reset();
    },
  });
  const [synAck] = rig.tcp(SYN);
  t.is(synAck, '> S. 0:0(0) ack 1001 win 1000 <mss 1460,nop,wscale 7>');
  rig.advance(1_000);
  t.deepEqual(rig.takeText(), [synAck]);
  t.deepEqual(rig.tcp('< P. 1001:1011(10) ack 1'), [
    '> P. 1:4(3) ack 1001 win 7',
    '> R. 4:4(0) ack 1001 win 7',
  ]);
  t.deepEqual(rig.log.events, []);
  t.is(rig.stack.pollAt(), undefined);
});
