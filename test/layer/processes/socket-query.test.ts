import test from 'ava';
import {addressBytes} from '../../../layer/address.ts';
import {emitSocketQuery, parseSocketAnswer} from '../../../layer/processes/socket-query.ts';

const local = {address: addressBytes('10.244.0.10'), port: 0x1234};
const peer = {address: addressBytes('10.96.0.10'), port: 53};

/** An answer about one socket, as Linux lays it out. */
function answer(state: number, inode: number): Uint8Array {
  const bytes = new Uint8Array(88 + 8).fill(0xa5);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, 96, true);
  view.setUint16(4, 20, true);
  bytes[17] = state;
  view.setUint32(84, inode, true);
  return bytes;
}

test('a query names a TCP connection from its own end', (t) => {
  const bytes = emitSocketQuery('tcp', local, peer);
  t.deepEqual([...bytes.subarray(0, 8)], [72, 0, 0, 0, 20, 0, 5, 0]);
  t.deepEqual([...bytes.subarray(16, 24)], [2, 6, 0, 0, 0, 0, 0, 0]);
  t.deepEqual([...bytes.subarray(24, 32)], [0x12, 0x34, 0, 53, 10, 244, 0, 10]);
  t.deepEqual([...bytes.subarray(44, 48)], [10, 96, 0, 10]);
  t.true(bytes.subarray(64).every((byte) => byte === 0xff));
});

test('a query names a UDP socket from the other end', (t) => {
  const bytes = emitSocketQuery('udp', local, peer);
  t.is(bytes[17], 17);
  t.deepEqual([...bytes.subarray(24, 32)], [0, 53, 0x12, 0x34, 10, 96, 0, 10]);
});

test('an answer names the socket, and tells a listener from a connection', (t) => {
  t.deepEqual(parseSocketAnswer(answer(2, 4711)), {inode: 4711, isListener: false});
  t.deepEqual(parseSocketAnswer(answer(10, 4711)), {inode: 4711, isListener: true});
});

test('a socket without a number, an error and a short answer name nothing', (t) => {
  t.is(parseSocketAnswer(answer(6, 0)), undefined);
  const error = answer(1, 4711);
  error[4] = 2;
  t.is(parseSocketAnswer(error), undefined);
  t.is(parseSocketAnswer(answer(1, 4711).subarray(0, 60)), undefined);
});
