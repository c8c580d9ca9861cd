import test from 'ava';
import fc from 'fast-check';
import {BodyReader, type Framing} from '../../../../agent/intercept/http/body.ts';
import {detectProtocol} from '../../../../agent/intercept/http/detect.ts';
import {Exchange} from '../../../../agent/intercept/http/exchange.ts';
import {parseRequestHead, parseResponseHead} from '../../../../agent/intercept/http/head.ts';
import {HeadBuffer} from '../../../../agent/intercept/http/head-buffer.ts';
import {headersOf} from '../../../../agent/intercept/http/lines.ts';
import {
  changeHead,
  type HeaderChange,
  headerChange,
} from '../../../../agent/intercept/http/response-head.ts';
import {RequestSubject} from '../../../../agent/intercept/http/subject.ts';

const latin1 = (text: string): Buffer => Buffer.from(text, 'latin1');

/** `bytes` in pieces, of which no one is empty. */
function cut(bytes: Buffer, places: readonly number[]): Buffer[] {
  const ends = [...new Set(places.map((place) => place % (bytes.length + 1)))];
  const sorted = [0, ...ends.sort((one, other) => one - other), bytes.length];
  return sorted
    .slice(1)
    .map((end, at) => bytes.subarray(sorted[at], end))
    .filter((piece) => piece.length > 0);
}

const places = fc.array(fc.nat(500), {maxLength: 12});
/** Bytes that HTTP is made of, in an order that often is none. */
const piece = fc.constantFrom(
  ...[
    '\r\n',
    '\n',
    '\r',
    ' ',
    '\t',
    ':',
    ';',
    ',',
    '0',
    '3',
    'a',
    'f',
    'X: b',
    'GET / HTTP/1.1\r\n',
  ],
  ...[
    'Content-Length: 3',
    'Transfer-Encoding: chunked',
    '\r\n\r\n',
    '3\r\nabc\r\n',
    '0\r\n\r\n',
    '\0',
  ],
  ...['PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'HTTP/1.1 200 OK\r\n', '\x16\x03', '\xff'],
);
const soup = fc.array(piece, {maxLength: 20}).map((pieces) => latin1(pieces.join('')));

test('detection: the verdict is one of the bytes, and never changes once it is there', (t) => {
  fc.assert(
    fc.property(soup, (bytes) => {
      let verdict = 'more';
      for (let length = 0; length <= bytes.length; length++) {
        const found = detectProtocol(bytes.subarray(0, length));
        if (verdict !== 'more' && found !== verdict) return false;
        verdict = found;
      }
      return true;
    }),
  );
  t.pass();
});

for (const [text, verdict] of [
  ['', 'more'],
  ['G', 'more'],
  ['GET / HTTP/1.1\r', 'more'],
  ['GET / HTTP/1.1\r\n', 'http1'],
  ['get /a?b#c HTTP/1.0\r\n', 'http1'],
  ['GET / HTTP/1.2\r\n', 'raw'],
  ['GET / HTTP/1.1\n', 'raw'],
  ['GET /\r\n', 'raw'],
  ['GET  / HTTP/1.1\r\n', 'raw'],
  [' GET / HTTP/1.1\r\n', 'raw'],
  ['\r\nGET / HTTP/1.1\r\n', 'raw'],
  ['PRI * HTTP/2.0\r\n', 'more'],
  ['PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'http2'],
  ['PRI * HTTP/2.0\r\n\r\nSN', 'raw'],
  ['\x16', 'raw'],
  ['SSH-2.0-OpenSSH\r', 'raw'],
  ['PING\r', 'raw'],
  ['*1\r', 'raw'],
  ['A'.repeat(33), 'raw'],
  [`GET /${'a'.repeat(17_000)}`, 'raw'],
] as const) {
  test(`detection: ${JSON.stringify(text.slice(0, 40))} is ${verdict}`, (t) => {
    t.is(detectProtocol(latin1(text)), verdict);
  });
}

/** Feeds a head; returns where it ends, or that it is broken, and how many bytes were taken. */
function readHead(pieces: readonly Buffer[]): {end: number | string; bytes: string} {
  const buffer = new HeadBuffer();
  let end: number | 'broken' | 'more' = 'more';
  for (const chunk of pieces) {
    end = buffer.push(chunk);
    if (end !== 'more') break;
  }
  const taken = buffer.take();
  return {end, bytes: taken.toString('latin1', 0, typeof end === 'number' ? end : 0)};
}

test('heads: any cutting of the bytes gives the same head, or the same refusal', (t) => {
  fc.assert(
    fc.property(soup, places, (bytes, where) => {
      const whole = readHead([bytes]);
      const inPieces = readHead(cut(bytes, where));
      return whole.end === inPieces.end && whole.bytes === inPieces.bytes;
    }),
  );
  t.pass();
});

test('heads: nothing that is parsed throws, and what parses has one framing', (t) => {
  const request = parseRequestHead(latin1('GET / HTTP/1.1\r\n\r\n'));
  if (request === undefined) return t.fail();
  fc.assert(
    fc.property(soup, (bytes) => {
      const ended = Buffer.concat([bytes, latin1('\r\n\r\n')]);
      const whole = Buffer.concat([latin1('GET / HTTP/1.1\r\n'), ended]);
      const head = parseRequestHead(whole);
      parseResponseHead(ended, request);
      const headers = head === undefined ? [] : headersOf(whole, head.lines);
      return (
        headers.filter((line) => /^(Content-Length|Transfer-Encoding):/.test(line)).length <= 1
      );
    }),
    {numRuns: 1000},
  );
  t.pass();
});

/** What the first lines are, as a grammar. */
const REQUEST_LINE = /^([!#$%&'*+\-.^_`|~0-9A-Za-z]+) ([^\0-\x20\x7f]+) HTTP\/1\.([01])$/;
// biome-ignore lint/suspicious/noControlCharactersInRegex: what can't be in a line
const STATUS_LINE = /^HTTP\/1\.([01]) ([1-5]\d\d)(?: [^\0-\x08\x0a-\x1f\x7f]*)?$/;

const letter = fc.constantFrom(...['G', 'E', ' ', '\t', '/', '\x7f', '\0', '\xe9', '1', '%', '"']);
/** A line that could be one of these, with some bytes changed. */
const almost = fc
  .tuple(
    fc.constantFrom(
      'GET /a?b HTTP/1.1',
      'P / HTTP/1.0',
      'HTTP/1.1 200 OK',
      'HTTP/1.0 404',
      'HTTP/1.1 099 ',
    ),
    fc.array(fc.tuple(fc.nat(20), fc.constantFrom(0, 1), letter), {maxLength: 2}),
  )
  .map(([line, changes]) => {
    let text = line;
    for (const [at, removed, added] of changes) {
      text = text.slice(0, at) + added + text.slice(at + removed);
    }
    return text;
  });

test('heads: a first line is one of a request, or of a response, exactly by the grammar', (t) => {
  const get = parseRequestHead(latin1('GET / HTTP/1.1\r\n\r\n'));
  if (get === undefined) return t.fail();
  let found = 0;
  fc.assert(
    fc.property(almost, (line) => {
      const bytes = latin1(`${line}\r\n\r\n`);
      const request = parseRequestHead(bytes);
      const asRequest = REQUEST_LINE.exec(line);
      const response = parseResponseHead(bytes, get);
      const asResponse = STATUS_LINE.exec(line);
      if (request !== undefined || response !== undefined) found++;
      const target = request && bytes.toString('latin1', request.targetStart, request.targetEnd);
      return (
        request?.method === asRequest?.[1] &&
        target === asRequest?.[2] &&
        request?.isLast ===
          (asRequest && asRequest[3] === '0' ? true : asRequest ? false : undefined) &&
        response?.status === (asResponse ? Number(asResponse[2]) : undefined)
      );
    }),
    {numRuns: 5000},
  );
  t.true(found > 500, `${found} were one`);
});

for (const [line, expected] of [
  ['Content-Length: 3', {kind: 'length', bytes: 3}],
  ['content-LENGTH:\t003 \t', {kind: 'length', bytes: 3}],
  ['Content-Length: 0', {kind: 'length', bytes: 0}],
  ['Content-Length: 999999999999999', {kind: 'length', bytes: 999_999_999_999_999}],
  ['Content-Length: 1000000000000000', undefined],
  ['Content-Length:', undefined],
  ['Content-Length: +3', undefined],
  ['Content-Length: 3, 3', undefined],
  ['Content-Length: 3\r\nContent-Length: 3', undefined],
  ['Transfer-Encoding: CHUNKED', {kind: 'chunked'}],
  ['Transfer-Encoding: gzip, chunked', undefined],
  ['Transfer-Encoding: chunked\xa0', undefined],
  ['Transfer-Encoding: chunked\r\nContent-Length: 3', undefined],
  ['Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked', undefined],
  ['Content_Length: 3', undefined],
  ['Transfer_Encoding: chunked', undefined],
  ["Content-Length': 3", undefined],
] as const) {
  test(`heads: the body that ${JSON.stringify(line)} says`, (t) => {
    const head = parseRequestHead(latin1(`POST / HTTP/1.1\r\n${line}\r\n\r\n`));
    t.deepEqual(head?.framing, expected);
  });
}

test('heads: who says that a message is the last one is understood in any list of options', (t) => {
  const isLast = (version: string, value: string): boolean | undefined =>
    parseRequestHead(latin1(`GET / HTTP/${version}\r\nConnection: ${value}\r\n\r\n`))?.isLast;
  for (const value of ['close', ' CLOSE ', 'te, Close', 'close,keep-alive', 'keep-alive, close']) {
    t.true(isLast('1.1', value), value);
    t.true(isLast('1.0', value), value);
  }
  for (const value of ['keep-alive', 'Keep-Alive', 'te , keep-ALIVE']) {
    t.false(isLast('1.1', value), value);
    t.false(isLast('1.0', value), value);
  }
  for (const value of ['', 'closed', 'te']) {
    t.false(isLast('1.1', value), value);
    t.true(isLast('1.0', value), value);
  }
});

test('heads: what is surely in no header is in none of them as filters see them', (t) => {
  const name = fc.constantFrom('X-A', 'x-b', 'Accept');
  const blank = fc.constantFrom('', ' ', ' ', ' ', '\t', '  ');
  const value = fc.constantFrom('', 'b', 'A: b', 'x-a: B');
  const lines = fc.array(fc.tuple(name, blank, value, blank), {minLength: 1, maxLength: 4});
  const needed = fc.constantFrom('x-a: b', 'x', 'b: ', ': b', 'accept: a: b', ':', 'c');
  fc.assert(
    fc.property(lines, needed, (all, text) => {
      const head = all.map((parts) => `${parts[0]}:${parts.slice(1).join('')}\r\n`).join('');
      const bytes = latin1(`GET /x HTTP/1.1\r\n${head}\r\n`);
      const parsed = parseRequestHead(bytes);
      if (parsed === undefined) return false;
      const subject = new RequestSubject(new Exchange(parsed, bytes), async () => undefined);
      const isThere = subject.headers.some((line) => line.toLowerCase().includes(text));
      return !(isThere && subject.lacks(text));
    }),
    {numRuns: 2000},
  );
  const bytes = latin1('GET /x-a HTTP/1.1\r\nHost: a\r\n\r\n');
  const parsed = parseRequestHead(bytes);
  const subject = parsed && new RequestSubject(new Exchange(parsed, bytes), async () => undefined);
  t.deepEqual([subject?.lacks('x-a'), subject?.lacks('host: a')], [true, false]);
});

/** Feeds a body; returns how many bytes it took, its payload, and what became of it. */
function readBody(framing: Framing, pieces: readonly Buffer[]) {
  const payload: Buffer[] = [];
  const reader = new BodyReader(framing, (bytes) => payload.push(bytes));
  let taken = 0;
  for (const chunk of pieces) taken += reader.take(chunk);
  const text = Buffer.concat(payload).toString('latin1');
  return {taken, text, isDone: reader.isDone, isBroken: reader.isBroken};
}

test('bodies: any cutting of the bytes gives the same body', (t) => {
  const framing = fc.constantFrom<Framing>(
    {kind: 'chunked'},
    {kind: 'close'},
    {kind: 'length', bytes: 0},
    {kind: 'length', bytes: 7},
  );
  fc.assert(
    fc.property(framing, soup, places, (how, bytes, where) => {
      const whole = JSON.stringify(readBody(how, [bytes]));
      return whole === JSON.stringify(readBody(how, cut(bytes, where)));
    }),
    {numRuns: 1000},
  );
  t.pass();
});

test('bodies: chunks of any payload are read back, and not a byte more', (t) => {
  const extension = fc.constantFrom('', ';a', ';a=b', ';a="b;c"');
  const trailer = fc.constantFrom('', 'A: b\r\n', 'A: b\r\nC:\td\r\n');
  const chunks = fc.array(fc.tuple(fc.uint8Array({minLength: 1, maxLength: 40}), extension));
  fc.assert(
    fc.property(chunks, trailer, places, (parts, end, where) => {
      const body = Buffer.concat([
        ...parts.flatMap(([bytes, more]) => [
          latin1(`${bytes.length.toString(16)}${more}\r\n`),
          Buffer.from(bytes),
          latin1('\r\n'),
        ]),
        latin1(`000\r\n${end}\r\n`),
      ]);
      const found = readBody({kind: 'chunked'}, cut(Buffer.concat([body, latin1('GET /')]), where));
      const text = Buffer.concat(parts.map(([bytes]) => bytes)).toString('latin1');
      return found.isDone && found.taken === body.length && found.text === text;
    }),
  );
  t.pass();
});

for (const body of [
  '3 \r\nabc\r\n',
  ' 3\r\nabc\r\n',
  '0x3\r\nabc\r\n',
  '-1\r\n',
  '\r\n',
  '3\nabc\r\n',
  '3\r\nabc\n',
  '3\r\nabcd\r\n',
  '3;a\nb\r\nabc\r\n',
  '0\r\nA: b\n\r\n',
  '0\r\n A: b\r\n\r\n',
  `${'f'.repeat(14)}\r\n`,
  `3;${'a'.repeat(5000)}\r\n`,
  `0\r\n${'A: b\r\n'.repeat(5000)}\r\n`,
]) {
  test(`bodies: ${JSON.stringify(body.slice(0, 30))} is no body of chunks`, (t) => {
    const {isBroken, isDone} = readBody({kind: 'chunked'}, [latin1(body)]);
    t.deepEqual({isBroken, isDone}, {isBroken: true, isDone: false});
  });
}

test('responses: a changed line takes the place of the first of its name, the others stay', (t) => {
  const head = 'HTTP/1.1 200 OK\r\nB:  1 \r\ncache-CONTROL: a\r\nb: 2\r\nCache-Control: b\r\n\r\n';
  const request = parseRequestHead(latin1('GET / HTTP/1.1\r\n\r\n'));
  const lines = (request && parseResponseHead(latin1(head), request))?.lines ?? [];
  const changed = (...changes: HeaderChange[]): string =>
    Buffer.concat(
      changeHead(latin1(`${head}body`), {lines, headLength: head.length}, changes),
    ).toString('latin1');
  t.is(
    changed(headerChange('Cache-Control', 'c'), headerChange('D', 'd')),
    'HTTP/1.1 200 OK\r\nB:  1 \r\nCache-Control: c\r\nb: 2\r\nD: d\r\n\r\nbody',
  );
  t.is(changed(), `${head}body`);
});
