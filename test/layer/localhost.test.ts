import test from 'ava';
import {localhostRules, localhostUpdate} from '../../layer/localhost.ts';

test('own sockets are let go before anything is handed over', (t) => {
  const rules = localhostRules({tcp4: 1001, tcp6: 1002, udp4: 1003, udp6: 1004}, [
    '10.244.0.10',
    'fd00::10',
  ]);
  const own = rules.indexOf('socket wildcard 1 accept');
  t.true(own > 0);
  t.true(rules.indexOf('tproxy') > own);
  t.regex(rules, /ip daddr 127\.0\.0\.0\/8 tcp dport @tcp4 tproxy ip to 127\.0\.0\.1:1001 accept/);
  t.regex(rules, /ip daddr \{ 10\.244\.0\.10 \} udp dport @ownUdp4 tproxy/);
  t.regex(rules, /ip6 daddr \{ fd00::10 \} tcp dport @ownTcp6 tproxy ip6 to \[::1\]:1002/);
  t.regex(rules, /ip6 daddr ::1 udp dport @udp6 tproxy ip6 to \[::1\]:1004 accept/);
});

test('what mirrord connects inside is never handed over: it would come back', (t) => {
  const rules = localhostRules({tcp4: 1001}, ['10.244.0.10']);
  t.regex(rules, /iif != lo accept\n\s+meta mark 8192 accept\n/);
});

test('a family that the kernel has not gets no rule', (t) => {
  t.notRegex(localhostRules({tcp4: 1001, udp4: 1003}, ['fd00::10']), /ip6/);
});

test('an update replaces each set in one transaction, without duplicates', (t) => {
  const nothing = {tcp6: [], udp6: [], ownTcp4: [], ownTcp6: [], ownUdp4: [], ownUdp6: []};
  const script = localhostUpdate({...nothing, tcp4: [80, 80, 443], udp4: [8125]});
  t.regex(script, /flush set inet mirrord tcp4\nadd element inet mirrord tcp4 \{ 80, 443 \}/);
  t.regex(script, /flush set inet mirrord tcp6\nflush set/);
});
