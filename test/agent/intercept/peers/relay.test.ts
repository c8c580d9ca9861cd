import test from 'ava';
import {gather} from '../../../../agent/intercept/peers/gather.ts';
import {hasNetAdmin} from '../../../../agent/intercept/peers/may-redirect.ts';
import {
  isMeetingPoint,
  LAST_PLACE,
  MEETING_POINT,
  meetingPoint,
  parseHandedOver,
  parseLeaderInfo,
  parseLeavingInfo,
} from '../../../../agent/intercept/peers/protocol.ts';
import {relayStream} from '../../../../agent/intercept/peers/relay.ts';
import type {InterceptClient} from '../../../../agent/intercept/subscriptions.ts';
import type {MuxStream} from '../../../../tunnel/types.ts';
import {Ear, feed, NONE, Pair, pattern} from '../../../helpers/tunnel.ts';

/** A leader's stream through a follower to a program: the first hop's layer leads, the second's agent is the client. */
class Chain {
  readonly program = new Ear();
  readonly leader = new Ear();
  readonly stream: MuxStream;
  refused = 0;
  /** The program's side, once it is offered. */
  there: MuxStream | undefined;
  readonly #hops: Pair[];

  constructor(answer: (stream: MuxStream) => void = (stream) => stream.accept(NONE)) {
    const onward: Pair = new Pair({
      onOpen: (stream) => {
        this.there = stream;
        this.program.stream = stream;
        stream.handler = this.program;
        answer(stream);
      },
    });
    const first = new Pair({
      onOpen: (stream) =>
        relayStream(
          stream,
          (handler) => onward.layer.open('tcp', NONE, handler),
          () => this.refused++,
        ),
    });
    this.#hops = [first, onward];
    for (const hop of this.#hops) hop.settle();
    this.leader.stream = first.layer.open('tcp', NONE, this.leader);
    this.stream = this.leader.stream;
  }

  settle(): this {
    for (let turn = 0; turn < 1000; turn++) {
      const before = this.#messages;
      for (const hop of this.#hops) hop.settle();
      if (this.#messages === before) return this;
    }
    throw new Error('it never settles');
  }

  get #messages(): number {
    return this.#hops.reduce(
      (sum, {layer, agent}) => sum + layer.counters.messagesOut + agent.counters.messagesOut,
      0,
    );
  }
}

test('bytes and ends go both ways, what comes before the program has said yes among them', (t) => {
  const chain = new Chain();
  const [there, back] = [pattern(3 << 20, 1), pattern(2 << 20, 2)];
  feed(chain.stream, chain.leader, there, () => chain.stream.end());
  chain.settle();
  feed(chain.there as MuxStream, chain.program, back, () => chain.there?.end());
  chain.settle();
  t.true(chain.program.bytes.equals(there));
  t.true(chain.leader.bytes.equals(back));
  t.deepEqual(chain.program.events, ['end', 'close']);
  t.deepEqual(chain.leader.events, ['opened', 'end', 'close']);
});

test('who does not read stops who writes, with a window at each hop', (t) => {
  const chain = new Chain((stream) => {
    stream.handler = {};
    stream.accept(NONE);
  });
  chain.settle();
  let written = 0;
  while (chain.stream.writable > 0) {
    const bytes = new Uint8Array(chain.stream.writable);
    chain.stream.write(bytes);
    written += bytes.length;
    chain.settle();
  }
  t.true(written <= 4 << 20, `${written} bytes are under way`);
});

test('a program that refuses is the leader’s to hear, by its errno', (t) => {
  const chain = new Chain((stream) => stream.refuse('ECONNREFUSED'));
  chain.settle();
  t.deepEqual(chain.leader.events, ['refused ECONNREFUSED']);
  t.is(chain.refused, 1);
});

for (const side of ['leader', 'program'] as const) {
  test(`a reset by the ${side} reaches the other end behind the bytes before it`, (t) => {
    const chain = new Chain().settle();
    const [from, to] =
      side === 'leader' ? [chain.stream, chain.program] : [chain.there, chain.leader];
    from?.write(pattern(100_000));
    from?.reset('ETIMEDOUT');
    chain.settle();
    t.is(to.received, 100_000);
    t.is(to.events.at(-1), 'reset ETIMEDOUT');
  });

  test(`the ${side} may want no more, and still speak`, (t) => {
    const chain = new Chain().settle();
    const [here, there, ear] =
      side === 'leader'
        ? ([chain.stream, chain.there, chain.program] as const)
        : ([chain.there, chain.stream, chain.leader] as const);
    here?.stop('EPIPE');
    chain.settle();
    t.true(ear.events.includes('stop EPIPE'));
    t.is(there?.writable, 0);
    here?.write(pattern(1000));
    here?.end();
    chain.settle();
    t.is(ear.received, 1000);
    t.is(ear.events.at(-1), 'close');
  });
}

test('a client whose tunnel is over refuses', (t) => {
  const pair = new Pair({
    onOpen: (stream) =>
      relayStream(
        stream,
        () => {
          throw new Error('over');
        },
        () => undefined,
      ),
  });
  pair.settle();
  const {ear} = pair.open();
  pair.settle();
  t.deepEqual(ear.events, ['refused EHOSTUNREACH']);
});

const client = {} as InterceptClient;
const params = {id: 1, port: 80, mode: 'steal', onConcurrentSteal: 'abort'} as const;

test('those that move together are subscribed together; who gave up meanwhile is not', (t) => {
  const begun: number[] = [];
  const subscribe = gather(({id}) => {
    begun.push(id);
    return () => void begun.push(-id);
  }, 3);
  const moved = {since: 1, isMoved: true, isCaptured: false};
  const ends = [1, 2, 3, 4].map((id) =>
    subscribe({...params, id}, client, () => undefined, {...moved, isMoved: id !== 2}),
  );
  t.deepEqual(begun, [1, 2, 3, 4], 'the third that moves is the last one');
  ends[0]?.();
  t.deepEqual(begun, [1, 2, 3, 4, -1]);

  const held = gather(({id}) => {
    begun.push(id);
    return () => undefined;
  }, 2);
  held({...params, id: 5}, client, () => undefined, moved)();
  held({...params, id: 6}, client, () => undefined, moved);
  t.deepEqual(begun, [1, 2, 3, 4, -1, 6]);
});

test('what makes no sense is not read', (t) => {
  t.deepEqual(parseLeaderInfo({id: '0123abcd', port: 5}), {id: '0123abcd', port: 5});
  for (const bad of [null, 1, {}, {id: '0123abcd; reboot', port: 1}, {id: '0123abcd', port: '1'}]) {
    t.is(parseLeaderInfo(bad), undefined);
  }
  t.deepEqual(parseLeavingInfo({moving: 2}), {moving: 2});
  for (const bad of [null, {}, {id: '0123abcd', port: 1}, {moving: 'all'}]) {
    t.is(parseLeavingInfo(bad), undefined);
  }
  const standing = {since: 7, isMoved: false, isCaptured: true};
  t.like(parseHandedOver({...params, ...standing}), standing);
  for (const wrong of [{since: 1.5}, {isMoved: undefined}, {isCaptured: undefined}, {port: 0}]) {
    t.is(parseHandedOver({...params, ...standing, ...wrong}), undefined);
  }
  t.is(parseHandedOver('x'), undefined);
});

test('the meeting point is nobody else’s business, of whichever version', (t) => {
  t.true(isMeetingPoint(MEETING_POINT));
  t.true(isMeetingPoint(meetingPoint(LAST_PLACE)));
  t.false(isMeetingPoint('/mirrord/incoming/1'));
});

test('NET_ADMIN is read from the effective capabilities', (t) => {
  t.true(hasNetAdmin('Name:\tx\nCapEff:\t0000000000001000\n'));
  t.false(hasNetAdmin('CapPrm:\t0000000000001000\nCapEff:\t000001ffffffefff\n'));
  t.false(hasNetAdmin(''));
});
