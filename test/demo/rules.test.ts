import test from 'ava';
import {pods} from '../../cli/demo/pods.ts';
import {kubeProxyRules} from '../../cli/demo/rules.ts';
import {services} from '../../cli/demo/services.ts';

function rulesFor(clusterIp: string, ready = pods): string[] {
  const lines = kubeProxyRules(services, ready).split('\n');
  return lines.map((line) => line.trim()).filter((line) => line.includes(`daddr ${clusterIp} `));
}

test('a service port is spread evenly over the ready pods', (t) => {
  t.deepEqual(rulesFor('10.96.0.21'), [
    'ip daddr 10.96.0.21 tcp dport 80 dnat ip to numgen random mod 2 map { 0 : 10.244.0.11 . 8080, 1 : 10.244.0.12 . 8080 }',
  ]);
});

test('a pod that is not ready gets no connections', (t) => {
  const ready = pods.filter(({name}) => name !== 'orders-0');
  t.deepEqual(rulesFor('10.96.0.21', ready), [
    'ip daddr 10.96.0.21 tcp dport 80 dnat ip to numgen random mod 1 map { 0 : 10.244.0.12 . 8080 }',
  ]);
});

test('a dual-stack service has a rule for each family', (t) => {
  t.is(rulesFor('10.96.0.20').length, 1);
  t.deepEqual(rulesFor('fd00:10:96::20'), [
    'ip6 daddr fd00:10:96::20 tcp dport 80 dnat ip6 to numgen random mod 1 map { 0 : fd00:10:244::10 . 80 }',
  ]);
});

test('a service without endpoints is left to the rule that rejects', (t) => {
  t.deepEqual(rulesFor('10.96.0.25'), []);
  t.regex(kubeProxyRules(services, pods), /ip daddr 10\.96\.0\.0\/16 reject with icmp port-unre/);
});

test('the rules are complete without any pod', (t) => {
  const rules = kubeProxyRules(services, []);
  t.notRegex(rules, /\{ *\}/); // nft refuses an empty set
  t.true(rules.startsWith('table inet kube-proxy\ndelete table inet kube-proxy\n'));
});

test('UDP and TCP of one port are told apart', (t) => {
  const [tcp, udp] = rulesFor('10.96.0.22');
  t.regex(tcp ?? '', /tcp dport 7 /);
  t.regex(udp ?? '', /udp dport 7 /);
});
