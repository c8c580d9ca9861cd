import assert from 'node:assert/strict';
import test from 'ava';
import fc from 'fast-check';
import {IN_HEADER_BYTES, OPCODE} from '../../../../layer/files/fuse/protocol.ts';
import {
  DirectoryReply,
  emitAttributes,
  emitEntry,
  emitInit,
  writeHeader,
} from '../../../../layer/files/fuse/reply.ts';
import {parseRequest} from '../../../../layer/files/fuse/request.ts';
import {holds} from '../../../helpers/tunnel.ts';

/** A request as the kernel writes it. */
function request(opcode: number, body: Uint8Array, node = 5): Uint8Array {
  const bytes = Buffer.alloc(IN_HEADER_BYTES + body.length, 0);
  bytes.writeUInt32LE(bytes.length, 0);
  bytes.writeUInt32LE(opcode, 4);
  bytes.writeBigUInt64LE(77n, 8);
  bytes.writeBigUInt64LE(BigInt(node), 16);
  bytes.set(body, IN_HEADER_BYTES);
  return bytes;
}

const u32 = (...values: number[]): Buffer => {
  const bytes = Buffer.alloc(4 * values.length);
  for (const [index, value] of values.entries()) bytes.writeUInt32LE(value, 4 * index);
  return bytes;
};
const u64 = (...values: number[]): Buffer => Buffer.concat(values.map((value) => u32(value, 0)));

test('names end with a zero byte, which is not part of them', (t) => {
  const parsed = parseRequest(request(OPCODE.lookup, Buffer.from('config\0')));
  t.like(parsed, {name: 'lookup', node: 5, unique: 77});
  t.deepEqual(parsed && 'child' in parsed && Buffer.from(parsed.child).toString(), 'config');
});

test('a rename names two directories and two names', (t) => {
  const body = Buffer.concat([u64(9), u32(1, 0), Buffer.from('a\0b\0')]);
  const parsed = parseRequest(request(OPCODE.rename2, body));
  t.like(parsed, {name: 'rename', newParent: 9, flags: 1});
});

test('a write has its bytes after forty of its own', (t) => {
  const body = Buffer.concat([u64(3), u64(4096), u32(3, 0), u64(0), u32(0, 0), Buffer.from('abc')]);
  const parsed = parseRequest(request(OPCODE.write, body));
  t.like(parsed, {name: 'write', handle: 3, offset: 4096n});
  t.deepEqual(parsed?.name === 'write' && Buffer.from(parsed.data), Buffer.from('abc'));
});

test('a write that says that it is longer than it is, is malformed', (t) => {
  const body = Buffer.concat([u64(3), u64(0), u32(4, 0), u64(0), u32(0, 0), Buffer.from('abc')]);
  t.is(parseRequest(request(OPCODE.write, body))?.name, 'malformed');
});

test('a name without an end, an empty one, and a wrong length are malformed', (t) => {
  t.is(parseRequest(request(OPCODE.lookup, Buffer.from('config')))?.name, 'malformed');
  t.is(parseRequest(request(OPCODE.lookup, Buffer.from('\0')))?.name, 'malformed');
  t.is(parseRequest(request(OPCODE.lookup, Buffer.from('a\0')).subarray(0, -1))?.name, 'malformed');
  t.is(parseRequest(new Uint8Array(39)), undefined);
});

test('what is not known is told by its number', (t) => {
  t.like(parseRequest(request(4242, new Uint8Array(0))), {name: 'unknown', opcode: 4242});
});

test('no request throws, whatever it holds', (t) => {
  const opcode = fc.oneof(fc.constantFrom(...Object.values(OPCODE)), fc.nat(60));
  holds(
    t,
    fc.property(opcode, fc.uint8Array({maxLength: 200}), (number, body) => {
      const parsed = parseRequest(request(number, body));
      assert.notEqual(parsed, undefined);
    }),
    {numRuns: 5000},
  );
  holds(
    t,
    fc.property(fc.uint8Array({maxLength: 100}), (bytes) => {
      parseRequest(bytes);
    }),
    {numRuns: 2000},
  );
});

test('a reply has a header with its whole length and a negative errno', (t) => {
  const head = Buffer.alloc(16, 0xa5);
  writeHeader(head, 77, 2, 0);
  t.deepEqual(head, Buffer.concat([u32(16, 0xffff_fffe), u64(77)]));
});

test('INIT agrees on what both have, and on reads of a megabyte', (t) => {
  const bytes = Buffer.from(emitInit({minor: 45, flags: 0xffff_ffff, maxReadahead: 131_072}));
  t.is(bytes.length, 64);
  t.deepEqual([bytes.readUInt32LE(0), bytes.readUInt32LE(4)], [7, 31]);
  t.is(bytes.readUInt32LE(8), 131_072);
  t.is(bytes.readUInt32LE(20), 1_048_576);
  t.is(Buffer.from(emitInit({minor: 45, flags: 0, maxReadahead: 0})).readUInt32LE(12), 0);
});

test('lifetimes are seconds and nanoseconds', (t) => {
  const bytes = Buffer.from(emitEntry({node: 9, lifetimes: {entryMs: 1500, attributeMs: 200}}));
  t.deepEqual([bytes.readUInt32LE(16), bytes.readUInt32LE(32)], [1, 500_000_000]);
  t.deepEqual([bytes.readUInt32LE(24), bytes.readUInt32LE(36)], [0, 200_000_000]);
  t.is(emitAttributes(new Uint8Array(88), 0).length, 104);
});

test('entries of a directory never exceed what was asked for, and are aligned', (t) => {
  const name = fc.uint8Array({minLength: 1, maxLength: 255});
  holds(
    t,
    fc.property(
      fc.array(name),
      fc.integer({min: 0, max: 4096}),
      fc.boolean(),
      (names, size, isPlus) => {
        const reply = new DirectoryReply(size, isPlus);
        for (const each of names) {
          if (!reply.fits(each.length)) break;
          reply.add(each, {
            node: 0,
            cookie: 1n,
            ino: 1n,
            mode: 0o040000,
            lifetimes: {entryMs: 0, attributeMs: 0},
          });
        }
        assert.ok(reply.bytes.length <= size);
        assert.equal(reply.bytes.length % 8, 0);
      },
    ),
  );
});
