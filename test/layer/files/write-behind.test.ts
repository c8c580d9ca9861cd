import test from 'ava';
import fc from 'fast-check';
import {FileClient} from '../../../layer/files/file-client.ts';
import {WriteBehind, WriteBehindMemory} from '../../../layer/files/write-behind.ts';
import {FILE_OPERATION} from '../../../tunnel/files.ts';
import type {StreamHandler} from '../../../tunnel/types.ts';
import {stat} from '../../helpers/file-requests.ts';
import {fields} from '../../helpers/fuse-kernel.ts';

const MiB = 1_048_576;

interface Sent {
  readonly id: number;
  readonly operation: number;
  readonly handle: number;
  readonly offset: bigint;
  readonly bytes: Buffer;
  /** All after the handle. */
  readonly data: Buffer;
}

/** The pieces of all that was sent. */
function written(sent: readonly Sent[]): [bigint, string][] {
  const all: [bigint, string][] = [];
  for (const {operation, offset, bytes} of sent) {
    if (operation !== FILE_OPERATION.writemany) {
      all.push([offset, bytes.toString('latin1')]);
      continue;
    }
    const whole = Buffer.concat([fields(offset), bytes]);
    for (let at = 0; at < whole.length; ) {
      const end = at + 12 + whole.readUInt32LE(at + 8);
      all.push([whole.readBigUInt64LE(at), whole.toString('latin1', at + 12, end)]);
      at = end;
    }
  }
  return all;
}

/** A client whose far side answers when it is told to. */
function farSide() {
  let handler: StreamHandler | undefined;
  let waiting = Buffer.alloc(0);
  const sent: Sent[] = [];
  const client = new FileClient((given) => {
    handler = given;
    return {
      writable: 1e9,
      write(chunk: Uint8Array) {
        waiting = Buffer.concat([waiting, chunk]);
        for (let size = 0; waiting.length >= 4; waiting = waiting.subarray(size)) {
          size = 4 + waiting.readUInt32LE(0);
          if (waiting.length < size) return;
          sent.push({
            id: waiting.readUInt32LE(4),
            operation: waiting[8] ?? 0,
            handle: size >= 13 ? waiting.readUInt32LE(9) : 0,
            data: Buffer.from(waiting.subarray(Math.min(13, size), size)),
            offset: size >= 21 ? waiting.readBigUInt64LE(13) : 0n,
            bytes: Buffer.from(waiting.subarray(Math.min(21, size), size)),
          });
        }
      },
      end() {},
      reset() {},
      consumed() {},
    };
  });
  const answer = (index: number, errno = 0): void => {
    const {id = 0, operation, bytes} = sent[index] ?? {};
    const {writeall, appendall} = FILE_OPERATION;
    const isWrite = operation === writeall || operation === appendall;
    const payload = errno === 0 && isWrite ? fields(bytes?.length ?? 0) : new Uint8Array(0);
    handler?.onLentData?.(fields(8 + payload.length, id, errno, payload));
  };
  return {client, sent, answer};
}

/** Whether a promise is settled by now. */
async function isDone(promise: Promise<unknown>): Promise<boolean> {
  let done = false;
  const note = (): void => {
    done = true;
  };
  promise.then(note, note);
  await new Promise(setImmediate);
  return done;
}

const large = new Uint8Array(MiB);

test('writes go on until too much of a file is under way, and on again when some has arrived', async (t) => {
  const {client, sent, answer} = farSide();
  const memory = new WriteBehindMemory();
  const file = new WriteBehind(client, 1, memory);
  for (let index = 0; index < 8; index++) t.true(await isDone(file.write(0n, large)));
  const ninth = file.write(0n, large);
  t.false(await isDone(ninth));
  t.is(sent.length, 9, 'it is on its way all the same');
  t.is(memory.waits, 1);
  answer(0);
  t.true(await isDone(ninth));
});

test('files share what may be under way', async (t) => {
  const {client, sent, answer} = farSide();
  const memory = new WriteBehindMemory();
  for (let index = 0; index < 64; index++) {
    t.true(await isDone(new WriteBehind(client, index, memory).write(0n, large)));
  }
  const file = new WriteBehind(client, 64, memory);
  const more = file.write(0n, large);
  t.false(await isDone(more));
  answer(0);
  t.true(await isDone(more));
  for (let index = 1; index < sent.length; index++) answer(index);
  await file.settled();
  t.is(memory.bytes, 0);
});

test('a failure is told by the next write, which is not sent, and by nobody else', async (t) => {
  const {client, sent, answer} = farSide();
  const file = new WriteBehind(client, 1, new WriteBehindMemory());
  await file.write(0n, large);
  await file.write(0n, large);
  answer(0, 28);
  answer(1, 5);
  await new Promise(setImmediate);
  await t.throwsAsync(file.write(0n, large), {message: 'errno 28'});
  t.is(sent.length, 2);
  await file.settled();
});

test('a write may be answered before it is taken, unless there is a failure to be told, or no room', async (t) => {
  const {client, answer} = farSide();
  const memory = new WriteBehindMemory();
  const file = new WriteBehind(client, 1, memory);
  t.true(file.mayGoOn(MiB));
  for (let index = 0; index < 8; index++) file.take(0n, large);
  t.false(file.mayGoOn(1));
  t.true(new WriteBehind(client, 2, memory).mayGoOn(MiB), 'another file has room');
  answer(0, 28);
  await new Promise(setImmediate);
  t.false(file.mayGoOn(1));
  await t.throwsAsync(file.write(0n, Buffer.from('x')), {message: 'errno 28'});
  t.true(file.mayGoOn(1), 'it was told');
});

test('all is waited for at the end, and the first failure is told', async (t) => {
  const {client, answer} = farSide();
  const file = new WriteBehind(client, 1, new WriteBehindMemory());
  await file.write(0n, large);
  await file.write(0n, large);
  const settled = file.settled();
  answer(1, 28);
  t.false(await isDone(settled));
  answer(0);
  await t.throwsAsync(settled, {message: 'errno 28'});
});

test('small writes go out together, before anything else that is asked', async (t) => {
  const {client, sent, answer} = farSide();
  const memory = new WriteBehindMemory();
  const [one, other] = [new WriteBehind(client, 1, memory), new WriteBehind(client, 2, memory)];
  for (const file of [one, other]) await file.write(0n, Buffer.from('first'));
  t.is(sent.length, 2, 'the first of each goes at once');
  for (const index of [0, 1]) answer(index);
  sent.length = 0;
  await one.write(7n, Buffer.from('ab'));
  await one.write(9n, Buffer.from('c'));
  t.is(sent.length, 0);
  client.request(stat('/')).catch(() => undefined);
  t.is(sent.length, 2);
  t.deepEqual(written(sent.slice(0, 1)), [[7n, 'abc']]);
  t.is(sent[1]?.operation, FILE_OPERATION.stat);

  await one.write(10n, Buffer.from('d'));
  await one.write(20n, Buffer.from('e'));
  await other.write(21n, Buffer.from('f'));
  t.is(sent.length, 2);
  const settled = other.settled();
  t.is(sent.length, 4, 'one of each file');
  t.deepEqual(written(sent.slice(2)), [
    [10n, 'd'],
    [20n, 'e'],
    [21n, 'f'],
  ]);
  answer(3);
  await settled;
});

test('a lot that was gathered goes out by itself, and so does a little that nothing follows', async (t) => {
  const {client, sent} = farSide();
  const file = new WriteBehind(client, 1, new WriteBehindMemory());
  await file.write(131_073n, Buffer.from('first'));
  t.is(sent.splice(0).length, 1);
  for (let index = 0; index < 32; index++) {
    await file.write(BigInt(4096 * index), Buffer.alloc(4096, index));
  }
  t.is(sent.length, 1);
  const [[offset, text] = [1n, '']] = written(sent);
  t.deepEqual([offset, text.length, text.charCodeAt(131_071)], [0n, 131_072, 31]);
  await file.write(131_072n, Buffer.from('x'));
  while (sent.length === 1) await new Promise(setImmediate);
  t.deepEqual(written(sent.slice(1)), [[131_072n, 'x']]);
});

test('a thousand bytes here and there have room enough', async (t) => {
  const {client, sent} = farSide();
  const file = new WriteBehind(client, 1, new WriteBehindMemory());
  const wanted = Array.from({length: 20_000}, (_, index) => [BigInt(2 * index), 'x'] as const);
  for (const [place, text] of wanted) file.take(place, Buffer.from(text));
  client.release();
  t.deepEqual(
    written(sent),
    wanted.map(([...each]) => each),
  );
  t.true(sent.length < 5);
});

test('whatever is written anywhere by several files, each has the same as if all had been written at once', async (t) => {
  const write = fc.record({
    file: fc.nat({max: 1}),
    place: fc.oneof(fc.constant('end' as const), fc.nat({max: 60}), fc.nat({max: 300_000})),
    length: fc.oneof(fc.nat({max: 20}), fc.constantFrom(4096, 32_768, 32_769, 131_072)),
    isOrdered: fc.boolean(),
  });
  /** Writes into a file, which is text of one character a byte. */
  const put = (file: Buffer[], index: number, place: number | 'end', bytes: Buffer): void => {
    const old = file[index] ?? Buffer.alloc(0);
    const at = place === 'end' ? old.length : place;
    const made = Buffer.alloc(Math.max(old.length, at + bytes.length));
    made.set(old);
    made.set(bytes, at);
    file[index] = made;
  };
  await fc.assert(
    fc.asyncProperty(fc.array(write, {maxLength: 40}), async (writes) => {
      const {client, sent, answer} = farSide();
      const memory = new WriteBehindMemory();
      const files = [0, 1].map((index) => new WriteBehind(client, index, memory));
      const [wanted, found]: [Buffer[], Buffer[]] = [[], []];
      let next = 0;
      for (const [index, {file, place: anywhere, length, isOrdered}] of writes.entries()) {
        const place = isOrdered && anywhere !== 'end' ? next : anywhere;
        const bytes = Buffer.alloc(length, 1 + (index % 255));
        put(wanted, file, place, bytes);
        files[file]?.take(place === 'end' ? place : BigInt(place), bytes);
        bytes.fill(0xa5);
        if (place !== 'end') next = place + length;
      }
      client.release();
      for (const [index, each] of sent.entries()) {
        if (each.operation === FILE_OPERATION.appendall) put(found, each.handle, 'end', each.data);
        else
          for (const [at, text] of written([each]))
            put(found, each.handle, Number(at), Buffer.from(text, 'latin1'));
        answer(index);
      }
      t.deepEqual(found, wanted);
      for (const file of files) await file.settled();
      t.is(memory.bytes, 0);
    }),
    {numRuns: 50},
  );
});
