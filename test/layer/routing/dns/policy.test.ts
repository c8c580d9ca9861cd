import test from 'ava';
import {createDnsPolicy, withOutgoingNames} from '../../../../layer/routing/dns/policy.ts';
import {parseOutgoingFilter} from '../../../../layer/routing/filter.ts';
import type {FilterList, Side} from '../../../../layer/routing/options.ts';

const domains = ['default.svc.cluster.local', 'svc.cluster.local'];

function filter(side: Side, ...texts: string[]): FilterList {
  const rules = texts.map((text) => parseOutgoingFilter(text).value);
  return {side, rules: rules.filter((rule) => rule !== undefined)};
}

test('names are the pod’s by default, and this machine’s when DNS is off', (t) => {
  t.deepEqual(createDnsPolicy({isEnabled: true}, domains)('x'), {side: 'agent', name: 'x'});
  const off = {isEnabled: false, filter: filter('agent', 'x')};
  t.deepEqual(createDnsPolicy(off, domains)('x'), {side: 'host', name: 'x'});
});

test('a name that the resolver has completed is looked for as the filter has it', (t) => {
  const decide = createDnsPolicy({isEnabled: true, filter: filter('host', 'db:5432')}, domains);
  t.deepEqual(decide('db'), {side: 'host', name: 'db'});
  t.deepEqual(decide('db.default.svc.cluster.local'), {side: 'host', name: 'db'});
  t.deepEqual(decide('db.svc.cluster.local'), {side: 'host', name: 'db'});
  t.deepEqual(decide('db.cluster.local'), {side: 'agent', name: 'db.cluster.local'});
  t.deepEqual(decide('mydb'), {side: 'agent', name: 'mydb'});
});

test('with a list of the pod’s names all others are this machine’s', (t) => {
  const decide = createDnsPolicy({isEnabled: true, filter: filter('agent', 'orders')}, domains);
  t.is(decide('orders.default.svc.cluster.local').side, 'agent');
  t.deepEqual(decide('x.default.svc.cluster.local'), {
    side: 'host',
    name: 'x.default.svc.cluster.local',
  });
});

test('addresses and subnets are about the names of addresses; a port alone about all', (t) => {
  const decide = createDnsPolicy({isEnabled: true, filter: filter('host', '10.0.0.0/8')}, []);
  t.is(decide('1.0.0.10.in-addr.arpa').side, 'host');
  t.is(decide('1.0.0.11.in-addr.arpa').side, 'agent');
  t.is(decide('x').side, 'agent');
  const every = createDnsPolicy({isEnabled: true, filter: filter('host', ':80')}, []);
  t.is(every('x').side, 'host');
});

test('names that are reached from this machine resolve here too, even without a filter', (t) => {
  const outgoing = filter('host', 'db:5432', '10.0.0.0/8');
  const dns = withOutgoingNames({isEnabled: true}, outgoing);
  t.deepEqual(dns.filter, filter('host', 'db:5432'));
  const more = withOutgoingNames({isEnabled: true, filter: filter('host', 'x')}, outgoing);
  t.deepEqual(more.filter, filter('host', 'x', 'db:5432'));
});

test('names of the pod are added to a filter of the pod’s names only', (t) => {
  const outgoing = filter('agent', 'orders');
  t.is(withOutgoingNames({isEnabled: true}, outgoing).filter, undefined);
  const remote = {isEnabled: true, filter: filter('agent', 'x')};
  t.deepEqual(withOutgoingNames(remote, outgoing).filter, filter('agent', 'x', 'orders'));
  const local = {isEnabled: true, filter: filter('host', 'x')};
  t.deepEqual(withOutgoingNames(local, outgoing), local);
});
