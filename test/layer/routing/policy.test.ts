import test from 'ava';
import {addressBytes} from '../../../layer/address.ts';
import {parseOutgoingFilter} from '../../../layer/routing/filter.ts';
import {defaultNetwork, type FilterList, type Side} from '../../../layer/routing/options.ts';
import {createPolicy, hasPrefix, type Protocol} from '../../../layer/routing/policy.ts';

const context = {
  own: [addressBytes('10.244.0.10'), addressBytes('fd00::10')],
  searchDomains: ['default.svc.cluster.local', 'svc.cluster.local'],
};

function filter(side: Side, ...texts: string[]): FilterList {
  const rules = texts.map((text) => {
    const {value, problem} = parseOutgoingFilter(text);
    if (value === undefined) throw new Error(problem);
    return value;
  });
  return {side, rules};
}

/** Asks for `tcp://10.0.0.1:80`; names of the address may follow. */
function sideOf(options: Partial<typeof defaultNetwork>, url: string, ...names: string[]): Side {
  const [, protocol, host = '', port] = /^(tcp|udp):\/\/\[?(.*?)\]?:(\d+)$/.exec(url) ?? [];
  return createPolicy({...defaultNetwork, ...options}, context).side({
    protocol: protocol as Protocol,
    address: addressBytes(host),
    port: Number(port),
    names,
  });
}

test('by default everything is the agent’s', (t) => {
  t.true(createPolicy(defaultNetwork, context).isAllAgent);
  t.is(sideOf({}, 'tcp://127.0.0.1:80'), 'agent');
  t.is(sideOf({}, 'udp://[::1]:80'), 'agent');
});

test('a protocol that is off is this machine’s, the other one isn’t', (t) => {
  t.is(sideOf({tcp: false}, 'tcp://10.0.0.1:80'), 'host');
  t.is(sideOf({tcp: false}, 'udp://10.0.0.1:80'), 'agent');
  t.is(sideOf({udp: false}, 'udp://10.0.0.1:80'), 'host');
  t.is(sideOf({udp: false}, 'tcp://127.0.0.1:80'), 'agent');
});

test('the pod’s own addresses stay the pod’s, whatever is chosen', (t) => {
  const all = {tcp: false, udp: false, ignoreLocalhost: true, filter: filter('host', '10.0.0.0/8')};
  t.is(sideOf(all, 'tcp://10.244.0.10:80'), 'agent');
  t.is(sideOf(all, 'udp://[fd00::10]:80'), 'agent');
});

test('with ignore_localhost all of loopback is this machine’s, and nothing else', (t) => {
  t.is(sideOf({ignoreLocalhost: true}, 'tcp://127.1.2.3:80'), 'host');
  t.is(sideOf({ignoreLocalhost: true}, 'udp://[::1]:80'), 'host');
  t.is(sideOf({ignoreLocalhost: true}, 'tcp://128.0.0.1:80'), 'agent');
});

test('a debugger’s ports are this machine’s on loopback, for TCP', (t) => {
  const options = {
    debuggerPorts: [{first: 5678, last: 5680}],
    filter: filter('agent', '127.0.0.1', '10.0.0.1'),
  };
  t.is(sideOf(options, 'tcp://127.0.0.1:5680'), 'host');
  t.is(sideOf(options, 'tcp://127.0.0.1:5681'), 'agent');
  t.is(sideOf(options, 'udp://127.0.0.1:5680'), 'agent');
  t.is(sideOf(options, 'tcp://10.0.0.1:5680'), 'agent');
});

const cases: [rule: string, fits: [string, ...string[]][], others: [string, ...string[]][]][] = [
  ['10.0.0.1', [['tcp://10.0.0.1:1']], [['tcp://10.0.0.2:1'], ['tcp://[a00:1::]:1']]],
  ['10.0.0.0/9', [['udp://10.127.0.1:1']], [['udp://10.128.0.1:1']]],
  ['0.0.0.0/0', [['tcp://1.2.3.4:1']], [['tcp://[fd00::1]:1']]],
  ['fd00:10::/28', [['tcp://[fd00:1f::1]:1']], [['tcp://[fd00:20::1]:1']]],
  ['[fd00::1]:80', [['tcp://[fd00::1]:80']], [['tcp://[fd00::1]:81']]],
  [':443', [['tcp://1.1.1.1:443'], ['udp://[fd00::1]:443']], [['tcp://1.1.1.1:80']]],
  ['udp://', [['udp://1.1.1.1:1']], [['tcp://1.1.1.1:1']]],
  ['tcp://1.1.1.1:80', [['tcp://1.1.1.1:80']], [['udp://1.1.1.1:80'], ['tcp://1.1.1.1:81']]],
  [
    'Orders',
    [
      ['tcp://10.0.0.1:1', 'x', 'orders'],
      ['tcp://10.0.0.1:1', 'orders.default.svc.cluster.local'],
      ['tcp://10.0.0.1:1', 'orders.svc.cluster.local'],
    ],
    [['tcp://10.0.0.1:1'], ['tcp://10.0.0.1:1', 'orders.other.svc.cluster.local', 'myorders']],
  ],
  ['localhost:80', [['tcp://127.0.0.1:80', 'localhost']], [['tcp://127.0.0.1:81', 'localhost']]],
];

for (const [rule, fits, others] of cases) {
  test(`the rule ${rule} fits what it names, on either side`, (t) => {
    for (const [side, other] of [
      ['agent', 'host'],
      ['host', 'agent'],
    ] as const) {
      const options = {filter: filter(side, rule, '192.0.2.1')};
      for (const [url, ...names] of fits) t.is(sideOf(options, url, ...names), side, url);
      for (const [url, ...names] of others) t.is(sideOf(options, url, ...names), other, url);
    }
  });
}

test('a protocol that is off stays so, though the filter names the destination', (t) => {
  t.is(sideOf({tcp: false, filter: filter('agent', '10.0.0.1')}, 'tcp://10.0.0.1:1'), 'host');
});

test('a prefix is of one family and counts its bits', (t) => {
  const of = (address: string, prefix: string, bits: number): boolean =>
    hasPrefix(addressBytes(address), addressBytes(prefix), bits);
  t.true(of('1.2.3.4', '255.255.255.255', 0));
  t.true(of('128.0.0.0', '255.0.0.0', 1));
  t.false(of('127.0.0.0', '255.0.0.0', 1));
  t.true(of('1.2.3.4', '1.2.3.4', 32));
  t.false(of('1.2.3.5', '1.2.3.4', 32));
  t.true(of('1.2.3.5', '1.2.3.4', 31));
  t.false(of('::', '0.0.0.0', 0));
});
