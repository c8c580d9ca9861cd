import assert from 'node:assert/strict';
import {encode} from '@msgpack/msgpack';
import test from 'ava';
import fc from 'fast-check';
import {
  CallError,
  callOnce,
  emitCall,
  ItemReader,
  ItemWriter,
  parseCall,
  startCall,
} from '../../tunnel/calls.ts';
import {ProtocolError} from '../../tunnel/errors.ts';
import {decodeItem, encodeItem} from '../../tunnel/msgpack.ts';
import {holds, NONE, Pair, pattern} from '../helpers/tunnel.ts';

const value = fc.letrec((tie) => ({
  any: fc.oneof(
    {maxDepth: 5},
    fc.integer(),
    fc.double({noNaN: true}).map((number) => number + 0),
    fc.string(),
    fc.boolean(),
    fc.constant(null),
    fc.uint8Array(),
    fc.array(tie('any'), {maxLength: 20}),
    fc.dictionary(
      fc.string({minLength: 1}).filter((key) => key !== '__proto__'),
      tie('any'),
      {maxKeys: 20, noNullPrototype: true},
    ),
  ),
})).any;

test('any value is decoded as it was encoded', (t) => {
  holds(
    t,
    fc.property(value, (item) => assert.deepEqual(decodeItem(encodeItem(item)), item)),
  );
});

test('items arrive whole however their bytes are split', (t) => {
  holds(
    t,
    fc.property(fc.array(value, {maxLength: 5}), fc.integer({min: 1, max: 40}), (items, size) => {
      const reader = new ItemReader();
      const bytes = Buffer.concat(
        items.flatMap((item) => {
          const body = encodeItem(item);
          const head = Buffer.alloc(4);
          head.writeUInt32BE(body.length);
          return [head, body];
        }),
      );
      const got: unknown[] = [];
      for (let at = 0; at < bytes.length; at += size) {
        got.push(...reader.push(bytes.subarray(at, at + size)));
      }
      assert.deepEqual(got, items);
      assert.ok(reader.isWhole);
    }),
  );
});

const refused = test.macro({
  exec(t, bytes: Uint8Array, code: string) {
    const error = t.throws(() => decodeItem(bytes), {instanceOf: ProtocolError});
    t.is(error.code, code as never);
  },
  title: (name, _bytes, code) => `${name} is ${code}`,
});

const nested = (depth: number): Uint8Array =>
  new Uint8Array([...new Array(depth).fill(0x91), 0xc0]);
test(
  'an array that announces 2^32 elements',
  refused,
  new Uint8Array([0xdd, 255, 255, 255, 255]),
  'CALL_MALFORMED',
);
test(
  'a map of announced arrays',
  refused,
  new Uint8Array([0xdf, 0, 0, 0, 9, 0xdd, 0, 0, 255, 255]),
  'CALL_MALFORMED',
);
test('nesting of 33', refused, nested(33), 'CALL_TOO_DEEP');
test('nesting of a million', refused, nested(1_000_000), 'CALL_TOO_DEEP');
test('a string that ends too early', refused, new Uint8Array([0xa5, 0x61]), 'CALL_MALFORMED');
test('a second value', refused, new Uint8Array([0x01, 0x02]), 'CALL_MALFORMED');
test('nothing', refused, NONE, 'CALL_MALFORMED');
test('an extension', refused, encode(new Date(0)), 'CALL_MALFORMED');
test(
  'a map with the key __proto__',
  refused,
  new Uint8Array([0x81, 0xa9, ...Buffer.from('__proto__'), 0x01]),
  'CALL_MALFORMED',
);

test('nesting of 32 is allowed', (t) => {
  t.notThrows(() => decodeItem(nested(32)));
});

test('no bytes make decoding throw anything but a ProtocolError', (t) => {
  holds(
    t,
    fc.property(fc.uint8Array({maxLength: 200}), (bytes) => {
      try {
        decodeItem(bytes);
      } catch (error) {
        assert.ok(error instanceof ProtocolError);
      }
    }),
    {numRuns: 5000},
  );
});

test('an item over 16 MiB is refused by its announcement alone', (t) => {
  const error = t.throws(() => new ItemReader().push(new Uint8Array([1, 0, 0, 1])), {
    instanceOf: ProtocolError,
  });
  t.is(error.code, 'CALL_ITEM_TOO_BIG');
});

test('a request is read as it was written, and nonsense is not', (t) => {
  t.deepEqual(parseCall(emitCall({method: 'x', params: {a: 1}})), {method: 'x', params: {a: 1}});
  for (const body of [null, 3, {}, {method: 3}, {method: 'x'.repeat(65)}]) {
    t.throws(() => parseCall(encodeItem(body)), {instanceOf: ProtocolError});
  }
});

test('a unary call resolves with its one item, also one larger than a window', async (t) => {
  const blob = pattern(1_000_000);
  const pair = new Pair({
    onOpen(stream, body) {
      t.deepEqual(parseCall(body), {method: 'blob', params: null});
      const items = new ItemWriter(stream);
      stream.handler = {onWritable: () => items.flush()};
      stream.accept(NONE);
      items.send(blob);
      items.end();
    },
  }).settle();
  const answer = callOnce(pair.layer, {method: 'blob', params: null});
  pair.settle();
  t.deepEqual(await answer, blob);
  t.is(pair.layer.streamCount, 0);
});

test('a call that is refused, broken off or answered by no item rejects with an errno', async (t) => {
  const pair = new Pair({
    onOpen(stream, body) {
      const {method} = parseCall(body);
      if (method === 'refused') return stream.refuse('ENOSYS');
      stream.accept(NONE);
      if (method === 'reset') stream.reset('ESRCH');
      else stream.end();
    },
  }).settle();
  const codes = ['refused', 'reset', 'empty'].map((method) =>
    t.throwsAsync(callOnce(pair.layer, {method, params: {}}), {instanceOf: CallError}),
  );
  pair.settle();
  t.deepEqual(
    (await Promise.all(codes)).map((error) => error?.code),
    ['ENOSYS', 'ESRCH', 'EPROTO'],
  );
});

test('an aborted call rejects with the reason and resets its stream', async (t) => {
  const pair = new Pair().settle();
  const abort = new AbortController();
  const answer = callOnce(pair.layer, {method: 'never', params: {}}, abort.signal);
  pair.settle();
  abort.abort(new Error('enough'));
  await t.throwsAsync(answer, {message: 'enough'});
  pair.settle();
  t.deepEqual(pair.offered[0]?.ear.events, ['reset ECANCELED']);
});

test('a subscriber that does not read is cut off with ENOBUFS', (t) => {
  let result: boolean | undefined;
  const pair = new Pair({
    onOpen(stream) {
      const items = new ItemWriter(stream);
      stream.accept(NONE);
      for (let index = 0; index < 20; index++) result = items.send(new Uint8Array(1_000_000));
    },
  }).settle();
  const ends: (string | undefined)[] = [];
  startCall(
    pair.layer,
    {method: 'flood', params: {}},
    {onItem() {}, onEnd: (errno) => ends.push(errno)},
  );
  pair.settle();
  t.false(result);
  t.deepEqual(ends, ['ENOBUFS']);
});

test('a malformed item ends the tunnel', (t) => {
  const pair = new Pair({
    onOpen(stream) {
      stream.accept(NONE);
      stream.write(new Uint8Array([0, 0, 0, 1, 0xc1]));
    },
  }).settle();
  startCall(pair.layer, {method: 'x', params: {}}, {onItem() {}, onEnd() {}});
  pair.settle();
  t.is(pair.closed.layer, 'CALL_MALFORMED');
  t.is(pair.closed.agent, 'CALL_MALFORMED');
});
