import test from 'ava';
import {addressBytes} from '../../layer/address.ts';
import {listenerAt} from '../../layer/listeners/listener.ts';
import {parseTable} from '../../layer/listeners/proc-net.ts';
import {emitListenersRequest, parseListeners} from '../../layer/listeners/sock-diag.ts';

/** An answer's message about one listener, as Linux lays it out. */
function message(family: number, address: readonly number[], port: number): Uint8Array {
  const bytes = new Uint8Array(96).fill(0xa5);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, 94, true); // not a multiple of four: padded
  view.setUint16(4, 20, true);
  bytes.set([family, 10], 16);
  view.setUint16(20, port);
  bytes.fill(0, 24, 40);
  bytes.set(address, 24);
  return bytes;
}

function done(): Uint8Array {
  const bytes = new Uint8Array(20);
  bytes.set([20, 0, 0, 0, 3]);
  return bytes;
}

function failure(): Uint8Array {
  const bytes = new Uint8Array(36);
  bytes.set([36, 0, 0, 0, 2]);
  return bytes;
}

test('a request asks for the listening TCP sockets of a family', (t) => {
  const bytes = emitListenersRequest(6);
  t.deepEqual([...bytes.subarray(0, 8)], [72, 0, 0, 0, 20, 0, 1, 3]);
  t.deepEqual([...bytes.subarray(16, 24)], [10, 6, 0, 0, 0, 4, 0, 0]);
  t.true(bytes.subarray(24).every((byte) => byte === 0));
});

test('an answer names listeners, as many as it has', (t) => {
  const answer = Buffer.concat([
    message(2, [127, 0, 0, 1], 8080),
    message(10, [...addressBytes('::1')], 443),
    message(10, [...addressBytes('::ffff:10.0.0.1')], 80),
    done(),
  ]);
  t.deepEqual(parseListeners(answer), [
    {address: '127.0.0.1', port: 8080},
    {address: '::1', port: 443},
    {address: '10.0.0.1', port: 80},
  ]);
  t.deepEqual(parseListeners(done()), []);
});

test('an error is no answer, and neither is half a message', (t) => {
  t.is(parseListeners(failure()), undefined);
  t.is(parseListeners(message(2, [127, 0, 0, 1], 8080).subarray(0, 80)), undefined);
});

test('tables of /proc/net name listeners in both families; other sockets are left out', (t) => {
  const table = [
    '  sl  local_address rem_address   st tx_queue rx_queue …',
    '   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 …',
    '   1: 0A00F40A:8D1A 1500600A:0050 01 00000000:00000000 …',
    '   2: 00000000000000000000000001000000:01BB 00000000000000000000000000000000:0000 0A …',
    '   3: 0000000000000000FFFF00000100007F:0050 00000000000000000000000000000000:0000 0A …',
    '',
  ].join('\n');
  t.deepEqual(parseTable(table), [
    {address: '127.0.0.1', port: 8080},
    {address: '::1', port: 443},
    {address: '127.0.0.1', port: 80},
  ]);
});

test('an address has one text', (t) => {
  for (const text of ['0.0.0.0', '::', '::1', '2001:db8::8', 'fd00:10:244::10']) {
    t.is(listenerAt(addressBytes(text), 1).address, text);
  }
});
