import test from 'ava';
import {
  hasMesh,
  iptablesClear,
  iptablesInstall,
  iptablesRemove,
  listedAgents,
  neighbours,
} from '../../../agent/intercept/iptables-rules.ts';
import {
  agentTables,
  IDLE_LIFETIME_SECONDS,
  LIFETIME_SECONDS,
  listedPorts,
  nftInstall,
  nftRefresh,
  PASS_MARK,
} from '../../../agent/intercept/rules.ts';

/** A pod without a mesh, in which the agent is new. */
const alone = {isInstalled: false, acceptsLocal: false};

test('nftables: every port has a time to live, and the agent’s own mark passes first', (t) => {
  const script = nftInstall('mirrord-0123abcd', {ports: [80, 443], to: 4000});
  const lives = `timeout ${LIFETIME_SECONDS}s : 4000`;
  t.true(script.includes(`80 ${lives}, 443 ${lives} }`));
  const output = script.slice(script.indexOf('chain output'));
  t.true(output.indexOf(`meta mark ${PASS_MARK} accept`) < output.indexOf('dnat'));
  t.regex(output, /oif lo tcp flags/);
  t.notRegex(script, /flush ruleset/);
});

test('nftables: nothing but a SYN is redirected', (t) => {
  const script = nftInstall('mirrord-0123abcd', {ports: [80], to: 4000});
  const redirects = script.split('\n').filter((line) => / to :tcp dport map /.test(line));
  t.is(redirects.length, 2);
  t.true(redirects.every((line) => line.includes('tcp flags & (fin | syn | rst | ack) == syn')));
});

test('nftables: without a port the map tells that its agent lives, and redirects nothing', (t) => {
  t.is(
    nftRefresh('mirrord-0123abcd', {ports: [], to: 0}),
    `flush map inet mirrord-0123abcd ports\nadd element inet mirrord-0123abcd ports { 0 timeout ${IDLE_LIFETIME_SECONDS}s : 1 }\n`,
  );
});

test('nftables: tables of agents and the ports in them are found again', (t) => {
  const tables = 'table inet mirrord-0123abcd\ntable inet mirrord\ntable ip mirrord-0123abce\n';
  t.deepEqual(agentTables(tables), ['mirrord-0123abcd']);
  const map =
    'elements = { 0 timeout 8s expires 5s : 1, 80 timeout 8s expires 5s196ms : 4000, 443 timeout 8s expires 5s : 4000 }';
  t.deepEqual(listedPorts(map), [80, 443]);
  t.deepEqual(listedPorts('elements = { 0 timeout 8s expires 5s : 1 }'), []);
  const empty = 'map ports {\n type inet_service : inet_service\n flags timeout\n}';
  t.is(listedPorts(empty), undefined);
});

test('iptables: each rule ends by itself, by the clock', (t) => {
  const nowMs = Date.UTC(2026, 10, 22, 23, 59, 55);
  const script = iptablesInstall('0123abcd', {ports: [80], to: 4000}, {...alone, nowMs});
  const rules = script.split('\n').filter((line) => line.includes('--dport 80'));
  t.is(rules.length, 2);
  t.true(rules.every((line) => line.includes('--datestop 2026-11-23T00:00:03 ')));
  t.true(rules.every((line) => line.includes('--syn')));
  t.regex(
    script,
    /-A PREROUTING -m addrtype --dst-type LOCAL -j MRDIN_0123abcd\n-A OUTPUT -o lo -j MRDSTD_0123abcd\nCOMMIT/,
  );
});

test('iptables: a refresh moves the jumps to the end, and the removal takes all of it', (t) => {
  const again = iptablesInstall(
    '0123abcd',
    {ports: [80], to: 4000},
    {...alone, isInstalled: true, nowMs: 0},
  );
  t.regex(
    again,
    /-D PREROUTING -m addrtype --dst-type LOCAL -j MRDIN_0123abcd\n-D OUTPUT -o lo -j MRDSTD_0123abcd\n-A PREROUTING/,
  );
  const removal = iptablesRemove('0123abcd');
  for (const chain of ['MRDIN_0123abcd', 'MRDSTD_0123abcd'])
    t.true(removal.includes(`-X ${chain}`));
});

/** As iptables-save writes it. */
const saved = `*nat
:PREROUTING ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:MRDIN_0123abcd - [0:0]
:MRDSTD_0123abcd - [0:0]
:MRDSTD_deadbeef - [0:0]
-A PREROUTING -j MRDIN_0123abcd
-A OUTPUT -o lo -j MRDSTD_0123abcd
-A OUTPUT -o lo -j MRDSTD_deadbeef
-A MRDIN_0123abcd -p tcp -m tcp --dport 80 --tcp-flags FIN,SYN,RST,ACK SYN -m time --datestop 2026-11-23T00:00:03 -j REDIRECT --to-ports 4000
-A MRDSTD_0123abcd -m mark --mark 0x2000 -j RETURN
-A MRDSTD_0123abcd -p tcp -m tcp --dport 0 -m time --datestop 2026-11-23T00:00:03 -j REDIRECT --to-ports 1
-A MRDSTD_0123abcd -p tcp -m tcp --dport 80 --tcp-flags FIN,SYN,RST,ACK SYN -m time --datestop 2026-11-23T00:00:03 -j REDIRECT --to-ports 4000
-A MRDSTD_deadbeef -p tcp -m tcp --dport 0 -m time --datestop 2026-11-23T00:00:03 -j REDIRECT --to-ports 1
COMMIT
`;

test('iptables: agents, their ports and whether they live are found again', (t) => {
  const before = Date.UTC(2026, 10, 22, 23, 59, 59);
  t.deepEqual(listedAgents(saved, before), [
    {id: '0123abcd', ports: [80], isAlive: true},
    {id: 'deadbeef', ports: [], isAlive: true},
  ]);
  t.deepEqual(
    listedAgents(saved, before + 10_000).map(({ports, isAlive}) => ({ports, isAlive})),
    [
      {ports: [], isAlive: false},
      {ports: [], isAlive: false},
    ],
  );
  t.true(neighbours(saved, '0123abcd').isInstalled);
  t.false(neighbours(saved, 'deadbeef').isInstalled);
});

test('iptables: what a dead agent has left is taken away as far as it is there', (t) => {
  t.is(
    iptablesClear(saved, 'deadbeef'),
    '*nat\n-D OUTPUT -o lo -j MRDSTD_deadbeef\n-F MRDSTD_deadbeef\n-X MRDSTD_deadbeef\nCOMMIT\n',
  );
});

test('iptables: the jump from OUTPUT comes last, but first where somebody lets go what is sent to lo', (t) => {
  const sidecar =
    ':ISTIO_OUTPUT - [0:0]\n-A ISTIO_OUTPUT -o lo -m owner ! --uid-owner 1337 -j RETURN\n';
  const ambient = ':ISTIO_OUTPUT - [0:0]\n-A ISTIO_OUTPUT ! -d 127.0.0.1/32 -o lo -j ACCEPT\n';
  t.false(neighbours(sidecar, '0123abcd').acceptsLocal);
  t.true(neighbours(ambient, '0123abcd').acceptsLocal);
  const script = (acceptsLocal: boolean): string =>
    iptablesInstall('0123abcd', {ports: [], to: 0}, {...alone, acceptsLocal, nowMs: 0});
  t.regex(script(false), /-A OUTPUT -o lo -j MRDSTD_0123abcd/);
  t.regex(script(true), /-I OUTPUT -o lo -j MRDSTD_0123abcd/);
  t.true(hasMesh(sidecar) && hasMesh(ambient));
  t.false(hasMesh(saved));
});
