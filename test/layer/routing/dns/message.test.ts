import test from 'ava';
import {type Answer, decode, encode} from 'dns-packet';
import fc from 'fast-check';
import {
  emitAnswer,
  parseQuery,
  readAddresses,
  renameAnswer,
  renameQuery,
  reversedAddress,
} from '../../../../layer/routing/dns/message.ts';

function query(name: string, type: 'A' | 'AAAA' | 'SRV' = 'A'): Buffer {
  return encode({type: 'query', id: 7, questions: [{type, name, class: 'IN'}]});
}

function response(name: string, answers: Answer[], additionals: Answer[] = []): Buffer {
  const questions = [{type: 'A', name, class: 'IN'}] as const;
  return encode({type: 'response', id: 7, questions: [...questions], answers, additionals});
}

const a = (name: string, data: string): Answer => ({type: 'A', name, ttl: 5, data});
const cname = (name: string, data: string): Answer => ({type: 'CNAME', name, ttl: 5, data});

test('a query has one question, whose name is compared in lower case', (t) => {
  t.is(parseQuery(query('Orders.Default.'))?.name, 'orders.default');
  t.is(parseQuery(response('orders', [])), undefined);
  t.is(parseQuery(encode({type: 'query', questions: []})), undefined);
  const questions = ['a', 'b'].map((name) => ({type: 'A', name}) as const);
  t.is(parseQuery(encode({type: 'query', questions})), undefined);
});

test('an address has the name asked for and all aliases on the way', (t) => {
  const message = response('Shop', [cname('shop', 'GW'), cname('gw', 'lb'), a('LB', '10.0.0.1')]);
  t.deepEqual(readAddresses(message), [{address: '10.0.0.1', names: ['shop', 'gw', 'lb']}]);
});

test('addresses of both families have one text', (t) => {
  const aaaa: Answer = {type: 'AAAA', name: 'x', ttl: 5, data: 'FD00:0:0:0::1'};
  t.deepEqual(readAddresses(response('x', [aaaa])), [{address: 'fd00::1', names: ['x']}]);
});

test('the target of an SRV record has but its own name', (t) => {
  const srv: Answer = {type: 'SRV', name: '_h._tcp.x', data: {port: 80, target: 'pod.x'}};
  const message = response('_h._tcp.x', [srv], [a('pod.x', '10.0.0.1')]);
  t.deepEqual(readAddresses(message), [{address: '10.0.0.1', names: ['pod.x']}]);
});

test('aliases in a circle end', (t) => {
  const message = response('a', [cname('a', 'b'), cname('b', 'a'), a('b', '10.0.0.1')]);
  t.deepEqual(readAddresses(message), [{address: '10.0.0.1', names: ['a', 'b']}]);
});

test('any bytes are a message or none', (t) => {
  const property = fc.property(fc.uint8Array({maxLength: 600}), (bytes) => {
    parseQuery(bytes);
    readAddresses(bytes);
  });
  t.notThrows(() => fc.assert(property, {numRuns: 2_000}));
});

test('a message with changed bytes is one or none', (t) => {
  const message = response(
    'shop.x',
    [cname('shop.x', 'y'), a('y', '1.2.3.4')],
    [a('z', '1.1.1.1')],
  );
  const change = fc.tuple(fc.nat(message.length - 1), fc.integer({min: 0, max: 255}));
  const property = fc.property(fc.array(change, {minLength: 1, maxLength: 6}), (changes) => {
    const changed = Buffer.from(message);
    for (const [at, value] of changes) changed[at] = value;
    const original = parseQuery(query('q'));
    readAddresses(changed);
    if (original !== undefined) renameAnswer(changed, original);
  });
  t.notThrows(() => fc.assert(property, {numRuns: 5_000}));
});

test('an answer that the asker can not take is empty and says so', (t) => {
  const parsed = parseQuery(query('x'));
  if (parsed === undefined) return t.fail();
  const answers = Array.from({length: 60}, (_, i) => a('x', `10.0.0.${i}`));
  const short = decode(emitAnswer(parsed, 0, {answers, transport: 'udp'}));
  t.deepEqual([short.flag_tc, short.answers?.length], [true, 0]);
  const whole = decode(emitAnswer(parsed, 0, {answers, transport: 'tcp'}));
  t.deepEqual([whole.flag_tc, whole.answers?.length, whole.id], [false, 60, 7]);
});

test('a renamed query comes back under its own name', (t) => {
  const original = parseQuery(query('Orders.default.svc'));
  if (original === undefined) return t.fail();
  const renamed = decode(renameQuery(original, 'orders'));
  t.is(renamed.questions?.[0]?.name, 'orders');
  const answer = renameAnswer(
    response('orders', [cname('orders', 'x'), a('x', '1.1.1.1')]),
    original,
  );
  const {questions, answers} = decode(answer ?? Buffer.alloc(0));
  t.is(questions?.[0]?.name, 'Orders.default.svc');
  t.deepEqual(
    answers?.map((record) => ('name' in record ? record.name : '')),
    ['Orders.default.svc', 'x'],
  );
});

test('a PTR question is about an address', (t) => {
  t.is(reversedAddress('4.3.2.1.in-addr.arpa'), '1.2.3.4');
  t.is(reversedAddress(`1.${'0.'.repeat(27)}0.0.d.f.ip6.arpa`), 'fd00::1');
  t.is(reversedAddress('256.3.2.1.in-addr.arpa'), undefined);
  t.is(reversedAddress('orders'), undefined);
});
