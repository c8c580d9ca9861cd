import test from 'ava';
import {type Answer, type DecodedPacket, decode, encode, type Packet} from 'dns-packet';
import fc from 'fast-check';
import {answerQuery} from '../../cli/demo/dns.ts';
import {pods} from '../../cli/demo/pods.ts';
import {services} from '../../cli/demo/services.ts';
import {makeZone, type Zone} from '../../cli/demo/zone.ts';

const zone = makeZone(services, pods);
const inCluster = (name: string) => `${name}.default.svc.cluster.local`;

interface Asked {
  from?: Zone;
  transport?: 'udp' | 'tcp';
  turn?: number;
  packet?: Partial<Packet>;
}

function ask(name: string, type: string, asked: Asked = {}): DecodedPacket & {rcode: string} {
  const {from = zone, transport = 'udp', turn = 0, packet} = asked;
  const questions = [{name, type}] as NonNullable<Packet['questions']>;
  const query = encode({type: 'query', id: 77, flags: 0x100, questions, ...packet});
  const answer = answerQuery(query, {zone: from, transport, turn});
  if (answer === undefined) throw new Error('no answer');
  return decode(answer) as DecodedPacket & {rcode: string};
}

const data = (answers: readonly Answer[] | undefined) =>
  (answers ?? []).map((answer) => ('data' in answer ? answer.data : undefined));
const typesOf = (answers: readonly Answer[] | undefined) => (answers ?? []).map(({type}) => type);

/** A zone with one name that has many addresses. */
function crowded(count: number): Zone {
  const a = Array.from({length: count}, (_, i) => `10.0.${i >> 8}.${i & 255}`);
  return new Map([['many.cluster.local', {a, aaaa: [], srv: [], ptr: []}]]);
}

const opt = (udpPayloadSize: number, ednsVersion = 0): Answer => ({
  type: 'OPT',
  name: '.',
  udpPayloadSize,
  extendedRcode: 0,
  ednsVersion,
  flags: 0,
  flag_do: false,
  options: [],
});

const resolves = test.macro({
  exec(t, name: string, type: string, expected: unknown) {
    const answer = ask(name, type);
    t.is(answer.rcode, 'NOERROR');
    t.true(answer.flag_aa);
    t.deepEqual(data(answer.answers), expected as unknown[]);
  },
  title: (_, name, type) => `${type} of ${name} is answered`,
});

test(resolves, inCluster('orders'), 'A', ['10.96.0.21']);
test(resolves, inCluster('gateway'), 'AAAA', ['fd00:10:96::20']);
test(resolves, inCluster('v6'), 'AAAA', ['fd00:10:96::24']);
test(resolves, inCluster('orders-headless'), 'A', ['10.244.0.11', '10.244.0.12']);
test(resolves, inCluster('orders-1.orders-headless'), 'A', ['10.244.0.12']);
test(resolves, '10-244-0-13.default.pod.cluster.local', 'A', ['10.244.0.13']);
test(resolves, 'kube-dns.kube-system.svc.cluster.local', 'A', ['10.96.0.10']);
test(resolves, '21.0.96.10.in-addr.arpa', 'PTR', [inCluster('orders')]);
test(resolves, inCluster('shop'), 'A', [inCluster('gateway'), '10.96.0.20']);
test(resolves, inCluster('shop'), 'CNAME', [inCluster('gateway')]);

test('an IPv6 address is looked up in reverse by its nibbles', (t) => {
  const name = `4.2.0.0.${'0.0.0.0.'.repeat(4)}6.9.0.0.0.1.0.0.0.0.d.f.ip6.arpa`;
  t.deepEqual(data(ask(name, 'PTR').answers), [inCluster('v6')]);
});

test('SRV of a service names the port and the service', (t) => {
  const {answers} = ask(`_http._tcp.${inCluster('orders')}`, 'SRV');
  const target = inCluster('orders');
  t.deepEqual(data(answers), [{priority: 0, weight: 100, port: 80, target}]);
});

test('SRV of a headless service names each pod, whose address comes along', (t) => {
  const answer = ask(`_http._tcp.${inCluster('orders-headless')}`, 'SRV');
  const targets = ['orders-0', 'orders-1'].map((pod) => inCluster(`${pod}.orders-headless`));
  t.deepEqual(
    data(answer.answers),
    targets.map((target) => ({priority: 0, weight: 50, port: 8080, target})),
  );
  t.deepEqual(data(answer.additionals), ['10.244.0.11', '10.244.0.12']);
});

test('a name is found in any mixture of cases and comes back as it was asked', (t) => {
  const name = 'OrDeRs.DEFAULT.svc.Cluster.LOCAL';
  const {questions, answers} = ask(name, 'A');
  t.is(questions?.[0]?.name, name);
  t.is(answers?.[0]?.name, name);
  t.deepEqual(data(answers), ['10.96.0.21']);
});

test('the addresses of a headless service are rotated from query to query', (t) => {
  const orders = (turn: number) =>
    data(ask(inCluster('orders-headless'), 'A', {turn}).answers).join(' ');
  t.is(orders(0), '10.244.0.11 10.244.0.12');
  t.is(orders(1), '10.244.0.12 10.244.0.11');
  t.is(orders(2), orders(0));
});

test('an unknown name in the domain is NXDOMAIN with the SOA', (t) => {
  const answer = ask(inCluster('nobody'), 'A');
  t.is(answer.rcode, 'NXDOMAIN');
  t.true(answer.flag_aa);
  t.deepEqual(answer.answers, []);
  t.deepEqual(typesOf(answer.authorities), ['SOA']);
});

for (const name of [inCluster('orders'), 'svc.cluster.local', `_tcp.${inCluster('orders')}`]) {
  test(`a type that ${name} doesn't have is NODATA with the SOA`, (t) => {
    const answer = ask(name, 'AAAA');
    t.is(answer.rcode, 'NOERROR');
    t.deepEqual(answer.answers, []);
    t.deepEqual(typesOf(answer.authorities), ['SOA']);
  });
}

test('a name outside of the domain is NXDOMAIN without a claim of authority', (t) => {
  const answer = ask('example.com', 'A');
  t.is(answer.rcode, 'NXDOMAIN');
  t.false(answer.flag_aa);
  t.deepEqual(answer.authorities, []);
});

test('an alias in a circle ends', (t) => {
  const empty = {a: [], aaaa: [], srv: [], ptr: []};
  const circle: Zone = new Map([
    ['a.cluster.local', {...empty, cname: 'b.cluster.local'}],
    ['b.cluster.local', {...empty, cname: 'a.cluster.local'}],
  ]);
  t.true(typesOf(ask('a.cluster.local', 'A', {from: circle}).answers).every((x) => x === 'CNAME'));
});

test('an answer of over 512 bytes is truncated over UDP without EDNS', (t) => {
  const answer = ask('many.cluster.local', 'A', {from: crowded(30)});
  t.true(answer.flag_tc);
  t.deepEqual(answer.answers, []);
});

test('EDNS lets an answer be as long as 1232 bytes, no longer', (t) => {
  const packet = {additionals: [opt(4096)]};
  const fits = ask('many.cluster.local', 'A', {from: crowded(30), packet});
  t.false(fits.flag_tc);
  t.is(fits.answers?.length, 30);
  t.deepEqual(typesOf(fits.additionals), ['OPT']);
  t.true(ask('many.cluster.local', 'A', {from: crowded(60), packet}).flag_tc);
});

test('over TCP nothing is truncated', (t) => {
  const answer = ask('many.cluster.local', 'A', {from: crowded(1000), transport: 'tcp'});
  t.false(answer.flag_tc);
  t.is(answer.answers?.length, 1000);
});

test('a newer EDNS version is answered by BADVERS', (t) => {
  const {additionals, rcode} = ask('x.', 'A', {packet: {additionals: [opt(1232, 1)]}});
  t.is(rcode, 'NOERROR'); // its low four bits
  t.like(additionals?.[0], {type: 'OPT', extendedRcode: 1});
});

test('another operation than a query is not implemented', (t) => {
  const answer = ask(inCluster('orders'), 'A', {packet: {flags: 4 << 11}});
  t.is(answer.rcode, 'NOTIMP');
});

test('two questions at once are a format error', (t) => {
  const questions = [1, 2].map(() => ({name: inCluster('orders'), type: 'A' as const}));
  t.is(ask('', 'A', {packet: {questions}}).rcode, 'FORMERR');
});

test('an answer is not answered', (t) => {
  const message = encode({type: 'response', id: 1, questions: [{name: 'x', type: 'A'}]});
  t.is(answerQuery(message, {zone, transport: 'udp', turn: 0}), undefined);
});

test('no bytes make it throw', (t) => {
  fc.assert(
    fc.property(fc.uint8Array({maxLength: 600}), (bytes) => {
      answerQuery(bytes, {zone, transport: 'udp', turn: 0});
    }),
    {seed: 1, numRuns: 2000},
  );
  t.pass();
});

test('no change of some bytes of a good query makes it throw, nor its answer too long', (t) => {
  const good = encode({
    type: 'query',
    id: 1,
    questions: [{name: inCluster('orders-headless'), type: 'SRV'}],
    additionals: [opt(1400)],
  });
  const change = fc.tuple(fc.nat(good.length - 1), fc.nat(255));
  fc.assert(
    fc.property(fc.array(change, {minLength: 1, maxLength: 4}), (changes) => {
      const bytes = Uint8Array.from(good);
      for (const [at, value] of changes) bytes[at] = value;
      const answer = answerQuery(bytes, {zone, transport: 'udp', turn: 0});
      return answer === undefined || answer.length <= 1232;
    }),
    {seed: 2, numRuns: 5000},
  );
  t.pass();
});

test('a pod that is not ready has no records', (t) => {
  const fewer = makeZone(
    services,
    pods.filter(({name}) => name !== 'orders-0'),
  );
  t.deepEqual(data(ask(inCluster('orders-headless'), 'A', {from: fewer}).answers), ['10.244.0.12']);
  t.is(ask(inCluster('orders-0.orders-headless'), 'A', {from: fewer}).rcode, 'NXDOMAIN');
});
