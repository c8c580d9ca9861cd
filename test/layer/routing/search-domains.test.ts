import test from 'ava';
import {
  isUnder,
  parseResolvConf,
  withSearchDomains,
} from '../../../layer/routing/search-domains.ts';

test('name servers and the last search domains of a resolv.conf are read', (t) => {
  const text = `
# nameserver 1.1.1.1
nameserver 10.96.0.10
  nameserver fe80::1%eth0   ; second
domain example.com
search Default.svc.cluster.local svc.cluster.local. .
options ndots:5
nameserver
`;
  t.deepEqual(parseResolvConf(text), {
    nameServers: ['10.96.0.10', 'fe80::1%eth0'],
    searchDomains: ['default.svc.cluster.local', 'svc.cluster.local'],
  });
  t.deepEqual(parseResolvConf('search a b\ndomain c\n').searchDomains, ['c']);
  t.deepEqual(parseResolvConf(''), {nameServers: [], searchDomains: []});
});

test('a name is completed by each domain', (t) => {
  t.deepEqual(withSearchDomains('a', ['b', 'c.d']), ['a', 'a.b', 'a.c.d']);
  t.true(isUnder('a.c.d', ['b', 'c.d']));
  t.false(isUnder('ac.d', ['c.d']));
});
