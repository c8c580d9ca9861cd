import test from 'ava';
import {defaultNetwork} from '../../layer/routing/options.ts';
import {podAddresses, podMtu, sandboxAddresses, sandboxFiles} from '../../layer/target-view.ts';
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

const encode = (text: string): Uint8Array => new TextEncoder().encode(text);
const nothing = (): string => '';

test('files come as text', (t) => {
  const files = {'/etc/hostname': encode('orders-0\n')};
  t.deepEqual(sandboxFiles({...target, files}, defaultNetwork, nothing), [
    {path: '/etc/hostname', content: 'orders-0\n'},
  ]);
});

test('without IPv6 the addresses and the names of the host are of IPv4 only', (t) => {
  const network = {...defaultNetwork, ipv6: false};
  const files = {'/etc/hosts': encode('10.244.0.3\torders-0\n')};
  t.deepEqual(sandboxAddresses(target, network), ['10.244.0.3']);
  t.deepEqual(sandboxFiles({...target, files}, network, nothing), [
    {path: '/etc/hosts', content: '10.244.0.3\torders-0\n192.0.0.8\thost.mirrord.internal\n'},
  ]);
});

test("names of this machine: its resolver files, with our name server and the pod's own name", (t) => {
  const network = {...defaultNetwork, dns: {isEnabled: false}};
  const files = {
    '/etc/resolv.conf': encode('nameserver 10.96.0.10\nsearch default.svc.cluster.local\n'),
    '/etc/hosts': encode('127.0.0.1 localhost\n10.244.0.3 orders-0 o\n'),
    '/etc/hostname': encode('orders-0\n'),
  };
  const host: Record<string, string> = {
    '/etc/resolv.conf': '# by hand\nnameserver 127.0.0.53\noptions edns0\nsearch corp.example\n',
    '/etc/hosts': '127.0.0.1 localhost\n127.0.1.1 laptop',
  };
  const found = sandboxFiles({...target, files}, network, (path) => host[path] ?? '');
  t.deepEqual(Object.fromEntries(found.map(({path, content}) => [path, content])), {
    '/etc/resolv.conf': 'nameserver 192.0.0.8\noptions edns0\nsearch corp.example\n',
    '/etc/hosts':
      '127.0.0.1 localhost\n127.0.1.1 laptop\n10.244.0.3\torders-0 o\n' +
      '192.0.0.8\thost.mirrord.internal\n2001:db8::8\thost.mirrord.internal\n',
    '/etc/hostname': 'orders-0\n',
  });
});
