/** As long as nothing of a connection is for a program, what the ends say are the bytes that they hear. */

import {once} from 'node:events';
import {createServer, type Socket} from 'node:net';
import test, {type ExecutionContext} from 'ava';
import fc from 'fast-check';
import {httpCounters} from '../../../../../agent/intercept/http/counters.ts';
import type {HttpSubscription} from '../../../../../agent/intercept/http/types.ts';
import {held} from '../../../../../agent/intercept/pass.ts';
import {dial, listen, NOBODY, relay, subscription, wants, wantsHeader} from '../world.ts';
import {
  CONTINUATION,
  DATA,
  END_HEADERS,
  END_STREAM,
  frame,
  GET_ROOT,
  HEADERS,
  OK,
  PADDED,
  POST_ROOT,
  PREFACE,
  PUSH_PROMISE,
  SETTINGS,
  settings,
  word,
} from './wire.ts';

/** Says that its table is as large as may be, and puts something into it. */
const INDEXED = Buffer.concat([POST_ROOT, Buffer.from('@\x03x-a\x04some', 'latin1')]);
/** With what was put there. */
const INDEX = Buffer.concat([POST_ROOT, Buffer.from([0xbe])]);

const block = fc.constantFrom(GET_ROOT, POST_ROOT, INDEXED, INDEX, OK);
/** Of streams that are new, one after the other, when `at` is their place. */
const request = fc
  .record({
    block,
    isWhole: fc.boolean(),
    padding: fc.option(fc.nat(20)),
    cut: fc.option(fc.nat(8)),
    body: fc.array(fc.nat(3000), {maxLength: 3}),
  })
  .map((one) => (stream: number): Buffer => {
    const {isWhole, padding, cut, body} = one;
    const last = isWhole || body.length === 0 ? END_STREAM : 0;
    const [first, rest] = [one.block.subarray(0, cut ?? 100), one.block.subarray(cut ?? 100)];
    const padded =
      padding === null
        ? first
        : Buffer.concat([Buffer.from([padding]), first, Buffer.alloc(padding, 7)]);
    const flags = last | (padding === null ? 0 : PADDED) | (cut === null ? END_HEADERS : 0);
    const frames = [frame(HEADERS, flags, stream, padded)];
    if (cut !== null) frames.push(frame(CONTINUATION, END_HEADERS, stream, rest));
    if (last === 0)
      for (const [at, length] of body.entries())
        frames.push(
          frame(DATA, at === body.length - 1 ? END_STREAM : 0, stream, Buffer.alloc(length, 3)),
        );
    return Buffer.concat(frames);
  });
const anyFrame = fc
  .tuple(
    fc.oneof(fc.constantFrom(DATA, HEADERS, 2, 3, 4, 6, 7, 8, 16), fc.integer({min: 0, max: 255})),
    fc.integer({min: 0, max: 255}),
    fc.oneof(fc.constantFrom(0, 1, 3, 5, 2), fc.nat(0x7fff_ffff)),
    fc.oneof(
      fc.constantFrom(word(1), word(0, 0), settings([4, 5])),
      fc.uint8Array({maxLength: 30}),
    ),
  )
  .map(
    ([type, flags, stream, bytes]) =>
      () =>
        frame(type, flags, stream, bytes),
  );
const push = fc.constant(
  (stream: number): Buffer =>
    frame(PUSH_PROMISE, END_HEADERS, stream, Buffer.concat([word(stream + 1), GET_ROOT])),
);
const garbage = fc.uint8Array({maxLength: 40}).map(
  (bytes) =>
    (_: number): Buffer =>
      Buffer.from(bytes),
);
const mostly = <T>(good: fc.Arbitrary<T>, ...bad: fc.Arbitrary<T>[]) =>
  fc.oneof({weight: 12, arbitrary: good}, ...bad.map((arbitrary) => ({weight: 1, arbitrary})));

/** Reads all of a connection. */
async function all(socket: Socket): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of socket) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString('hex');
}

async function say(socket: Socket, bytes: Buffer, cuts: readonly number[]): Promise<void> {
  for (let at = 0, step = 0; at < bytes.length; step++) {
    const end = at + (cuts[step % cuts.length] ?? bytes.length);
    if (!socket.write(bytes.subarray(at, end))) await once(socket, 'drain');
    at = end;
    await new Promise((resolve) => setImmediate(resolve));
  }
  socket.end();
}

const passes = test.macro(
  async (
    t: ExecutionContext,
    subscriptions: readonly HttpSubscription[],
    runs: number,
  ): Promise<void> => {
    const waiting: Socket[] = [];
    const server = createServer({allowHalfOpen: true}, (socket) => {
      waiting.push(socket);
      server.emit('one');
    });
    const {port, relays} = await relay(t, await listen(t, server), subscriptions, {
      // It is not about time.
      holdMs: 60_000,
      bodyTimeoutMs: 60_000,
      overrideCacheControl: false,
    });
    const before = httpCounters.dividedConnections;
    await fc.assert(
      fc.asyncProperty(
        fc.array(mostly(request, anyFrame, garbage), {maxLength: 12}),
        fc.array(mostly(request, anyFrame, garbage, push), {maxLength: 12}),
        fc.boolean(),
        fc.array(fc.integer({min: 1, max: 20_000}), {minLength: 1, maxLength: 6}),
        async (ofClient, ofServer, isGreeted, cuts) => {
          const upward = Buffer.concat([
            Buffer.from(PREFACE),
            frame(SETTINGS, 0, 0, settings([1, 65_536])),
            ...ofClient.map((one, at) => one(2 * at + 1)),
          ]);
          const downward = Buffer.concat([
            isGreeted ? frame(SETTINGS, 0, 0, settings([1, 65_536])) : Buffer.alloc(0),
            ...ofServer.map((one, at) => one(2 * at + 1)),
          ]);
          const client = await dial(port);
          const said = say(client, upward, cuts);
          while (waiting.length === 0) await once(server, 'one');
          const application = waiting.shift() as Socket;
          const [up, down] = await Promise.all([
            all(application),
            all(client),
            said,
            say(application, downward, cuts),
          ]);
          t.true(up === upward.toString('hex'), 'what the application hears');
          t.true(down === downward.toString('hex'), 'what the client hears');
          await Promise.all(relays);
        },
      ),
      {numRuns: runs},
    );
    t.is(httpCounters.dividedConnections, before);
    t.is(httpCounters.internalErrors, 0);
    t.is(held.bytes, 0);
  },
);

test.serial(
  'whatever the ends say passes byte for byte beside a filter of headers',
  passes,
  [subscription(NOBODY, {filter: wantsHeader('^x-user: me$')})],
  400,
);
test.serial(
  'whatever the ends say passes byte for byte beside a filter that has to think, and one of bodies',
  passes,
  [
    subscription(NOBODY, {filter: wantsHeader('^x-user: (?!you)me$')}),
    subscription(NOBODY, {
      filter: wants({kind: 'body', query: '$.user', pattern: {source: '^me$', flags: ''}}),
    }),
  ],
  150,
);
