import test from 'ava';
import {addressBytes} from '../../layer/address.ts';
import {hostCandidates, withHostName} from '../../layer/host-name.ts';

test('the addresses of the name stand for loopback, the same family first', (t) => {
  t.deepEqual(hostCandidates(addressBytes('192.0.0.8')), ['127.0.0.1', '::1']);
  t.deepEqual(hostCandidates(addressBytes('2001:db8::8')), ['::1', '127.0.0.1']);
  t.is(hostCandidates(addressBytes('192.0.0.9')), undefined);
  t.is(hostCandidates(addressBytes('127.0.0.1')), undefined);
});

test("the hosts file keeps its lines and gets the name, in the pod's families", (t) => {
  const four = '192.0.0.8\thost.mirrord.internal\n';
  const six = '2001:db8::8\thost.mirrord.internal\n';
  t.is(withHostName('127.0.0.1 localhost\n', ['10.0.0.1']), `127.0.0.1 localhost\n${four}`);
  t.is(withHostName('127.0.0.1 localhost', ['fd00::1']), `127.0.0.1 localhost\n${six}`);
  t.is(withHostName('', ['10.0.0.1', 'fd00::1']), `${four}${six}`);
  t.is(withHostName('x\n', []), 'x\n');
});
