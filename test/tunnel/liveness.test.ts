import test from 'ava';
import {Mux} from '../../tunnel/mux.ts';
import {NONE, Pair, seeded, TOKEN} from '../helpers/tunnel.ts';

test('an agent that is not greeted closes after its patience', (t) => {
  const pair = new Pair({agent: {handshakeTimeoutMs: 30_000}});
  pair.agent.poll(0);
  t.is(pair.agent.pollAt(), 30_000);
  pair.agent.poll(29_999);
  t.false(pair.agent.isClosed);
  pair.agent.poll(30_000);
  t.is(pair.closed.agent, 'HANDSHAKE_TIMEOUT');
});

test('the round trip is the smallest one measured', (t) => {
  const pair = new Pair({delayMs: 30}).advance(25_000);
  t.is(pair.layer.minRttMs, 60);
  t.is(pair.agent.minRttMs, 60);
});

test('thirty idle minutes cost a ping and an answer every four seconds, and nobody dies', (t) => {
  const pair = new Pair({delayMs: 20}).advance(1000);
  const before = pair.layer.counters.messagesOut;
  pair.advance(30 * 60_000);
  t.deepEqual(pair.closed, {});
  t.true(pair.layer.isReady && pair.agent.isReady);
  const messages = pair.layer.counters.messagesOut - before;
  t.true(messages >= 450 && messages <= 910, `${messages}`);
});

/** A layer whose peer has fallen silent at 1000. */
function orphan(): {mux: Mux; code(): string | undefined} {
  const pair = new Pair().settle();
  let code: string | undefined;
  const mux = new Mux(
    {role: 'layer', token: TOKEN, random: seeded(1)},
    {onClose: (error) => (code = error?.code)},
  );
  const agent = new Mux({role: 'agent', token: TOKEN, random: seeded(2)}, {});
  agent.receive(mux.transmit(pair.now) ?? NONE, pair.now);
  for (let out = agent.transmit(pair.now); out; out = agent.transmit(pair.now))
    mux.receive(out, pair.now);
  return {mux, code: () => code};
}

/** Calls `poll` when it is asked for, and returns the time at which the tunnel closed. */
function liveUntilClosed(mux: Mux, from: number): number {
  let now = from;
  while (!mux.isClosed && now < from + 100_000) {
    now = Math.max(now, mux.pollAt() ?? now);
    while (mux.transmit(now) !== undefined);
  }
  return now;
}

test('a silent peer is asked every 4 s and dead after 20 s', (t) => {
  const {mux, code} = orphan();
  while (mux.transmit(1000) !== undefined);
  t.is(mux.pollAt(), 5000);
  t.is(liveUntilClosed(mux, 1000), 21_000);
  t.is(code(), 'PEER_DEAD');
});

test('any traffic is a sign of life', (t) => {
  const {mux} = orphan();
  for (let now = 1000; now < 200_000; now += 5000) {
    mux.receive(NONE, now);
    while (mux.transmit(now) !== undefined);
  }
  t.false(mux.isClosed);
});

test('a process that was asleep itself gives its peer another interval', (t) => {
  const {mux, code} = orphan();
  while (mux.transmit(1000) !== undefined);
  mux.poll(90_000);
  t.false(mux.isClosed, 'the silence was our own');
  t.is(liveUntilClosed(mux, 90_000), 100_000);
  t.is(code(), 'PEER_DEAD');
});

test('a process that was asleep finds a peer that lives', (t) => {
  const pair = new Pair().settle();
  pair.now += 90_000;
  pair.layer.poll(pair.now);
  pair.agent.poll(pair.now);
  pair.advance(60_000);
  t.deepEqual(pair.closed, {});
});
