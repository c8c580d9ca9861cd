import test from 'ava';
import type {ConnectErrno, TcpConnection, TcpHandler} from '../../../netstack/types.ts';
import {Rig, stream} from '../../helpers/netstack.ts';

const SYN_ACK = '< S. 1000:1000(0) ack 1 win 65535 <mss 1460,nop,wscale 7>';

/** A rig whose program listens at port 8080, and what the handlers of connects were told. */
class ConnectRig extends Rig {
  readonly events: string[] = [];
  readonly handler: TcpHandler = {
    onConnected: () => this.events.push('connected'),
    onRefused: (errno) => this.events.push(errno),
    onData: (chunk) => this.events.push(`data ${chunk.length}`),
    onEnd: () => this.events.push('end'),
    onAcked: (offset) => this.events.push(`acked ${offset}`),
    onReset: (reason) => this.events.push(reason),
    onClose: () => this.events.push('close'),
  };

  constructor(version: 4 | 6 = 4, limits: ConstructorParameters<typeof Rig>[0] = {}) {
    super({version, port: 8080, ...limits});
  }

  try(): TcpConnection | ConnectErrno {
    const client = {address: this.destination, port: this.serverPort};
    const program = {address: this.source, port: this.port};
    const result = this.stack.connectTcp(client, program, this.handler);
    if (typeof result !== 'string') result.grant(1 << 20);
    return result;
  }

  connect(): TcpConnection {
    const result = this.try();
    if (typeof result === 'string') throw new Error(result);
    return result;
  }

  /** Connects and sees the handshake through. */
  connected(synAck = SYN_ACK): TcpConnection {
    const connection = this.connect();
    this.takeText();
    this.tcp(synAck);
    this.events.length = 0;
    return connection;
  }
}

for (const version of [4, 6] as const) {
  test(`SYN-SENT: the SYN comes from the true client, and its answer connects (IPv${version})`, (t) => {
    const rig = new ConnectRig(version);
    const connection = rig.connect();
    t.deepEqual(connection.source, {address: rig.destination, port: rig.serverPort});
    t.deepEqual(connection.destination, {address: rig.source, port: rig.port});
    const [syn] = rig.take();
    t.deepEqual(syn?.source, rig.destination);
    t.deepEqual(syn?.destination, rig.source);
    const mss = version === 4 ? 1460 : 1440;
    t.is(syn && rig.describe(syn), `> S 0:0(0) win 65535 <mss ${mss},nop,wscale 7>`);
    t.deepEqual(rig.events, []);
    t.deepEqual(rig.tcp(SYN_ACK), ['> . 1:1(0) ack 1001 win 8192']);
    t.deepEqual(rig.events, ['connected']);
    t.is(rig.stack.pollAt(), undefined);
  });
}

test('SYN-SENT: the SYN is repeated after 0.2, 0.6, 1.4 and 3 s', (t) => {
  const rig = new ConnectRig();
  rig.connect();
  const [syn] = rig.takeText();
  let elapsed = 0;
  for (const at of [200, 600, 1_400, 3_000, 6_200]) {
    rig.advance(at - elapsed - 1);
    t.deepEqual(rig.takeText(), [], `nothing before ${at} ms`);
    rig.advance(1);
    t.deepEqual(rig.takeText(), [syn], `${at} ms`);
    elapsed = at;
  }
});

test('SYN-SENT: given up after two minutes of silence, without a word', (t) => {
  const rig = new ConnectRig();
  rig.connect();
  rig.advance(110_000);
  t.deepEqual(rig.events, []);
  rig.takeText();
  rig.advance(100_000);
  t.deepEqual(rig.events, ['ETIMEDOUT']);
  t.true(rig.takeText().every((line) => line.startsWith('> S ')));
  t.is(rig.stack.pollAt(), undefined);
});

test('SYN-SENT: RST refuses, if it acknowledges the SYN', (t) => {
  const rig = new ConnectRig();
  rig.connect();
  rig.takeText();
  t.deepEqual(rig.tcp('< R 0:0(0)'), [], 'without an ACK it is nothing');
  t.deepEqual(rig.tcp('< R. 0:0(0) ack 7'), [], 'that of something else neither');
  t.deepEqual(rig.events, []);
  t.deepEqual(rig.tcp('< R. 0:0(0) ack 1'), []);
  t.deepEqual(rig.events, ['ECONNREFUSED']);
  t.is(rig.stack.counters.connectsFailed, 1);
  t.is(rig.stack.pollAt(), undefined);
});

test('SYN-SENT: another connect may be begun when one is refused', (t) => {
  const rig = new ConnectRig();
  const {handler} = rig;
  handler.onRefused = () => void rig.connect();
  rig.connect();
  rig.takeText();
  t.deepEqual(rig.tcp('< R. 0:0(0) ack 1'), ['> S 0:0(0) win 65535 <mss 1460,nop,wscale 7>']);
});

test('SYN-SENT: an ACK of an earlier life draws RST, and the SYN is repeated', (t) => {
  const rig = new ConnectRig();
  rig.connect();
  rig.takeText();
  t.deepEqual(rig.tcp('< . 5000:5000(0) ack 4711'), ['> R 4711:4711(0) win 0']);
  t.deepEqual(rig.events, []);
  rig.advance(200);
  t.is(rig.takeText().length, 1);
  rig.tcp(SYN_ACK);
  t.deepEqual(rig.events, ['connected']);
});

test('SYN-SENT: an ACK alone, and one before the SYN has left, are nothing', (t) => {
  const rig = new ConnectRig();
  rig.connect();
  rig.inject(rig.build('< S. 1000:1000(0) ack 1 win 65535'));
  t.deepEqual(rig.events, []);
  rig.takeText();
  t.deepEqual(rig.tcp('< . 1001:1001(0) ack 1'), []);
  t.deepEqual(rig.events, []);
});

test('SYN-SENT: a program that connects by the same addresses goes first', (t) => {
  const rig = new ConnectRig();
  rig.connect();
  rig.takeText();
  t.deepEqual(rig.tcp('< S 7000:7000(0) win 65535 <mss 1460>'), [
    '> S. 0:0(0) ack 7001 win 65535 <mss 1460>',
  ]);
  t.deepEqual(rig.events, ['EADDRINUSE']);
  t.is(rig.flows.length, 1);
});

test('SYN-SENT: a reset sends nothing, and a late SYN-ACK draws RST', (t) => {
  const rig = new ConnectRig();
  const connection = rig.connect();
  rig.takeText();
  connection.reset();
  t.deepEqual(rig.takeText(), []);
  t.is(rig.stack.pollAt(), undefined);
  t.deepEqual(rig.tcp(SYN_ACK), ['> R 1:1(0) win 0']);
  t.deepEqual(rig.events, []);
});

test('SYN-SENT: bytes and the end that were said before go when it is connected', (t) => {
  const rig = new ConnectRig();
  const connection = rig.connect();
  connection.write(stream(0, 100));
  connection.end();
  t.is(rig.takeText().length, 1);
  t.deepEqual(rig.tcp(SYN_ACK), ['> FP. 1:101(100) ack 1001 win 8192']);
});

test('SYN-SENT: a credit below 64 KiB is what the SYN offers', (t) => {
  const rig = new ConnectRig();
  const client = {address: rig.destination, port: rig.serverPort};
  const program = {address: rig.source, port: rig.port};
  const connection = rig.stack.connectTcp(client, program, rig.handler);
  if (typeof connection === 'string') return t.fail(connection);
  connection.grant(1000);
  t.deepEqual(rig.takeText(), ['> S 0:0(0) win 1000 <mss 1460,nop,wscale 7>']);
  connection.grant(1 << 20);
  t.deepEqual(rig.takeText(), [], 'a grant sends nothing yet');
  t.deepEqual(rig.tcp(SYN_ACK), ['> . 1:1(0) ack 1001 win 8192']);
});

test('ESTABLISHED: without window scale in the SYN-ACK nobody scales', (t) => {
  const rig = new ConnectRig();
  const connection = rig.connect();
  rig.takeText();
  t.deepEqual(rig.tcp('< S. 1000:1000(0) ack 1 win 300 <mss 1460>'), [
    '> . 1:1(0) ack 1001 win 65535',
  ]);
  connection.write(stream(0, 1000));
  t.deepEqual(rig.takeText(), ['> P. 1:301(300) ack 1001 win 65535']);
});

test('ESTABLISHED: the window of the SYN-ACK is not scaled, later ones are', (t) => {
  const rig = new ConnectRig();
  const connection = rig.connected('< S. 1000:1000(0) ack 1 win 400 <mss 1460,nop,wscale 7>');
  connection.write(stream(0, 1000));
  t.deepEqual(rig.takeText(), ['> P. 1:401(400) ack 1001 win 8192']);
  t.deepEqual(rig.tcp('< . 1001:1001(0) ack 401 win 400'), [
    '> P. 401:1001(600) ack 1001 win 8192',
  ]);
});

test('ESTABLISHED: a SYN-ACK again is answered by the ACK again', (t) => {
  const rig = new ConnectRig();
  rig.connected();
  t.deepEqual(rig.tcp(SYN_ACK), ['> . 1:1(0) ack 1001 win 8192']);
  rig.advance(1_000);
  t.deepEqual(rig.tcp(SYN_ACK), ['> . 1:1(0) ack 1001 win 8192']);
  t.deepEqual(rig.events, []);
});

test('ESTABLISHED: bytes, ends and their ACKs go both ways', (t) => {
  const rig = new ConnectRig();
  const connection = rig.connected();
  connection.write(stream(0, 10));
  t.deepEqual(rig.takeText(), ['> P. 1:11(10) ack 1001 win 8192']);
  t.deepEqual(rig.tcp('< FP. 1001:1006(5) ack 11 win 512'), ['> . 11:11(0) ack 1007 win 8191']);
  connection.end();
  t.deepEqual(rig.takeText(), ['> F. 11:11(0) ack 1007 win 8191']);
  rig.tcp('< . 1007:1007(0) ack 12 win 512');
  t.deepEqual(rig.events, ['acked 10', 'data 5', 'end', 'close']);
});

test('ESTABLISHED: RST of the program is told', (t) => {
  const rig = new ConnectRig();
  rig.connected();
  t.deepEqual(rig.tcp('< R. 1001:1001(0) ack 1'), []);
  t.deepEqual(rig.events, ['reset']);
});

test('a client that comes again by the same port is taken above the last number', (t) => {
  const rig = new ConnectRig();
  const connection = rig.connected();
  const first = rig.iss;
  // Much more than the ISN's clock ticks in no time.
  let sent = 0;
  for (; sent < 8_000_000; sent += 60_000) {
    connection.write(stream(sent, 60_000));
    rig.takeText();
    rig.tcp(`< . 1001:1001(0) ack ${1 + sent + 60_000} win 65535`);
  }
  rig.tcp(`< F. 1001:1001(0) ack ${1 + sent} win 65535`);
  connection.end();
  rig.takeText();
  rig.tcp(`< . 1002:1002(0) ack ${2 + sent} win 65535`);
  t.is(rig.events.at(-1), 'close');
  rig.connect();
  rig.takeText();
  t.true(((rig.iss - first - sent - 1) | 0) > 0, `${rig.iss - first}, sent ${sent}`);
});

test('TIME-WAIT: a client that comes again is connected at once, above the last number', (t) => {
  const rig = new ConnectRig();
  const connection = rig.connected();
  const first = rig.iss;
  connection.end();
  rig.takeText();
  rig.tcp('< F. 1001:1001(0) ack 2 win 512');
  t.deepEqual(rig.events, ['end', 'close']);
  rig.connect();
  t.is(rig.takeText()[0], '> S 0:0(0) win 65535 <mss 1460,nop,wscale 7>');
  t.true(((rig.iss - first - 2) | 0) >= 0);
  rig.tcp('< S. 9000:9000(0) ack 1 win 65535');
  t.is(rig.events.at(-1), 'connected');
});

test('a second connection between the same ends is EADDRINUSE', (t) => {
  const rig = new ConnectRig();
  rig.connect();
  t.is(rig.try(), 'EADDRINUSE');
});

test('a connection to itself, to port 0 or to another family is EADDRNOTAVAIL', (t) => {
  const rig = new ConnectRig();
  const {stack, handler} = rig;
  const client = {address: rig.destination, port: 80};
  const program = {address: rig.source, port: 8080};
  t.is(stack.connectTcp(program, program, handler), 'EADDRNOTAVAIL');
  t.is(stack.connectTcp(client, {...program, port: 0}, handler), 'EADDRNOTAVAIL');
  t.is(stack.connectTcp({...client, port: 0}, program, handler), 'EADDRNOTAVAIL');
  t.is(
    stack.connectTcp({...client, address: new Uint8Array(16)}, program, handler),
    'EADDRNOTAVAIL',
  );
  t.is(stack.pollAt(), undefined);
});

test('above the limit of flows no connect is begun, and that is counted', (t) => {
  const rig = new ConnectRig(4, {limits: {flows: 1}});
  rig.connect();
  t.is(
    rig.stack.connectTcp(
      {address: rig.destination, port: 81},
      {address: rig.source, port: 8080},
      rig.handler,
    ),
    'EMFILE',
  );
  t.is(rig.stack.counters.flowLimit, 1);
});

test('a full device delays the SYN, and it is sent once', (t) => {
  const rig = new ConnectRig();
  rig.room = 0;
  rig.connect();
  t.deepEqual(rig.takeText(), []);
  rig.room = 10;
  t.is(rig.takeText().length, 1);
  t.deepEqual(rig.takeText(), []);
});
