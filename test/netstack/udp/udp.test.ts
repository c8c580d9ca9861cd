import test from 'ava';
import {type Endpoint, ERRNOS, type Errno, type UdpFlow} from '../../../netstack/types.ts';
import {
  PROGRAM4,
  PROGRAM6,
  Rig,
  type RigOptions,
  SERVER4,
  SERVER6,
  stream,
} from '../../helpers/netstack.ts';
import {frame, icmp, ip, ipHeader, ipText, type ParsedPacket, udp} from '../../helpers/packet.ts';

class UdpRig extends Rig {
  readonly udpFlows: UdpFlow[] = [];
  readonly events: string[] = [];
  readonly endpoints: Endpoint[] = [];

  constructor(options: RigOptions = {}) {
    super({...options, onUdp: (flow) => this.#onUdp(flow)});
  }

  #onUdp(flow: UdpFlow): void {
    this.udpFlows.push(flow);
    const name = flow.source.port;
    flow.handler = {
      onDatagram: (to, payload) => {
        this.endpoints.push(to);
        this.events.push(`${name}>${ipText(to.address)}:${to.port} ${payload.length}`);
        if (Buffer.compare(payload, stream(0, payload.length)) !== 0) {
          this.events.push('corrupt');
        }
      },
      onClose: () => this.events.push(`${name} closed`),
    };
  }

  get udpFlow(): UdpFlow {
    const flow = this.udpFlows.at(-1);
    if (flow === undefined) {
      throw new Error('no flow');
    }
    return flow;
  }

  /** The program sends `length` bytes of the stream. */
  datagram(length: number, {port = 5000, to = this.destination, toPort = 7} = {}): void {
    const transport = udp([this.source, port], [to, toPort], stream(0, length));
    this.inject(frame({source: this.source, destination: to, protocol: 17, transport}));
  }
}

function ports({transport}: ParsedPacket): [number, number] {
  const view = new DataView(transport.buffer, transport.byteOffset);
  return [view.getUint16(0), view.getUint16(2)];
}

for (const version of [4, 6] as const) {
  for (const length of [0, 1, 1472, 1473, version === 4 ? 65_507 : 65_527]) {
    test(`a datagram of ${length} bytes goes both ways (IPv${version})`, (t) => {
      const rig = new UdpRig({version});
      rig.datagram(length);
      const server = {address: rig.destination, port: 7};
      t.deepEqual(rig.events, [`5000>${ipText(rig.destination)}:7 ${length}`]);
      const payload = stream(0, length);
      rig.udpFlow.send(server, payload);
      payload.fill(0);
      const [packet] = rig.take();
      t.deepEqual(packet?.source, rig.destination);
      t.deepEqual(packet?.destination, rig.source);
      t.deepEqual(packet && ports(packet), [7, 5000]);
      t.is(packet?.virtio.flags, 1);
      t.is(packet?.virtio.gsoType, 0);
      t.is(
        Buffer.compare(packet?.transport.subarray(8) ?? new Uint8Array(1), stream(0, length)),
        0,
        'a copy was sent',
      );
    });
  }
}

test('one source is one flow, whatever its destinations', (t) => {
  const rig = new UdpRig();
  rig.datagram(1);
  rig.datagram(2, {to: ip('198.51.100.1')});
  rig.datagram(3, {toPort: 8});
  rig.datagram(4, {port: 5001});
  t.deepEqual(rig.events, [
    '5000>192.0.2.7:7 1',
    '5000>198.51.100.1:7 2',
    '5000>192.0.2.7:8 3',
    '5001>192.0.2.7:7 4',
  ]);
  t.deepEqual(
    rig.udpFlows.map(({source}) => source.port),
    [5000, 5001],
  );
});

test('the same destination is the same object, and may be kept', (t) => {
  const rig = new UdpRig();
  rig.datagram(1);
  rig.datagram(1);
  rig.datagram(1, {toPort: 9});
  t.is(rig.endpoints[0], rig.endpoints[1]);
  t.deepEqual(rig.endpoints[0], {address: SERVER4, port: 7});
  t.is(rig.endpoints[2]?.port, 9);
});

test('replies come from their true sender', (t) => {
  const rig = new UdpRig();
  rig.datagram(1);
  rig.udpFlow.send({address: ip('203.0.113.9'), port: 99}, Uint8Array.of(1));
  const [packet] = rig.take();
  t.deepEqual(packet?.source, ip('203.0.113.9'));
  t.deepEqual(packet && ports(packet), [99, 5000]);
});

test('an IPv6 datagram that its length field can not tell is dropped and counted', (t) => {
  const rig = new UdpRig({version: 6});
  rig.datagram(1);
  rig.udpFlow.send({address: SERVER6, port: 7}, new Uint8Array(65_528));
  t.deepEqual(rig.take(), []);
  t.is(rig.stack.counters.udpUnsendable, 1);
});

test('a datagram of the other IP version, or too long, is dropped and counted', (t) => {
  const rig = new UdpRig();
  rig.datagram(1);
  rig.udpFlow.send({address: SERVER6, port: 7}, Uint8Array.of(1));
  rig.udpFlow.send({address: SERVER4, port: 7}, new Uint8Array(65_508));
  t.deepEqual(rig.take(), []);
  t.is(rig.stack.counters.udpUnsendable, 2);
});

test('a USO super-packet is split into its datagrams', (t) => {
  const rig = new UdpRig();
  const sizes = [1200, 1200, 1200, 400];
  const payload = Uint8Array.from(sizes.flatMap((size) => [...stream(0, size)]));
  const transport = udp([rig.source, 5000], [rig.destination, 443], payload);
  const packet = {source: rig.source, destination: rig.destination, protocol: 17, transport};
  rig.inject(frame({...packet, flags: 1, gsoType: 5, gsoSize: 1200}));
  t.deepEqual(
    rig.events,
    sizes.map((size) => `5000>192.0.2.7:443 ${size}`),
  );
});

test('a USO super-packet ends when its flow is closed', (t) => {
  const rig = new UdpRig();
  rig.datagram(1);
  const {handler} = rig.udpFlow;
  if (handler !== undefined) {
    handler.onDatagram = () => {
      rig.events.push('one');
      rig.udpFlow.close();
    };
  }
  const transport = udp([rig.source, 5000], [rig.destination, 7], stream(0, 3000));
  const packet = {source: rig.source, destination: rig.destination, protocol: 17, transport};
  rig.inject(frame({...packet, flags: 1, gsoType: 5, gsoSize: 1000}));
  t.deepEqual(rig.events, ['5000>192.0.2.7:7 1', 'one']);
});

test('checksums: wrong is dropped, zero is fine in IPv4 and not in IPv6, partial is trusted', (t) => {
  for (const [version, sum, flags, arrives] of [
    [4, 0x1234, 0, false],
    [4, 0, 0, true],
    [6, 0, 0, false],
    [4, 0x1234, 1, true],
    [6, 0x1234, 2, true],
  ] as const) {
    const rig = new UdpRig({version});
    const transport = udp([rig.source, 5000], [rig.destination, 7], stream(0, 3));
    new DataView(transport.buffer).setUint16(6, sum);
    rig.inject(
      frame({source: rig.source, destination: rig.destination, protocol: 17, transport, flags}),
    );
    t.is(rig.events.length, arrives ? 1 : 0, `IPv${version} ${sum} ${flags}`);
    t.is(rig.stack.counters.badChecksum, arrives ? 0 : 1);
  }
});

test('ports 0, multicast and broadcast are not carried', (t) => {
  const rig = new UdpRig();
  rig.datagram(1, {toPort: 0});
  rig.datagram(1, {port: 0});
  rig.datagram(1, {to: ip('224.0.0.251')});
  rig.datagram(1, {to: ip('255.255.255.255')});
  t.deepEqual(rig.events, []);
  t.is(rig.stack.counters.groupDestination, 2);
  const six = new UdpRig({version: 6});
  six.datagram(1, {to: ip('ff02::fb')});
  t.deepEqual(six.events, []);
  t.deepEqual([...rig.take(), ...six.take()], [], 'and never answered');
});

const ICMP: Record<Errno, [string | undefined, string | undefined]> = {
  ECONNREFUSED: ['icmp 3/3', 'icmp 1/4'],
  ECONNRESET: [undefined, undefined],
  ENETUNREACH: ['icmp 3/9', 'icmp 1/0'],
  EHOSTUNREACH: ['icmp 3/10', 'icmp 1/3'],
  EACCES: ['icmp 3/13', 'icmp 1/1'],
  EPERM: ['icmp 3/13', 'icmp 1/1'],
  ENOPROTOOPT: ['icmp 3/2', undefined],
  EPROTO: ['icmp 12/0', 'icmp 4/1'],
  EMSGSIZE: ['icmp 3/4', 'icmp 2/0'],
  ETIMEDOUT: [undefined, undefined],
};
for (const version of [4, 6] as const) {
  for (const errno of ERRNOS) {
    const expected = ICMP[errno][version === 4 ? 0 : 1];
    test(`a datagram that failed with ${errno} draws ${expected ?? 'nothing'} (IPv${version})`, (t) => {
      const rig = new UdpRig({version});
      rig.datagram(100);
      rig.udpFlow.fail({address: rig.destination, port: 7}, errno, 1400);
      const packets = rig.take();
      t.deepEqual(
        packets.map((packet) => rig.describe(packet)),
        expected === undefined ? [] : [expected],
      );
      const [packet] = packets;
      if (packet !== undefined) {
        t.deepEqual(packet.source, rig.destination);
        const embedded = packet.transport.subarray(8 + (version === 4 ? 20 : 40));
        t.deepEqual([...embedded.subarray(0, 4)], [5000 >> 8, 5000 & 0xff, 0, 7]);
      }
      if (packet !== undefined && errno === 'EMSGSIZE') {
        const view = new DataView(packet.transport.buffer, packet.transport.byteOffset);
        t.is(view.getUint32(4), 1400);
      }
    });
  }
}

test('an incredible MTU is raised to the least possible', (t) => {
  for (const [version, mtu] of [
    [4, 552],
    [6, 1280],
  ] as const) {
    const rig = new UdpRig({version});
    rig.datagram(100);
    rig.udpFlow.fail({address: rig.destination, port: 7}, 'EMSGSIZE', 68);
    const transport = rig.take()[0]?.transport ?? new Uint8Array(8);
    t.is(new DataView(transport.buffer, transport.byteOffset).getUint32(4), mtu);
  }
});

test('ICMP errors are limited in rate', (t) => {
  const rig = new UdpRig();
  rig.datagram(1);
  for (let count = 0; count < 200; count += 1) {
    rig.udpFlow.fail({address: SERVER4, port: 7}, 'ECONNREFUSED');
  }
  t.is(rig.take().length, 50);
  t.is(rig.stack.counters.icmpRateLimit, 150);
  rig.now += 10;
  rig.take();
  for (let count = 0; count < 200; count += 1) {
    rig.udpFlow.fail({address: SERVER4, port: 7}, 'ECONNREFUSED');
  }
  t.is(rig.take().length, 10);
});

/** The program's kernel says that nobody listens on `port`, about a datagram from `from`. */
function unreachable(rig: UdpRig, from: [Uint8Array, number], port: number): void {
  const version = rig.source.length === 4 ? 4 : 6;
  const datagram = udp(from, [rig.source, port], stream(0, 30));
  const fields = {source: from[0], destination: rig.source, protocol: 17, transport: datagram};
  const offender = Uint8Array.from([...ipHeader(fields), ...datagram.subarray(0, 8)]);
  const type = version === 4 ? {type: 3, code: 3, rest: 0} : {type: 1, code: 4, rest: 0};
  const transport = icmp([rig.source, from[0]], type, offender);
  const protocol = version === 4 ? 1 : 58;
  rig.inject(frame({source: rig.source, destination: from[0], protocol, transport}));
}

for (const version of [4, 6] as const) {
  test(`a flow that nobody listens to any more is closed (IPv${version})`, (t) => {
    const rig = new UdpRig({version});
    rig.datagram(1);
    unreachable(rig, [rig.destination, 7], 5000);
    t.is(rig.events.at(-1), '5000 closed');
    t.is(rig.stack.pollAt(), undefined);
    rig.udpFlow.send({address: rig.destination, port: 7}, Uint8Array.of(1));
    t.deepEqual(rig.take(), []);
  });
}

test('a stranger that a connected socket refuses does not close its flow', (t) => {
  const rig = new UdpRig();
  rig.datagram(1);
  unreachable(rig, [SERVER4, 8], 5000);
  unreachable(rig, [ip('203.0.113.1'), 7], 5000);
  unreachable(rig, [SERVER4, 7], 5001);
  t.is(rig.events.length, 1);
  t.is(rig.stack.counters.udpUnreachable, 0);
});

for (const [what, port, replies, seconds] of [
  ['DNS', 53, 1, 15],
  ['a flow without an answer', 7, 0, 60],
  ['a flow with one', 7, 1, 300],
] as const) {
  test(`${what} is forgotten after ${seconds} s`, (t) => {
    const rig = new UdpRig();
    rig.datagram(1, {toPort: port});
    if (replies > 0) {
      rig.udpFlow.send({address: SERVER4, port}, Uint8Array.of(1));
      rig.take();
    }
    rig.advance(seconds * 1_000 - 1);
    t.is(rig.events.length, 1);
    rig.datagram(1, {toPort: port});
    rig.advance(seconds * 1_000 - 1);
    t.is(rig.events.length, 2, 'use prolongs');
    rig.advance(1);
    t.is(rig.events.at(-1), '5000 closed');
    t.is(rig.stack.pollAt(), undefined);
    rig.datagram(1);
    t.is(rig.udpFlows.length, 2);
  });
}

test('the least recently used flow makes room', (t) => {
  const rig = new UdpRig({limits: {udpFlows: 3}});
  for (const port of [1, 2, 3, 1, 4, 1, 5]) {
    rig.datagram(1, {port});
  }
  t.deepEqual(
    rig.events.filter((event) => event.endsWith('closed')),
    ['2 closed', '3 closed'],
  );
  t.is(rig.stack.counters.udpEvicted, 2);
  t.is(rig.udpFlows.length, 5);
});

test('what waits for a full device is bounded, in datagrams and bytes', (t) => {
  const rig = new UdpRig();
  rig.datagram(1);
  rig.room = 0;
  const server = {address: SERVER4, port: 7};
  for (let count = 0; count < 200; count += 1) {
    rig.udpFlow.send(server, Uint8Array.of(0));
  }
  t.is(rig.stack.counters.udpQueueLimit, 72);
  rig.room = 1_000;
  t.is(rig.take().length, 128);
  rig.room = 0;
  for (let count = 0; count < 10; count += 1) {
    rig.udpFlow.send(server, new Uint8Array(60_000));
  }
  rig.room = 1_000;
  t.is(rig.take().length, 4);
});

test('what waits is dropped with its flow', (t) => {
  const rig = new UdpRig();
  rig.datagram(1);
  rig.udpFlow.send({address: SERVER4, port: 7}, Uint8Array.of(0));
  rig.udpFlow.close();
  t.deepEqual(rig.take(), []);
  t.is(rig.stack.pollAt(), undefined);
});

test('a flow that nobody takes is forgotten', (t) => {
  const rig = new Rig({onUdp: () => {}});
  const transport = udp([PROGRAM4, 1], [SERVER4, 2], new Uint8Array(1));
  rig.inject(frame({source: PROGRAM4, destination: SERVER4, protocol: 17, transport}));
  t.is(rig.stack.pollAt(), undefined);
});

test('a source that is not of the namespace is dropped', (t) => {
  const rig = new UdpRig();
  for (const [source, destination] of [
    [ip('10.1.2.4'), SERVER4],
    [ip('fd00::4'), SERVER6],
    [ip('fe80::1'), SERVER6],
  ] as const) {
    const transport = udp([source, 1], [destination, 2], new Uint8Array(1));
    rig.inject(frame({source, destination, protocol: 17, transport}));
  }
  t.is(rig.udpFlows.length, 0);
  t.is(rig.stack.counters.foreignSource, 3);
  t.deepEqual(PROGRAM6, ip('fd00::3'));
});
