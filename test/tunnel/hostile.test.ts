import assert from 'node:assert/strict';
import test from 'ava';
import fc from 'fast-check';
import {
  emitErrno,
  emitOffset,
  emitOpen,
  emitOpened,
  emitPing,
  FRAME,
  newFrame,
} from '../../tunnel/frames.ts';
import {emitHello, emitWelcome, type VersionRange} from '../../tunnel/handshake.ts';
import {DEFAULT_LIMITS} from '../../tunnel/limits.ts';
import {Mux} from '../../tunnel/mux.ts';
import type {MuxOptions} from '../../tunnel/mux-types.ts';
import {parseResume} from '../../tunnel/resume-frames.ts';
import {Tickets} from '../../tunnel/tickets.ts';
import {Ear, holds, NONE, Pair, seeded, TOKEN} from '../helpers/tunnel.ts';

const terms = {capabilities: 0, limits: DEFAULT_LIMITS, ticket: NONE};
const hello = (fields = {}): Uint8Array =>
  emitHello({lowest: 1, highest: 1, token: TOKEN, ...terms, ...fields});

/** An agent that has seen the handshake and accepts what it is offered. */
function agent(options: Partial<MuxOptions> = {}): {
  mux: Mux;
  ear: Ear;
  code(): string | undefined;
} {
  let code: string | undefined;
  const ear = new Ear({consume: false});
  const mux = new Mux(
    {role: 'agent', token: TOKEN, random: seeded(1), ...options},
    {
      onOpen(stream) {
        stream.handler = ear;
        ear.stream = stream;
        stream.accept(NONE, 1000);
      },
      onClose: (error) => (code = error?.code ?? 'NO_ERROR'),
    },
  );
  mux.receive(hello(), 0);
  return {mux, ear, code: () => code};
}

const open = (id: number, kind: 'tcp' | 'udp' = 'tcp'): Uint8Array =>
  emitOpen(id, {kind, credit: 1000, body: NONE});

const breach = test.macro({
  exec(t, frames: Uint8Array[], code: string, options: Partial<MuxOptions> = {}) {
    const {mux, code: got} = agent(options);
    for (const frame of frames) mux.receive(frame, 1);
    t.is(got(), code);
    // The peer is told the number of the code, as the last thing.
    let last: Uint8Array | undefined;
    for (let out = mux.transmit(2); out; out = mux.transmit(2)) last = out;
    t.is(last?.[0], FRAME.close);
  },
  title: (name, _frames, code) => `${name} ends the tunnel with ${code}`,
});

const data = (id: number, length: number): Uint8Array => newFrame(FRAME.data, id, length);
const fin = (offset: number): Uint8Array => emitOffset(FRAME.fin, 1, offset);

test('a second HELLO', breach, [hello()], 'FRAME_MALFORMED');
test('an id that went down', breach, [open(3), open(1)], 'STREAM_ID');
test('an id used twice', breach, [open(1), open(1)], 'STREAM_ID');
test('an id of the other side', breach, [open(2)], 'STREAM_ID');
test('an id above 2^31', breach, [open(0x8000_0001)], 'STREAM_ID');
test('a kind nobody knows', breach, [newFrame(FRAME.open, 1, 9).fill(9, 8, 9)], 'STREAM_KIND');
test('DATA for a stream that never was', breach, [data(5, 1)], 'STREAM_UNKNOWN');
test(
  'CREDIT for a stream of ours that never was',
  breach,
  [emitOffset(FRAME.credit, 2, 9)],
  'STREAM_UNKNOWN',
);
test('a byte more than granted', breach, [open(1), data(1, 16_384), data(1, 1)], 'FLOW_CONTROL');
test('DATA after FIN', breach, [open(1), fin(0), data(1, 1)], 'STREAM_STATE');
test('FIN twice', breach, [open(1), fin(0), fin(0)], 'STREAM_STATE');
test('FIN at another offset', breach, [open(1), data(1, 2), fin(3)], 'FINAL_OFFSET');
test('DATA on a udp stream', breach, [open(1, 'udp'), data(1, 1)], 'STREAM_KIND');
test(
  'a datagram on a tcp stream',
  breach,
  [open(1), newFrame(FRAME.datagram, 1, 1)],
  'STREAM_KIND',
);
test(
  'OPENED for a stream of the sender',
  breach,
  [open(1), emitOpened(1, 0, NONE)],
  'STREAM_STATE',
);
test(
  'REFUSED for a stream of the sender',
  breach,
  [open(1), emitErrno(FRAME.refused, 1, 'EIO')],
  'STREAM_STATE',
);
test(
  'a datagram over the limit',
  breach,
  [open(1, 'udp'), newFrame(FRAME.datagram, 1, 101)],
  'DATAGRAM_TOO_BIG',
  {
    limits: {datagramBytes: 100},
  },
);
test('more streams than allowed', breach, [open(1), open(3), open(5)], 'TOO_MANY_STREAMS', {
  limits: {streams: 2},
});
test(
  'streams opened too fast',
  breach,
  Array.from({length: 9}, (_, index) => [
    open(2 * index + 1),
    emitErrno(FRAME.reset, 2 * index + 1, 'EIO'),
  ]).flat(),
  'OPEN_RATE',
  {limits: {streams: 4, opensPerSecond: 1}},
);
test(
  'a flood of pings',
  breach,
  Array.from({length: 40}, () => emitPing(FRAME.ping, new Uint8Array(8))),
  'PING_RATE',
);

test('a peer that never reads our answers ends with CONTROL_BACKLOG', (t) => {
  const mux = agent({limits: {streams: 1_000_000, opensPerSecond: 1e9}});
  let id = 1;
  for (let round = 0; round < 1000 && mux.code() === undefined; round++) {
    const many = Buffer.concat(
      Array.from({length: 1000}, () => {
        const frames = Buffer.concat([open(id), emitErrno(FRAME.reset, id, 'EIO')]);
        id += 2;
        return frames;
      }),
    );
    mux.mux.receive(many, round);
  }
  t.is(mux.code(), 'CONTROL_BACKLOG');
});

test('a peer with a CLOSE we do not know ends as INTERNAL, and is not answered', (t) => {
  const {mux, code} = agent();
  while (mux.transmit(1) !== undefined);
  mux.receive(newFrame(FRAME.close, 0, 2).fill(0xee, 8), 1);
  t.is(code(), 'INTERNAL');
  t.is(mux.transmit(1), undefined);
});

const greeting = test.macro({
  exec(t, frame: Uint8Array, code: string) {
    const pair = new Pair();
    pair.agent.receive(frame, 0);
    t.is(pair.closed.agent, code);
  },
  title: (name, _frame, code) => `an agent greeted with ${name} says ${code}`,
});

test('a wrong token', greeting, hello({token: new Uint8Array(32)}), 'BAD_TOKEN');
test('a token wrong in its last bit', greeting, hello({token: TOKEN.with(31, 6)}), 'BAD_TOKEN');
test('a newer version', greeting, hello({lowest: 2, highest: 9}), 'VERSION_MISMATCH');
test('an older version', greeting, hello({lowest: 0, highest: 0}), 'VERSION_MISMATCH');
test('no version', greeting, hello({lowest: 2, highest: 1}), 'HANDSHAKE_MALFORMED');
test('another protocol', greeting, newFrame(FRAME.hello, 0, 62), 'HANDSHAKE_MALFORMED');
test(
  'a short HELLO',
  greeting,
  hello()
    .subarray(0, 8 + 20)
    .with(3, 20),
  'HANDSHAKE_MALFORMED',
);
test('a stream', greeting, open(1), 'HANDSHAKE_EXPECTED');
test('a PING', greeting, emitPing(FRAME.ping, new Uint8Array(8)), 'HANDSHAKE_EXPECTED');
test('a range of versions with a common one', (t) => {
  const pair = new Pair();
  pair.agent.receive(hello({lowest: 0, highest: 7}), 0);
  t.true(pair.agent.isReady);
  t.is(pair.agent.peer?.version, 1);
});

const range = (lowest: number, highest: number): VersionRange => ({lowest, highest});
const skew = test.macro({
  exec(t, layer: VersionRange, agent: VersionRange, chosen: number | undefined) {
    const tickets = new Tickets();
    const resume = {windowMs: 1000};
    const pair = new Pair({
      layer: {versions: layer, resume},
      agent: {versions: agent, resume: {...resume, tickets}},
    }).settle();
    t.is(pair.layer.peer?.version, chosen);
    t.is(pair.agent.peer?.version, chosen);
    const mismatch = {agent: 'VERSION_MISMATCH', layer: 'VERSION_MISMATCH'};
    t.deepEqual(pair.closed, chosen === undefined ? mismatch : {});
    if (chosen === undefined) return;
    // Another connection goes on with the version of the session.
    pair.layer.reconnected(pair.now);
    const request = parseResume(pair.layer.transmit(pair.now)?.subarray(8) ?? NONE, agent);
    t.is(request.version, chosen);
  },
  title: (name = '') => name,
});
test('versions: both know one version: that', skew, range(1, 1), range(1, 1), 1);
test("versions: an agent that is newer: the layer's highest", skew, range(1, 3), range(2, 5), 3);
test('versions: an agent that is older: its highest', skew, range(2, 5), range(1, 3), 3);
test('versions: a layer with one version among many: that', skew, range(3, 3), range(1, 9), 3);
test(
  'versions: an agent that is much newer: both hear VERSION_MISMATCH',
  skew,
  range(1, 2),
  range(3, 4),
  undefined,
);
test(
  'versions: an agent that is much older: both hear VERSION_MISMATCH',
  skew,
  range(5, 6),
  range(3, 4),
  undefined,
);

test('a layer hears why it was turned away', (t) => {
  const pair = new Pair({layer: {token: new Uint8Array(32)}}).settle();
  t.deepEqual(pair.closed, {agent: 'BAD_TOKEN', layer: 'BAD_TOKEN'});
});

test('a layer that is welcomed with another version gives up', (t) => {
  const pair = new Pair();
  pair.layer.receive(emitWelcome({version: 2, ...terms}), 0);
  t.is(pair.closed.layer, 'VERSION_MISMATCH');
});

test('both sides know the limits and capabilities of the other', (t) => {
  const pair = new Pair({agent: {capabilities: 3, limits: {streams: 77}}}).settle();
  t.is(pair.layer.peer?.capabilities, 3);
  t.is(pair.layer.peer?.limits.streams, 77);
  t.is(pair.agent.peer?.limits.streams, DEFAULT_LIMITS.streams);
});

test('no bytes make a multiplexer throw', (t) => {
  const type = fc.constantFrom(...Object.values(FRAME), 0, 99);
  const frame = fc
    .record({
      type,
      id: fc.nat(6),
      payload: fc.uint8Array({maxLength: 40}),
      lie: fc.constantFrom(0, 0, 0, 1, -1),
    })
    .map(({type: frameType, id, payload, lie}) => {
      const isTunnel = frameType < FRAME.open;
      const bytes = newFrame(frameType, isTunnel ? 0 : id, payload.length);
      bytes.set(payload, 8);
      bytes[3] = Math.max(0, payload.length + lie);
      return bytes;
    });
  const valid = fc.constantFrom(
    open(1),
    open(3, 'udp'),
    data(1, 3),
    fin(3),
    emitErrno(FRAME.stop, 1, 'EIO'),
  );
  const message = fc
    .array(fc.oneof(frame, valid, fc.uint8Array({maxLength: 20})), {maxLength: 8})
    .map((parts) => new Uint8Array(Buffer.concat(parts)));
  holds(
    t,
    fc.property(fc.array(message, {maxLength: 5}), fc.boolean(), (messages, isGreeted) => {
      const codes: string[] = [];
      const mux = new Mux(
        {role: 'agent', token: TOKEN, random: seeded(1)},
        {
          onOpen: (stream) => stream.accept(NONE),
          onClose: (error) => codes.push(error?.code ?? 'NO_ERROR'),
        },
      );
      if (isGreeted) mux.receive(hello(), 0);
      for (const bytes of messages) {
        mux.receive(bytes, 1);
        mux.transmit(1);
      }
      assert.ok(codes.length <= 1);
      assert.equal(mux.isClosed, codes.length === 1);
    }),
    {numRuns: 5000},
  );
});
