import test from 'ava';
import {Rig, stream} from '../helpers/netstack.ts';
import {frame, icmp, ipHeader, udp, VIRTIO} from '../helpers/packet.ts';

/** A stack that holds something of everything. */
function full(): Rig {
  const rig = new Rig({
    onTcp: (flow) => {
      if (flow.source.port !== 3) flow.accept(1 << 20);
    },
    onUdp: (flow) => {
      flow.handler = {onDatagram: (to, payload) => flow.send(to, payload), onClose: () => {}};
    },
    onEcho: (echo) => rig.stack.echoReply(echo),
  });
  const {source, destination} = rig;
  rig.port = 1;
  rig.establish();
  rig.flow.end();
  rig.takeText();
  rig.tcp('< F. 1001:1001(0) ack 2'); // TIME-WAIT
  rig.port = 2;
  rig.establish();
  rig.tcp('< P. 1101:1201(100) ack 1'); // out of order
  rig.port = 3;
  rig.tcp('< S 1000:1000(0) win 65535'); // PENDING
  const datagram = udp([source, 5000], [destination, 7], stream(0, 40));
  const echo = icmp([source, destination], {type: 8, code: 0, rest: 1}, stream(0, 40));
  rig.inject(frame({source, destination, protocol: 17, transport: datagram}));
  rig.inject(frame({source, destination, protocol: 1, transport: echo}));
  const piece = {source, destination, protocol: 17, transport: datagram.subarray(0, 24)};
  const header = ipHeader(piece, {fragment: 0x2000});
  rig.inject(Uint8Array.from([...new Uint8Array(VIRTIO), ...header, ...piece.transport]));
  return rig;
}

test('usage tells what is held', (t) => {
  t.deepEqual(full().stack.usage(), {
    tcpFlows: 2,
    tcpPending: 1,
    tcpTombstones: 1,
    tcpOutOfOrderBytes: 100,
    udpFlows: 1,
    udpQueuedDatagrams: 1,
    udpQueuedBytes: 40,
    reassemblyPackets: 1,
    reassemblyBytes: 24,
    controlPackets: 1,
    controlBytes: VIRTIO + 20 + 48,
    timers: 3,
  });
});

test('when all flows are over and all deadlines past, nothing is held', (t) => {
  const rig = full();
  for (const {flow} of rig.flows) flow.reset();
  rig.advance(300_000);
  t.deepEqual([...new Set(Object.values(rig.stack.usage()))], [0]);
  t.is(rig.stack.pollAt(), undefined);
});

test('a disposed stack holds nothing', (t) => {
  const rig = full();
  rig.stack[Symbol.dispose]();
  t.deepEqual([...new Set(Object.values(rig.stack.usage()))], [0]);
});
