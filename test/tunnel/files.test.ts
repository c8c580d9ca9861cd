import assert from 'node:assert/strict';
import test from 'ava';
import fc from 'fast-check';
import {ProtocolError} from '../../tunnel/errors.ts';
import {
  ATTRIBUTE_BYTES,
  FILE_OPERATION,
  FileAnswers,
  FileRequest,
  parseEntries,
  parseOpenedDirectory,
} from '../../tunnel/files.ts';
import {fields} from '../helpers/fuse-kernel.ts';

test('a request has its fields in the order of the calls, however long they are', (t) => {
  const field = fc.oneof(
    fc.record({kind: fc.constant('u8'), value: fc.nat(255)}),
    fc.record({kind: fc.constant('u32'), value: fc.nat(2 ** 31 - 1)}),
    fc.record({kind: fc.constant('u64'), value: fc.bigInt({min: 0n, max: 2n ** 64n - 1n})}),
    fc.record({kind: fc.constant('string'), value: fc.uint8Array({maxLength: 4096, size: 'max'})}),
  );
  t.notThrows(() =>
    fc.assert(
      fc.property(fc.array(field, {maxLength: 12}), fc.nat(), fc.nat(1000), (all, id, data) => {
        const request = new FileRequest('rename');
        const parts = all.map(({kind, value}) => {
          if (kind === 'u8') return [request.u8(value as number), Buffer.from([value as number])];
          if (kind === 'u32') return [request.u32(value as number), fields(value as number)];
          if (kind === 'u64') return [request.u64(value as bigint), fields(value as bigint)];
          const bytes = value as Uint8Array;
          const head = Buffer.from([bytes.length & 0xff, bytes.length >> 8]);
          return [request.string(bytes), Buffer.concat([head, bytes])];
        });
        const body = Buffer.concat(parts.map(([, bytes]) => bytes as Uint8Array));
        const operation = Buffer.from([FILE_OPERATION.rename]);
        const length = 5 + body.length + data;
        const whole = Buffer.concat([fields(length, id), operation, body]);
        assert.deepEqual(Buffer.from(request.finish(id, data)), whole);
      }),
    ),
  );
});

test('answers are the same in whatever pieces they come, and into whatever memory', (t) => {
  const answer = fc
    .tuple(fc.nat(), fc.nat(200), fc.uint8Array({maxLength: 300, size: 'max'}))
    .map(([id, errno, bytes]) => ({id, errno, bytes: new Uint8Array(bytes)}));
  t.notThrows(() =>
    fc.assert(
      fc.property(
        fc.array(answer, {maxLength: 8}),
        fc.array(fc.integer({min: 1, max: 200}), {minLength: 1}),
        (all, sizes) => {
          const stream = Buffer.concat(
            all.map(({id, errno, bytes}) => fields(8 + bytes.length, id, errno, bytes)),
          );
          const got: {id: number; errno: number; bytes: Uint8Array}[] = [];
          const answers = new FileAnswers((length) => new Uint8Array(length).fill(0xee));
          for (let at = 0, turn = 0; at < stream.length; turn++) {
            const size = sizes[turn % sizes.length] ?? 1;
            const chunk = Buffer.from(stream.subarray(at, at + size));
            answers.push(chunk, (id, errno, bytes) => got.push({id, errno, bytes}));
            chunk.fill(0xa5);
            at += size;
          }
          assert.deepEqual(got, all);
        },
      ),
    ),
  );
});

test('what is no answer, and what are no entries, is a breach of the protocol and nothing else', (t) => {
  const isBreach = (run: () => unknown): void => {
    try {
      run();
    } catch (error) {
      assert.ok(error instanceof ProtocolError, String(error));
    }
  };
  const noise = fc.uint8Array({maxLength: 400});
  const name = fc.uint8Array({maxLength: 300, size: 'max'});
  const entry = fc
    .tuple(fc.bigInt({min: 0n, max: 2n ** 64n - 1n}), name, fc.nat(400))
    .map(([cookie, bytes, length]) => {
      const head = Buffer.from([length & 0xff, length >> 8]);
      return fields(cookie, new Uint8Array(ATTRIBUTE_BYTES), head, bytes);
    });
  t.notThrows(() =>
    fc.assert(
      fc.property(fc.oneof(noise, entry), (bytes) => {
        isBreach(() => new FileAnswers().push(bytes, () => undefined));
        isBreach(() => parseEntries(bytes));
        isBreach(() => parseOpenedDirectory(bytes));
      }),
      {numRuns: 500},
    ),
  );
});

test('a directory is read back as it was written; a name that would be elsewhere is not', (t) => {
  const name = fc
    .uint8Array({minLength: 1, maxLength: 255, size: 'max'})
    .filter((each) => !each.includes(0x2f) && !each.includes(0))
    .filter((each) => each.length > 2 || each.some((byte) => byte !== 0x2e));
  const entry = fc
    .tuple(
      fc.bigInt({min: 0n, max: 2n ** 64n - 1n}),
      fc.uint8Array({minLength: ATTRIBUTE_BYTES, maxLength: ATTRIBUTE_BYTES}),
      name,
    )
    .map(([cookie, attributes, bytes]) => ({cookie, attributes, name: bytes}));
  const emit = (entries: readonly {cookie: bigint; attributes: Uint8Array; name: Uint8Array}[]) =>
    Buffer.concat(
      entries.map((each) => {
        const length = Buffer.from([each.name.length & 0xff, each.name.length >> 8]);
        return fields(each.cookie, each.attributes, length, each.name);
      }),
    );
  t.notThrows(() =>
    fc.assert(
      fc.property(fc.array(entry), fc.nat(), fc.boolean(), (entries, handle, isWhole) => {
        const bytes = fields(handle, Buffer.from([isWhole ? 1 : 0]), emit(entries));
        const parsed = parseOpenedDirectory(bytes);
        assert.deepEqual({...parsed, entries: plain(parsed.entries)}, {handle, isWhole, entries});
      }),
    ),
  );
  for (const bad of ['', '.', '..', '/', 'a/b', 'a\0b', 'x'.repeat(256)]) {
    const attributes = new Uint8Array(ATTRIBUTE_BYTES);
    const bytes = emit([{cookie: 1n, attributes, name: Buffer.from(bad)}]);
    t.throws(() => parseEntries(bytes), {instanceOf: ProtocolError});
  }
});

/** Views as arrays of their own. */
function plain(entries: readonly {cookie: bigint; attributes: Uint8Array; name: Uint8Array}[]) {
  return entries.map(({cookie, attributes, name}) => {
    return {cookie, attributes: new Uint8Array(attributes), name: new Uint8Array(name)};
  });
}
