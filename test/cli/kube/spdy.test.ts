import {constants, inflateSync} from 'node:zlib';
import test from 'ava';
import fc from 'fast-check';
import {SPDY_HEAD_BYTES, Spdy} from '../../../cli/kube/spdy.ts';

class Ear {
  readonly said: string[] = [];
  data = Buffer.alloc(0);
  readonly spdy = new Spdy({
    onOpen: () => this.said.push('open'),
    onData: (piece) => {
      this.data = Buffer.concat([this.data, piece]);
    },
    onComplaint: (piece) => this.said.push(`complaint ${Buffer.from(piece)}`),
    onEnd: () => this.said.push('end'),
    onPong: () => this.said.push('pong'),
    onReply: (frame) => this.said.push(`reply ${Buffer.from(frame).toString('hex')}`),
  });
}

function control(kind: number, flags: number, payload: string): Buffer {
  const bytes = Buffer.from(payload, 'hex');
  const head = Buffer.from([0x80, 3, 0, kind, flags, 0, 0, bytes.length]);
  return Buffer.concat([head, bytes]);
}

function data(stream: number, flags: number, text: string): Buffer {
  const head = Buffer.alloc(8);
  head.writeUInt32BE(stream);
  head.writeUInt32BE(text.length, 4);
  head[4] = flags;
  return Buffer.concat([head, Buffer.from(text)]);
}

/** Both streams are answered, then two of everything. */
const conversation = Buffer.concat([
  control(2, 0, '00000001 ffff'.replace(' ', '')),
  control(4, 0, '00000000'),
  control(2, 0, '00000003'),
  data(3, 0, 'hello '),
  control(6, 0, '00000002'),
  control(6, 0, '00000001'),
  data(3, 0, 'world'),
  data(1, 1, 'refused'),
  data(3, 1, ''),
]);

test('the streams are opened by two SYN_STREAMs, whose headers are one zlib stream', (t) => {
  const bytes = Buffer.from(new Ear().spdy.open(8080));
  const first = bytes.readUIntBE(5, 3);
  const second = SPDY_HEAD_BYTES + first;
  t.is(bytes.readUInt32BE(0), 0x80030001);
  t.is(bytes[4], 1, 'nothing is said on the error stream');
  t.is(bytes.readUInt32BE(8), 1);
  t.is(bytes.readUInt32BE(second), 0x80030001);
  t.is(bytes.readUInt32BE(second + 8), 3);
  t.is(bytes.length, second + SPDY_HEAD_BYTES + bytes.readUIntBE(second + 5, 3));
  const headers = Buffer.concat([bytes.subarray(18, second), bytes.subarray(second + 18)]);
  const text = inflateSync(headers, {finishFlush: constants.Z_SYNC_FLUSH}).toString('latin1');
  const pair = (name: string, value: string): string =>
    [name, value].map((each) => `\0\0\0${String.fromCharCode(each.length)}${each}`).join('');
  const common = `\0\0\0\x03${pair('port', '8080')}${pair('requestid', '0')}`;
  t.is(text, `${common}${pair('streamtype', 'error')}${common}${pair('streamtype', 'data')}`);
});

test('what the other side says is told, in any pieces', (t) => {
  fc.assert(
    fc.property(fc.array(fc.nat(20), {maxLength: 40}), (cuts) => {
      const ear = new Ear();
      let at = 0;
      for (const cut of cuts) {
        ear.spdy.push(conversation.subarray(at, at + cut));
        at += cut;
      }
      ear.spdy.push(conversation.subarray(at));
      const said = ear.said.join('\n').replace(/\ncomplaint /g, '');
      t.true(said.startsWith('open\nreply 800300060000000400000002\npong'), said);
      t.true(said.includes('refused') && said.endsWith('end'), said);
      t.is(String(ear.data), 'hello world');
    }),
    {numRuns: 200},
  );
});

test('data goes out behind a head; a ping has an odd number', (t) => {
  const {spdy} = new Ear();
  const buffer = Buffer.alloc(20, 0xff);
  spdy.writeHead(buffer, 10, 70_000);
  t.is(buffer.subarray(2, 10).toString('hex'), '0000000300011170');
  t.is(Buffer.from(spdy.ping()).toString('hex'), '800300060000000400000001');
  t.is(Buffer.from(spdy.ping()).toString('hex'), '800300060000000400000003');
});

test('what is not SPDY/3.1 is refused', (t) => {
  for (const wrong of ['8002000100000000', '8003000100010001', '8003000200000002abcd']) {
    t.throws(() => new Ear().spdy.push(Buffer.from(wrong, 'hex')), undefined, wrong);
  }
});

test('a stream that is reset, and a connection that goes away, are the end', (t) => {
  for (const last of [control(3, 0, '0000000300000005'), control(7, 0, '0000000000000000')]) {
    const ear = new Ear();
    ear.spdy.push(last);
    t.deepEqual(ear.said, ['end']);
  }
});
