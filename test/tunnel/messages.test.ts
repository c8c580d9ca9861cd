import assert from 'node:assert/strict';
import test from 'ava';
import fc from 'fast-check';
import {ProtocolError} from '../../tunnel/errors.ts';
import {
  emitEchoHead,
  emitEchoReplyHead,
  emitEndpoint,
  emitUdpFailure,
  emitUdpHead,
  emitUnix,
  parseEcho,
  parseEchoReply,
  parseEndpoint,
  parseFamily,
  parseUdpReport,
  parseUdpSend,
  parseUnix,
} from '../../tunnel/messages.ts';
import {holds} from '../helpers/tunnel.ts';

const bytes = (length: number) => fc.uint8Array({minLength: length, maxLength: length});
const address = fc.oneof(bytes(4), bytes(16));
const endpoint = fc.record({address, port: fc.nat(0xffff)}, {noNullPrototype: true});
const join = (...parts: Uint8Array[]): Uint8Array => new Uint8Array(Buffer.concat(parts));

test('an endpoint is read as it was written', (t) => {
  holds(
    t,
    fc.property(endpoint, (value) => assert.deepEqual(parseEndpoint(emitEndpoint(value)), value)),
  );
});

test('a udp datagram keeps its peer and payload in both directions', (t) => {
  holds(
    t,
    fc.property(endpoint, fc.uint8Array(), (peer, payload) => {
      assert.deepEqual(parseUdpSend(join(emitEndpoint(peer), payload)), {to: peer, payload});
      assert.deepEqual(parseUdpReport(join(emitUdpHead(peer), payload)), {
        type: 'datagram',
        from: peer,
        payload,
      });
    }),
  );
});

test('a udp failure keeps its destination, errno and mtu', (t) => {
  holds(
    t,
    fc.property(endpoint, fc.nat(0xffff), (to, mtu) => {
      const report = parseUdpReport(emitUdpFailure(to, 'EMSGSIZE', mtu));
      assert.deepEqual(report, {type: 'failure', to, errno: 'EMSGSIZE', mtu: mtu || undefined});
    }),
  );
});

test('an echo keeps its id and sequence, a reply also its ttl', (t) => {
  const echo = fc.record(
    {address, id: fc.nat(0xffff), seq: fc.nat(0xffff)},
    {noNullPrototype: true},
  );
  holds(
    t,
    fc.property(echo, fc.nat(255), fc.uint8Array(), (value, ttl, payload) => {
      const family = value.address.length === 4 ? 4 : 6;
      assert.deepEqual(parseEcho(join(emitEchoHead(value), payload), family), {...value, payload});
      const reply = {...value, ttl: ttl || undefined};
      assert.deepEqual(parseEchoReply(join(emitEchoReplyHead(reply), payload), family), {
        ...reply,
        payload,
      });
    }),
  );
});

test('no bytes make a parser throw anything but a ProtocolError', (t) => {
  const parsers = [
    parseEndpoint,
    parseFamily,
    parseUdpSend,
    parseUdpReport,
    (body: Uint8Array) => parseEcho(body, 4),
    (body: Uint8Array) => parseEchoReply(body, 6),
  ];
  holds(
    t,
    fc.property(fc.uint8Array(), fc.constantFrom(...parsers), (body, parse) => {
      try {
        parse(body);
      } catch (error) {
        assert.ok(error instanceof ProtocolError);
      }
    }),
    {numRuns: 2000},
  );
});

test('a unix socket is read as it was written, with a path or an abstract name', (t) => {
  for (const type of ['stream', 'seqpacket'] as const) {
    for (const name of ['/', '/run/a b.sock', '/rün/☂', '\0bus', `\0${'\0'.repeat(107)}`]) {
      t.deepEqual(parseUnix(emitUnix({type, name})), {type, name});
    }
  }
});

test('a name that no socket can have is not written', (t) => {
  const name = `/${'x'.repeat(108)}`;
  t.throws(() => emitUnix({type: 'stream', name}), {instanceOf: RangeError});
});

test('the body of a unix stream that makes no sense ends the tunnel', (t) => {
  const path = Buffer.from('/run/a.sock');
  for (const bytes of [
    [],
    [1],
    [0, ...path],
    [3, ...path],
    [1, 0xff, 0xfe],
    [1, ...Buffer.alloc(109, 'x')],
  ]) {
    t.throws(() => parseUnix(new Uint8Array(bytes)), {instanceOf: ProtocolError});
  }
});
