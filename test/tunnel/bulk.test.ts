import test from 'ava';
import {isBulk} from '../../tunnel/bulk.ts';
import {emitHeader, FRAME, newFrame} from '../../tunnel/frames.ts';
import {MessageInbox} from '../../tunnel/message-inbox.ts';

/** What an inbox has handed on. */
function inbox(): {box: MessageInbox; said: string[]} {
  const said: string[] = [];
  const box = new MessageInbox({
    receive: (message) => said.push(`whole ${message.length}`),
    receiveBulk: (piece, bytes) => said.push(`${piece.length} of ${bytes}`),
    refuse: (code) => said.push(code),
  });
  return {box, said};
}

function give(box: MessageInbox, message: Uint8Array, ...cuts: number[]): void {
  box.begin(true, message.length);
  let at = 0;
  for (const cut of [...cuts, message.length]) {
    if (cut > at) box.take(message.subarray(at, cut));
    at = cut;
  }
  box.end();
}

const data = (bytes: number): Uint8Array => newFrame(FRAME.data, 1, bytes);

test('a bulk message is one DATA frame of more than 8 KiB that fills it', (t) => {
  t.true(isBulk(data(10_000), 10_008));
  t.true(isBulk(data(10_000).subarray(0, 8), 10_008));
  t.false(isBulk(data(10_000).subarray(0, 7), 10_008), 'without its length');
  t.false(isBulk(data(1000), 1008), 'too short');
  t.false(isBulk(data(10_000), 20_000), 'with another frame behind it');
  t.false(isBulk(newFrame(FRAME.datagram, 1, 10_000), 10_008), 'a datagram');
});

test('bulk is handed on as it comes, all else whole', (t) => {
  const {box, said} = inbox();
  give(box, data(50_000));
  give(box, data(50_000), 16_384, 32_768);
  // Its first piece does not tell what it is.
  give(box, data(50_000), 4, 30_000);
  give(box, data(1000), 500);
  give(box, new Uint8Array(0));
  box.begin(true, undefined);
  box.take(data(100));
  box.take(data(100));
  box.end();
  t.deepEqual(said, [
    '50008 of 50008',
    '16384 of 50008',
    '16384 of 50008',
    '17240 of 50008',
    'whole 50008',
    'whole 1008',
    'whole 0',
    'whole 216',
  ]);
});

test('an inbox that takes over in the middle of a message waits for the next', (t) => {
  const {box, said} = inbox();
  box.take(data(10));
  box.end();
  give(box, data(10));
  t.deepEqual(said, ['whole 18']);
});

test('a text message is refused, whatever it says', (t) => {
  const {box, said} = inbox();
  const message = new Uint8Array(20_000);
  emitHeader(message, 0, {type: FRAME.data, stream: 1, length: 19_992});
  box.begin(false, message.length);
  t.deepEqual(said, ['MESSAGE_NOT_BINARY']);
});
