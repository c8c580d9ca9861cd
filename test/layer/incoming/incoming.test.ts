import test from 'ava';
import {addressBytes} from '../../../layer/address.ts';
import {insideDestinations, spoofedDestinations} from '../../../layer/incoming/delivery.ts';
import {wantedPorts} from '../../../layer/incoming.ts';

const options = {
  ignorePorts: new Set<number>(),
  portMapping: new Map<number, number>(),
  ignoreLocalhost: false,
  debuggerPorts: [],
};
const listeners = [
  {address: '0.0.0.0', port: 80},
  {address: '::', port: 80},
  {address: '127.0.0.1', port: 9229},
];

test('what the program listens on is wanted, each port once', (t) => {
  t.deepEqual(
    [...wantedPorts(listeners, options)],
    [
      [80, 80],
      [9229, 9229],
    ],
  );
});

test('a debugger’s port is never wanted', (t) => {
  const debuggerPorts = [{first: 9000, last: 9300}];
  t.deepEqual([...wantedPorts(listeners, {...options, debuggerPorts})], [[80, 80]]);
});

test('ports and ignore_ports speak of the target’s ports', (t) => {
  const portMapping = new Map([[80, 8080]]);
  const ports = new Set([8080]);
  t.deepEqual([...wantedPorts(listeners, {...options, portMapping, ports})], [[80, 8080]]);
  const ignorePorts = new Set([8080]);
  t.deepEqual([...wantedPorts(listeners, {...options, portMapping, ignorePorts})], [[9229, 9229]]);
});

test('ignore_localhost leaves out what listens on loopback alone', (t) => {
  t.deepEqual([...wantedPorts(listeners, {...options, ignoreLocalhost: true})], [[80, 80]]);
  const both = [...listeners, {address: '::', port: 9229}];
  t.is(wantedPorts(both, {...options, ignoreLocalhost: true}).size, 2);
});

const own = ['10.1.2.3', 'fd00::3'].map(addressBytes);
const between = (peer: string, local: string) => ({
  peer: {address: addressBytes(peer), port: 40_000},
  local: {address: addressBytes(local), port: 80},
});

test('a client is shown to the program at the pod’s address, then at 127.0.0.1', (t) => {
  t.deepEqual(spoofedDestinations(between('192.0.2.7', '10.1.2.3'), own), [
    addressBytes('10.1.2.3'),
    addressBytes('127.0.0.1'),
  ]);
  t.deepEqual(spoofedDestinations(between('2001:db8::7', 'fd00::3'), own), [
    addressBytes('fd00::3'),
  ]);
});

test('a client on the pod’s loopback or with its own address can’t be shown from outside', (t) => {
  for (const peer of ['127.0.0.1', '127.8.8.8', '::1', '10.1.2.3', 'fd00::3']) {
    t.deepEqual(spoofedDestinations(between(peer, peer), own), [], peer);
  }
});

test('from inside, a connection goes first to where it went', (t) => {
  t.deepEqual(insideDestinations(between('10.1.2.3', '10.1.2.3'), own), [
    '10.1.2.3',
    '127.0.0.1',
    '::1',
    'fd00::3',
  ]);
  t.deepEqual(insideDestinations(between('::1', '::1'), own), [
    '::1',
    '127.0.0.1',
    '10.1.2.3',
    'fd00::3',
  ]);
});
