import assert from 'node:assert/strict';
import test from 'ava';
import fc from 'fast-check';
import {emitOffset, FRAME} from '../../tunnel/frames.ts';
import {ACK_AFTER_MS, MAX_TICKETS, RETAINED_BYTES} from '../../tunnel/limits.ts';
import {Mux} from '../../tunnel/mux.ts';
import {emitResume, parseResume} from '../../tunnel/resume-frames.ts';
import {Tickets} from '../../tunnel/tickets.ts';
import {ResumablePair, WINDOW_MS} from '../helpers/resume.ts';
import {Ear, feed, holds, NONE, pattern, seeded, TOKEN} from '../helpers/tunnel.ts';

const request = {
  version: 1,
  token: TOKEN,
  ticket: new Uint8Array(16).fill(3),
  received: 2 ** 40 + 7,
};

test('RESUME comes out as it went in', (t) => {
  t.deepEqual(parseResume(emitResume(request).subarray(8)), request);
});

test('a cut is nothing that a stream notices', (t) => {
  const pair = new ResumablePair().settle();
  const {stream, ear} = pair.open();
  pair.settle();
  stream.write(pattern(50_000));
  pair.send();
  pair.cut();
  t.true(pair.layer.isSuspended && pair.agent.isSuspended);
  t.true(stream.writable > 0, 'writes wait');
  stream.write(pattern(1000, 2));
  stream.end();
  pair.now += 5000;
  pair.reconnect();
  pair.settle();
  t.deepEqual(pair.offered[0]?.ear.bytes, Buffer.concat([pattern(50_000), pattern(1000, 2)]));
  t.deepEqual(pair.offered[0]?.ear.events, ['end']);
  t.deepEqual(ear.events, ['opened']);
  t.deepEqual(pair.events, [
    'layer suspended',
    'agent suspended',
    'agent resumed',
    'layer resumed',
  ]);
  t.true(pair.layer.counters.messagesResent > 0);
});

test('a stream that is opened without a connection opens when there is one', (t) => {
  const pair = new ResumablePair().settle();
  pair.cut();
  const {ear} = pair.open();
  pair.reconnect();
  pair.settle();
  t.deepEqual(ear.events, ['opened']);
});

test('an agent that has not noticed the loss lets the new connection take over', (t) => {
  const pair = new ResumablePair().settle();
  const {ear} = pair.open();
  pair.settle();
  pair.cut({agentNotices: false});
  t.true(pair.agent.isReady);
  const side = pair.offered[0];
  side?.stream.write(pattern(9000));
  // Into the connection that is no more.
  while (pair.agent.transmit(pair.now) !== undefined);
  pair.reconnect();
  pair.settle();
  t.true(ear.bytes.equals(pattern(9000)));
});

test('the window is over: both sides give up, and each stream is reset', (t) => {
  const pair = new ResumablePair().settle();
  const {stream, ear} = pair.open();
  pair.settle();
  stream.write(pattern(100));
  pair.cut();
  pair.advance(WINDOW_MS - 1);
  t.true(pair.layer.isSuspended && pair.agent.isSuspended);
  pair.advance(1);
  t.deepEqual(pair.events.slice(2), ['layer closed RESUME_TIMEOUT', 'agent closed RESUME_TIMEOUT']);
  t.deepEqual(ear.events, ['opened', 'reset ECONNRESET']);
  t.deepEqual(pair.offered[0]?.ear.events, ['reset ECONNRESET']);
  t.is(pair.tickets.size, 0);
});

test('the window begins anew with each loss, and goes on when resuming fails', (t) => {
  const pair = new ResumablePair().settle();
  pair.cut();
  pair.advance(WINDOW_MS - 1000);
  pair.reconnect();
  pair.settle();
  pair.cut();
  pair.advance(WINDOW_MS - 1000);
  // A connection that is lost before the answer.
  pair.reconnect();
  pair.send();
  pair.cut();
  t.true(pair.layer.isSuspended);
  pair.advance(1000);
  t.true(pair.layer.isClosed);
});

test('an agent that has forgotten the session says so', (t) => {
  const pair = new ResumablePair().settle();
  const {ear} = pair.open();
  pair.settle();
  pair.cut();
  pair.agent.close();
  pair.reconnect();
  pair.settle();
  t.deepEqual(pair.events.at(-1), 'layer closed RESUME_UNKNOWN');
  t.deepEqual(ear.events, ['opened', 'reset ECONNRESET']);
});

test('no answer to RESUME for 10 s: the connection is given up, not the session', (t) => {
  const pair = new ResumablePair().settle();
  pair.cut();
  pair.layer.reconnected(pair.now);
  t.is(pair.layer.transmit(pair.now)?.[0], FRAME.resume);
  pair.advance(9999);
  t.false(pair.layer.isSuspended);
  pair.advance(1);
  t.true(pair.layer.isSuspended);
  pair.reconnect();
  pair.settle();
  t.true(pair.layer.isReady);
});

test('a silent peer leads to another connection, not to the end', (t) => {
  const pair = new ResumablePair().settle();
  pair.isUp = false;
  pair.advance(20_500);
  t.deepEqual(pair.events, ['layer suspended', 'agent suspended']);
  pair.reconnect();
  pair.settle();
  pair.advance(60_000);
  t.true(pair.layer.isReady && pair.agent.isReady);
});

test('what came is acknowledged in time, and then nothing is kept any more', (t) => {
  const pair = new ResumablePair().settle();
  const {stream} = pair.open();
  pair.settle();
  stream.write(pattern(1000));
  pair.settle();
  t.true(pair.layer.unacknowledged > 0);
  pair.advance(2 * ACK_AFTER_MS);
  t.is(pair.layer.unacknowledged + pair.agent.unacknowledged, 0);
  const {messagesOut} = pair.layer.counters;
  pair.advance(2000);
  t.is(pair.layer.counters.messagesOut, messagesOut, 'an ACK is not acknowledged');
});

test('without an ACK the sender stops at its limit, and goes on with it', (t) => {
  const mux = new Mux(
    {role: 'layer', token: TOKEN, random: seeded(1), resume: {windowMs: WINDOW_MS}},
    {},
  );
  const agent = new Mux(
    {
      role: 'agent',
      token: TOKEN,
      random: seeded(2),
      resume: {windowMs: WINDOW_MS, tickets: new Tickets()},
    },
    {
      onOpen(stream) {
        const ear = new Ear();
        ear.stream = stream;
        stream.handler = ear;
        stream.accept(NONE, 2 * RETAINED_BYTES);
      },
    },
  );
  const ears = [new Ear(), new Ear()];
  agent.receive(mux.transmit(0) ?? NONE, 0);
  for (let out = agent.transmit(0); out; out = agent.transmit(0)) mux.receive(out, 0);
  const [ear] = ears as [Ear];
  const stream = mux.open('tcp', NONE, ear);
  let messages = 0;
  let bytes = 0;
  const fill = (): void => {
    for (;;) {
      if (stream.writable > 0) stream.write(new Uint8Array(Math.min(65_536, stream.writable)));
      const message = mux.transmit(0);
      if (message === undefined) return;
      messages++;
      bytes += message.length;
      // The agent hears everything; its acknowledgements are lost.
      agent.receive(message.slice(), 0);
      for (let out = agent.transmit(0); out; out = agent.transmit(0)) {
        if (out[0] !== FRAME.ack) mux.receive(out.slice(), 0);
      }
    }
  };
  fill();
  t.true(bytes > 0.98 * RETAINED_BYTES && bytes < RETAINED_BYTES + 70_000, `${bytes}`);
  t.true(mux.counters.retentionStalls > 0);
  t.true((mux.pollAt() ?? 0) > 0, 'nothing is tried in vain');
  const before = messages;
  mux.receive(emitOffset(FRAME.ack, 0, messages), 0);
  fill();
  t.true(messages > before);
});

test('a count that cannot be ends the tunnel', (t) => {
  const pair = new ResumablePair().settle();
  pair.layer.receive(emitOffset(FRAME.ack, 0, 99), pair.now);
  t.deepEqual(pair.events, ['layer closed RESUME_COUNT']);
});

/** What an agent with a session of ours answers to a first message. */
function answerTo(pair: ResumablePair, message: Uint8Array): string {
  let code = 'none';
  const resume = {windowMs: WINDOW_MS, tickets: pair.tickets};
  const mux = new Mux(
    {role: 'agent', token: TOKEN, random: seeded(3), resume},
    {onClose: (error) => (code = error?.code ?? 'NO_ERROR')},
  );
  mux.receive(message, pair.now);
  if (code !== 'none') assert.equal(mux.transmit(pair.now)?.[0], FRAME.close);
  return code;
}

test('RESUME of a stranger is answered by its code, and the session goes on', (t) => {
  const pair = new ResumablePair().settle();
  pair.cut();
  pair.layer.reconnected(pair.now);
  const own = parseResume(pair.layer.transmit(pair.now)?.subarray(8) ?? NONE);
  for (const [change, code] of [
    [{token: TOKEN.with(3, 1)}, 'BAD_TOKEN'],
    [{ticket: own.ticket.with(3, (own.ticket[3] ?? 0) ^ 1)}, 'RESUME_UNKNOWN'],
    [{version: 9}, 'VERSION_MISMATCH'],
    [{received: own.received + 100}, 'RESUME_COUNT'],
    [{received: 2 ** 53 - 1}, 'RESUME_COUNT'],
  ] as const) {
    t.is(answerTo(pair, emitResume({...own, ...change})), code);
    t.true(pair.agent.isSuspended);
  }
  t.is(answerTo(pair, emitResume(own).fill(0, 8, 12)), 'HANDSHAKE_MALFORMED');
  t.is(answerTo(pair, emitResume(own)), 'none');
  t.true(pair.agent.isReady);
});

test('RESUME and ACK in a session that has not agreed on them are a breach', (t) => {
  for (const frame of [emitResume(request), emitOffset(FRAME.ack, 0, 0)]) {
    const pair = new ResumablePair({layer: {resume: undefined as never}}).settle();
    pair.agent.receive(frame, pair.now);
    t.deepEqual(pair.events, ['agent closed FRAME_MALFORMED']);
  }
});

test('a layer that cannot resume gets no ticket, and ends with its connection', (t) => {
  const pair = new ResumablePair({layer: {resume: undefined as never}}).settle();
  t.is(pair.tickets.size, 0);
  pair.cut();
  t.deepEqual(pair.events, ['layer closed CONNECTION_LOST', 'agent closed CONNECTION_LOST']);
});

test('there is room for so many sessions; one more ends with its connection', (t) => {
  const tickets = new Tickets();
  const session = {resumeWith() {}};
  const issued = Array.from({length: MAX_TICKETS}, () => tickets.issue(session, Math.random));
  t.is(tickets.issue(session, Math.random).length, 0);
  tickets.forget(issued[0] ?? NONE);
  t.is(tickets.issue(session, Math.random).length, 16);
});

const step = fc.oneof(
  fc.record({
    kind: fc.constant('move' as const),
    send: fc.nat(6),
    toAgent: fc.nat(6),
    toLayer: fc.nat(6),
  }),
  fc.record({kind: fc.constant('wait' as const), ms: fc.nat(120)}),
  fc.record({kind: fc.constant('cut' as const), agentNotices: fc.boolean()}),
  fc.record({kind: fc.constant('notice' as const)}),
  fc.record({kind: fc.constant('reconnect' as const)}),
);

test('whatever is cut whenever: each byte arrives once and in order, both ways', (t) => {
  const run = fc.property(fc.array(step, {maxLength: 120}), fc.nat(), (steps, seed) => {
    const pair = new ResumablePair().settle();
    const streams = [1, 2, 3].map((index) => {
      const sent = pattern(90_000 * index, seed + index);
      const answer = pattern(70_000 * index, seed + 10 + index);
      const {stream, ear} = pair.open();
      feed(stream, ear, sent, () => stream.end());
      return {ear, sent, answer};
    });
    pair.send();
    pair.deliver();
    const answerWhatCame = (): void => {
      while (started < pair.offered.length) {
        const side = pair.offered[started];
        const {answer} = streams[started] ?? {};
        started++;
        if (side === undefined || answer === undefined) continue;
        feed(side.stream, side.ear, answer, () => side.stream.end());
      }
    };
    let started = 0;
    for (const one of steps) {
      answerWhatCame();
      if (one.kind === 'move') {
        pair.send(one.send);
        pair.deliver(one.toAgent, one.toLayer);
      } else if (one.kind === 'wait') {
        pair.now += one.ms;
        pair.layer.poll(pair.now);
        pair.agent.poll(pair.now);
      } else if (one.kind === 'cut') {
        pair.cut(one);
      } else if (one.kind === 'notice') {
        if (!pair.isUp) pair.agent.disconnected(pair.now);
      } else {
        pair.reconnect();
      }
    }
    pair.reconnect();
    pair.settle();
    answerWhatCame();
    pair.advance(500);
    streams.forEach(({ear, sent, answer}, index) => {
      assert.ok(pair.offered[index]?.ear.bytes.equals(sent));
      assert.ok(ear.bytes.equals(answer));
      assert.deepEqual(ear.events, ['opened', 'end', 'close']);
      assert.deepEqual(pair.offered[index]?.ear.events, ['end', 'close']);
    });
    assert.ok(pair.layer.isReady && pair.agent.isReady);
    assert.equal(pair.layer.unacknowledged + pair.agent.unacknowledged, 0);
    assert.equal(pair.layer.streamCount + pair.agent.streamCount, 0);
  });
  holds(t, run, {numRuns: 200});
});
