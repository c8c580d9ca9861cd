import test from 'ava';
import type {Echo} from '../../../netstack/types.ts';
import {Rig, type RigOptions, stream} from '../../helpers/netstack.ts';
import {concat, frame, icmp, ip} from '../../helpers/packet.ts';

/** A rig that collects echo requests (payload copied). */
function pingable(options: RigOptions = {}): Rig & {echoes: Echo[]} {
  const echoes: Echo[] = [];
  const onEcho = (echo: Echo) => echoes.push({...echo, payload: echo.payload.slice()});
  return Object.assign(new Rig({...options, onEcho}), {echoes});
}

/** Injects an ICMP message of the program. */
function send(
  rig: Rig,
  message: {type: number; code: number; rest: number},
  data: Uint8Array,
): void {
  const {source, destination} = rig;
  const transport = icmp([source, destination], message, data);
  rig.inject(frame({source, destination, protocol: source.length === 4 ? 1 : 58, transport}));
}

for (const version of [4, 6] as const) {
  for (const length of [0, 1, 56, 1_400, 60_000]) {
    test(`an echo request of ${length} bytes is handed over and its answer comes back (IPv${version})`, (t) => {
      const rig = pingable({version});
      const type = version === 4 ? 8 : 128;
      send(rig, {type, code: 0, rest: 0xbeef0007}, stream(0, length));
      t.deepEqual(rig.take(), [], 'nothing is answered here');
      const [echo] = rig.echoes;
      if (echo === undefined) {
        t.fail();
        return;
      }
      t.deepEqual(echo, {
        source: rig.source,
        destination: rig.destination,
        id: 0xbeef,
        seq: 7,
        payload: stream(0, length),
      });
      rig.stack.echoReply(echo);
      echo.payload.fill(0);
      const [packet] = rig.take();
      t.deepEqual(packet?.source, rig.destination);
      t.deepEqual(packet?.destination, rig.source);
      t.is(packet?.virtio.flags, 0, 'the checksum is complete');
      t.is(packet?.transport[0], version === 4 ? 0 : 129);
      t.deepEqual(packet?.transport.subarray(4, 8), Uint8Array.of(0xbe, 0xef, 0, 7));
      t.deepEqual(packet?.transport.subarray(8), stream(0, length));
    });
  }
}

test('an echo request with a wrong checksum is dropped', (t) => {
  const rig = pingable();
  const transport = icmp([rig.source, rig.destination], {type: 8, code: 0, rest: 1}, stream(0, 8));
  transport[9] = 99;
  rig.inject(frame({source: rig.source, destination: rig.destination, protocol: 1, transport}));
  t.is(rig.echoes.length, 0);
  t.is(rig.stack.counters.badChecksum, 1);
});

test('a reply that cannot be is dropped', (t) => {
  const rig = pingable();
  const echo = {source: rig.source, destination: rig.destination, id: 1, seq: 1};
  rig.stack.echoReply({...echo, payload: new Uint8Array(65_508)});
  rig.stack.echoReply({...echo, destination: ip('::1'), payload: new Uint8Array(1)});
  t.deepEqual(rig.take(), []);
});

test('other messages are ignored', (t) => {
  const rig = pingable();
  for (const type of [0, 3, 4, 5, 9, 10, 11, 12, 13, 14, 255]) {
    send(rig, {type, code: 0, rest: 0}, stream(0, 40));
    send(rig, {type, code: 3, rest: 0}, stream(0, 3));
  }
  const six = pingable({version: 6});
  for (const type of [1, 2, 3, 4, 129, 133, 135, 143, 255]) {
    send(six, {type, code: 4, rest: 0}, stream(0, 60));
  }
  t.deepEqual([...rig.take(), ...six.take()], []);
  t.is(rig.echoes.length + six.echoes.length, 0);
});

test('an IPv4 protocol that we do not carry draws "protocol unreachable", ICMP errors nothing', (t) => {
  const rig = pingable();
  const packet = {source: rig.source, destination: rig.destination, transport: stream(0, 600)};
  rig.inject(frame({...packet, protocol: 132}));
  const [answer] = rig.take();
  t.deepEqual(answer?.transport.subarray(0, 2), Uint8Array.of(3, 2));
  t.deepEqual(answer?.source, rig.destination);
  t.is(answer?.bytes.length, 10 + 576, 'as much of it as 576 bytes hold');
  t.is(rig.stack.counters.unknownProtocol, 1);
  rig.inject(frame({...packet, protocol: 2, destination: ip('224.0.0.22')}));
  t.deepEqual(rig.take(), [], 'nor does multicast');
});

test('an unknown IPv6 header draws a parameter problem with its place', (t) => {
  const rig = pingable({version: 6});
  const packet = {source: rig.source, destination: rig.destination};
  const transport = concat(Uint8Array.of(200, 0, 1, 4, 0, 0, 0, 0), stream(0, 2_000));
  rig.inject(frame({...packet, protocol: 60, transport}));
  const [answer] = rig.take();
  t.deepEqual(answer?.transport.subarray(0, 2), Uint8Array.of(4, 1));
  t.deepEqual(answer?.transport.subarray(4, 8), Uint8Array.of(0, 0, 0, 40));
  t.is(answer?.bytes.length, 10 + 1_280);
  rig.inject(frame({...packet, protocol: 43, transport: Uint8Array.of(17, 0, 0, 1, 0, 0, 0, 0)}));
  t.deepEqual(
    rig
      .take()[0]
      ?.transport.subarray(0, 8)
      .filter((_, at) => at !== 2 && at !== 3),
    Uint8Array.of(4, 0, 0, 0, 0, 42),
  );
});

test('background chatter is ignored in silence', (t) => {
  const rig = pingable({version: 6});
  const {source} = rig;
  for (const [destination, protocol] of [
    [ip('ff02::16'), 58],
    [ip('ff02::2'), 58],
    [ip('ff02::fb'), 17],
    [ip('ff02::1:3'), 200],
  ] as const) {
    const transport = icmp([source, destination], {type: 128, code: 0, rest: 0}, stream(0, 8));
    rig.inject(frame({source, destination, protocol, transport}));
  }
  t.deepEqual(rig.take(), []);
  t.is(rig.echoes.length, 0);
});

test('replies that wait for a full device are bounded', (t) => {
  const rig = pingable({limits: {controlPackets: 10, controlBytes: 5_000}});
  rig.room = 0;
  const echo = {source: rig.source, destination: rig.destination, id: 1, seq: 1};
  for (let count = 0; count < 20; count += 1) {
    rig.stack.echoReply({...echo, payload: new Uint8Array(10)});
  }
  rig.room = 3;
  t.is(rig.take().length, 3);
  rig.room = 100;
  t.is(rig.take().length, 7);
  rig.stack.echoReply({...echo, payload: new Uint8Array(3_000)});
  rig.stack.echoReply({...echo, payload: new Uint8Array(3_000)});
  t.is(rig.take().length, 1);
  t.is(rig.stack.counters.controlLimit, 11);
});
