import test from 'ava';
import {podAddresses, podFiles, podMtu} from '../../layer/target-view.ts';
import type {TargetInfo} from '../../tunnel/target.ts';

const lo = {
  name: 'lo',
  mtu: 65_536,
  isLoopback: true,
  addresses: [{family: 4, address: '127.0.0.1', prefixLength: 8}],
} as const;
const eth0 = {
  name: 'eth0',
  mtu: 1_450,
  isLoopback: false,
  addresses: [
    {family: 4, address: '10.244.0.3', prefixLength: 24},
    {family: 6, address: 'fd00::3', prefixLength: 64},
    {family: 6, address: 'fe80::1', prefixLength: 64},
  ],
} as const;
const net1 = {
  ...eth0,
  name: 'net1',
  mtu: 9_000,
  addresses: [{family: 4, address: '192.0.2.1', prefixLength: 24}],
} as const;

const target: TargetInfo = {
  pid: 1,
  hostName: 'orders-0',
  environment: {},
  interfaces: [lo, net1, eth0],
  defaultRoute4: 'eth0',
  defaultRoute6: null,
  files: {},
  localPortRange: [32_768, 60_999],
};

test('the addresses are those of the interface with the default route, without link-local ones', (t) => {
  t.deepEqual(podAddresses(target), ['10.244.0.3', 'fd00::3']);
  t.is(podMtu(target), 1_450);
});

test('without a default route the first interface beside lo counts', (t) => {
  t.deepEqual(podAddresses({...target, defaultRoute4: null}), ['192.0.2.1']);
});

test('a pod without a network has no addresses and the usual MTU', (t) => {
  const alone = {...target, interfaces: [lo], defaultRoute4: null};
  t.deepEqual(podAddresses(alone), []);
  t.is(podMtu(alone), 1_500);
});

test('an MTU that IPv6 can not live with is raised', (t) => {
  t.is(podMtu({...target, interfaces: [{...eth0, mtu: 576}]}), 1_280);
});

test('files come as text', (t) => {
  const files = {'/etc/hostname': new TextEncoder().encode('orders-0\n')};
  t.deepEqual(podFiles({...target, files}), [{path: '/etc/hostname', content: 'orders-0\n'}]);
});
