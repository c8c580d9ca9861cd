import {lookup} from 'node:dns/promises';
import {EventEmitter, once} from 'node:events';
import test from 'ava';
import {type DecodedPacket, decode, encode, type Question, streamEncode} from 'dns-packet';
import {DnsServer} from '../../../../cli/demo/dns-server.ts';
import type {Zone} from '../../../../cli/demo/zone.ts';
import {addressBytes} from '../../../../layer/address.ts';
import {createHostDialer} from '../../../../layer/host-dialer.ts';
import {FrameReader} from '../../../../layer/routing/dns/frames.ts';
import {createHostResolver} from '../../../../layer/routing/dns/host-resolver.ts';
import {
  createNameServer,
  divideDns,
  observeDns,
} from '../../../../layer/routing/dns/name-server.ts';
import {createDnsPolicy} from '../../../../layer/routing/dns/policy.ts';
import {parseOutgoingFilter} from '../../../../layer/routing/filter.ts';
import {Names} from '../../../../layer/routing/names.ts';
import {emitEndpoint, emitFamily, parseUdpReport} from '../../../../tunnel/messages.ts';

/** A zone by names, in the way of the demo's. */
const zone: Zone = new Map(
  Object.entries({
    'cluster.local': {},
    'orders.cluster.local': {a: ['10.96.0.21']},
    'shop.cluster.local': {cname: 'orders.cluster.local'},
    'many.cluster.local': {a: Array.from({length: 200}, (_, i) => `10.0.0.${i}`)},
    '_x._tcp.cluster.local': {
      srv: [{priority: 0, weight: 1, port: 80, target: 'orders.cluster.local'}],
    },
  }).map(([name, set]) => [name, {a: [], aaaa: [], srv: [], ptr: [], ...set}]),
);

/** A name server at a port of 127.0.0.1 that is free for both transports. */
async function startServer(): Promise<{server: DnsServer; port: number}> {
  for (let port = 20_000 + (process.pid % 20_000); ; port++) {
    const server = new DnsServer();
    server.setZone(zone);
    try {
      await server.listen('127.0.0.1', port);
      return {server, port};
    } catch {
      server[Symbol.dispose]();
    }
  }
}

/** The program's name server, whose pod's is a real one on this machine; `localhost` is this machine's. */
async function setUp() {
  const {server, port} = await startServer();
  const names = new Names();
  const host = createHostDialer(() => ['127.0.0.1']);
  const resolver = createHostResolver({servers: async () => ['127.0.0.1'], port});
  const rule = parseOutgoingFilter('localhost').value;
  const filter = {side: 'host', rules: rule === undefined ? [] : [rule]} as const;
  const decide = createDnsPolicy({isEnabled: true, filter}, ['cluster.local']);
  const forward = observeDns(host.open, names, 'agent');
  const open = divideDns(createNameServer(decide, resolver, {names, unknown: 'agent'}), forward);
  const endpoint = {address: addressBytes('10.96.0.10'), port};
  return {
    names,
    open,
    endpoint,
    host,
    [Symbol.dispose]() {
      host[Symbol.dispose]();
      server[Symbol.dispose]();
    },
  };
}

const question = (name: string, type: Question['type'] = 'A'): Question => ({
  type,
  name,
  class: 'IN',
});

/** What an answer says, in short. */
function told(packet: DecodedPacket): [rcode: string, ...data: unknown[]] {
  const {rcode} = packet as {rcode?: string};
  return [
    rcode ?? '',
    ...(packet.answers ?? []).map((answer) => ('data' in answer ? answer.data : '')),
  ];
}

/** Asks over UDP, one after the other. */
async function askByUdp(
  questions: Question[],
  {open, endpoint}: Awaited<ReturnType<typeof setUp>>,
) {
  const answers: DecodedPacket[] = [];
  const arrivals = new EventEmitter();
  const stream = open('udp', emitFamily(4), {
    onDatagram(bytes) {
      const report = parseUdpReport(bytes);
      if (report.type === 'datagram') answers.push(decode(Buffer.from(report.payload)));
      arrivals.emit('answer');
    },
  });
  for (const [id, each] of questions.entries()) {
    const answered = once(arrivals, 'answer');
    stream.sendDatagram(encode({type: 'query', id, questions: [each]}), emitEndpoint(endpoint));
    await answered;
  }
  stream.reset('ECANCELED');
  return answers;
}

/** Asks all over one TCP connection at once, byte by byte if need be; answers by their ids. */
async function askByTcp(
  questions: Question[],
  {open, endpoint}: Awaited<ReturnType<typeof setUp>>,
  pieceBytes = 65_536,
): Promise<DecodedPacket[]> {
  const answers: DecodedPacket[] = [];
  const reader = new FrameReader();
  let received = 0;
  const {promise: ended, resolve, reject} = Promise.withResolvers<void>();
  const stream = open('tcp', emitEndpoint(endpoint), {
    onData(chunk) {
      received += chunk.length;
      for (const message of reader.push(chunk)) {
        const answer = decode(Buffer.from(message));
        answers[answer.id ?? 0] = answer;
      }
      stream.consumed(received);
    },
    onEnd: resolve,
    onReset: (errno) => reject(new Error(errno)),
  });
  for (const [id, each] of questions.entries()) {
    const frame = streamEncode({type: 'query', id, questions: [each]});
    for (let at = 0; at < frame.length; at += pieceBytes) {
      stream.write(frame.subarray(at, at + pieceBytes));
    }
  }
  stream.end();
  await ended;
  return answers;
}

const local = async (): Promise<unknown[]> =>
  (await lookup('localhost', {all: true, family: 4})).map(({address}) => address);

for (const [transport, ask] of [
  ['UDP', askByUdp],
  ['TCP', askByTcp],
] as const) {
  test(`over ${transport}, each name is answered by whom it belongs to`, async (t) => {
    using served = await setUp();
    const answers = await ask(
      [
        question('orders.cluster.local'),
        question('localhost'),
        question('LocalHost.cluster.local'),
        question('nobody.cluster.local'),
        question('localhost.cluster.local', 'SRV'),
        question('_x._tcp.cluster.local', 'SRV'),
      ],
      served,
    );
    t.deepEqual(answers.map(told), [
      ['NOERROR', '10.96.0.21'],
      ['NOERROR', ...(await local())],
      ['NOERROR', ...(await local())],
      ['NXDOMAIN'],
      ['NXDOMAIN'],
      ['NOERROR', {priority: 0, weight: 1, port: 80, target: 'orders.cluster.local'}],
    ]);
    t.is(answers[2]?.questions?.[0]?.name, 'LocalHost.cluster.local');
  });

  test(`over ${transport}, what was answered is learned`, async (t) => {
    using served = await setUp();
    await ask([question('shop.cluster.local'), question('localhost')], served);
    t.deepEqual([...served.names.of('10.96.0.21')], ['shop.cluster.local', 'orders.cluster.local']);
    t.deepEqual([...served.names.of('127.0.0.1')], ['localhost']);
  });
}

test('over TCP, queries in pieces and many answers at once arrive whole', async (t) => {
  using served = await setUp();
  const names = Array.from({length: 300}, (_, i) =>
    i % 3 === 0 ? 'localhost' : i % 3 === 1 ? 'many.cluster.local' : 'orders.cluster.local',
  );
  const answers = await askByTcp(
    names.map((name) => question(name)),
    served,
    7,
  );
  t.is(answers.length, 300);
  for (const [index, name] of names.entries()) {
    t.is(answers[index]?.questions?.[0]?.name, name);
    if (name.startsWith('many')) t.is(answers[index]?.answers?.length, 200);
  }
});

test('over TCP, a name server that does not listen resets the connection', async (t) => {
  using served = await setUp();
  const closed = {...served, endpoint: {...served.endpoint, port: 1}};
  await t.throwsAsync(askByTcp([question('orders.cluster.local')], closed), {
    message: 'ECONNREFUSED',
  });
});

test('what is no query goes to the pod’s name server', async (t) => {
  using served = await setUp();
  const sent = served.host.counters.opened;
  const stream = served.open('udp', emitFamily(4), {});
  stream.sendDatagram(Buffer.from('nonsense'), emitEndpoint(served.endpoint));
  t.is(served.host.counters.opened, sent + 1);
  stream.reset('ECANCELED');
});

const resolve = async (name: string, type: Question['type'], servers: string[] = []) => {
  const resolver = createHostResolver({servers: async () => servers});
  const message = encode({type: 'query', id: 9, questions: [question(name, type)]});
  return told(decode(Buffer.from((await resolver.answer(message, name, 'udp')) ?? '')));
};

test('a name with addresses of the other family only has no data, which is not: no such name', async (t) => {
  const families = (await lookup('localhost', {all: true})).map(({family}) => family);
  const [, ...six] = await resolve('localhost', 'AAAA');
  t.is(six.length, families.filter((family) => family === 6).length);
  t.deepEqual((await resolve('localhost', 'AAAA'))[0], 'NOERROR');
});

test('an address is no name', async (t) => {
  for (const name of ['127.0.0.1', '127.1', '2130706433']) {
    t.deepEqual(await resolve(name, 'A'), ['NXDOMAIN'], name);
  }
});

test('without a name server that answers, other types fail, and the resolver may go on', async (t) => {
  t.deepEqual(await resolve('localhost', 'MX'), ['SERVFAIL']);
});

test('what is no query is not answered', async (t) => {
  const resolver = createHostResolver();
  t.is(await resolver.answer(Buffer.from('x'), 'x', 'udp'), undefined);
});

test('a query over the limit is refused at once', async (t) => {
  const resolver = createHostResolver({servers: () => new Promise(() => undefined)});
  const message = encode({type: 'query', questions: [question('localhost', 'MX')]});
  const running = Array.from({length: 256}, () => resolver.answer(message, 'localhost', 'udp'));
  const answer = await resolver.answer(message, 'localhost', 'udp');
  t.deepEqual(told(decode(Buffer.from(answer ?? ''))), ['SERVFAIL']);
  t.is(resolver.counters.refused, 1);
  await Promise.all(running);
  t.is(resolver.counters.failed, 256);
});
