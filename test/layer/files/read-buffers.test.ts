import {mock} from 'node:test';
import test from 'ava';
import {giveBack, spareBytes, takeBuffer} from '../../../layer/files/read-buffers.ts';

const piece = 131_072;
const room = piece + 256;

test.serial('memory that was given back is used again', (t) => {
  const bytes = takeBuffer(piece);
  giveBack(bytes);
  t.is(takeBuffer(piece - 5).buffer, bytes.buffer);
  t.not(takeBuffer(piece).buffer, bytes.buffer);
  t.is(spareBytes(), 0);
});

test.serial(
  'there is a limit, and most of it is free again when nobody has wanted it for a while',
  (t) => {
    mock.timers.enable({apis: ['setTimeout']});
    t.teardown(() => mock.timers.reset());
    const many = Array.from({length: 1100}, () => takeBuffer(piece));
    for (const bytes of many) giveBack(bytes);
    t.is(spareBytes(), 1024 * room);
    mock.timers.tick(9999);
    t.is(spareBytes(), 1024 * room);
    mock.timers.tick(1);
    t.is(spareBytes(), 64 * room);
  },
);

test.serial('small and odd pieces have memory of their own', (t) => {
  const before = spareBytes();
  for (const length of [0, 1, 1023, 5000, 16_383, 200_000]) {
    const bytes = takeBuffer(length);
    t.is(bytes.length, length);
    t.is(bytes.buffer.byteLength, length);
    giveBack(bytes);
  }
  t.is(spareBytes(), before);
});
