/** Whole connections between Node's HTTP/2 and Node's HTTP/2: what comes out of the relay is what went in. */

import {createHash} from 'node:crypto';
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect,
  createServer,
  type Http2Server,
  type ServerHttp2Stream,
  type Settings,
} from 'node:http2';
import type {Server} from 'node:net';
import {setTimeout as delay} from 'node:timers/promises';
import {promisify} from 'node:util';
import test from 'ava';
import fc from 'fast-check';
import {httpCounters} from '../../../../../agent/intercept/http/counters.ts';
import {held} from '../../../../../agent/intercept/pass.ts';
import {listen, relay, subscription, wants, wantsHeader} from '../world.ts';

const digest = (body: Buffer): string => createHash('sha1').update(body).digest('hex');
/** Its types don't know that it is a server of net. */
const connectionsOf = (server: Http2Server) => {
  const tcp = server as unknown as Server;
  return promisify(tcp.getConnections).call(tcp);
};

/** Answers with its name, what it heard, and as much again as the path says, and a digest of all in trailers. */
function witness(name: string, settings: Settings): Http2Server {
  const server = createServer({settings, ...ANY_NUMBER});
  server.on('stream', (stream: ServerHttp2Stream, headers, _flags, raw?: string[]) => {
    const chunks: Buffer[] = [];
    stream.on('error', () => {});
    stream.on('data', (chunk: Buffer) => chunks.push(chunk));
    const {size, early, change} = JSON.parse(String(headers['x-answer']));
    if (change !== null) stream.session?.settings(change);
    stream.on('end', () => {
      const body = Buffer.concat(chunks);
      if (early) stream.additionalHeaders({':status': 103, link: '</early>'});
      const extra = (raw ?? []).filter((_, at, all) => all[at - 1]?.startsWith('x-extra'));
      const line = `${name} ${headers[':path']} ${digest(body)} ${extra.join()} `;
      const answer = Buffer.concat([Buffer.from(line), Buffer.alloc(size, line)]);
      stream.respond({':status': 200, 'x-length': answer.length}, {waitForTrailers: true});
      stream.on('wantTrailers', () => stream.sendTrailers({'x-digest': digest(answer)}));
      stream.end(answer);
    });
  });
  return server;
}

/** Its types don't know it. */
const ANY_NUMBER: object = {maxOutstandingSettings: 100};
/** Windows, frames and tables of headers, of which none is as large as another. */
const settings: fc.Arbitrary<Settings> = fc.record({
  initialWindowSize: fc.constantFrom(1000, 20_000, 65_535, 1_000_000),
  headerTableSize: fc.constantFrom(0, 100, 4096, 65_536, 1_000_000),
  maxFrameSize: fc.constantFrom(16_384, 100_000),
});
const request = fc.record({
  whose: fc.constantFrom('me', 'you', 'by-body', 'not-by-body'),
  size: fc.oneof(fc.constant(0), fc.nat(40), fc.nat(70_000), fc.nat(300_000)),
  answer: fc.oneof(fc.nat(40), fc.nat(300_000)),
  early: fc.boolean(),
  hasTrailers: fc.boolean(),
  /** Sent in pieces of so many bytes. */
  piece: fc.constantFrom(1000, 16_384, 100_000),
  /** How many turns it waits before it begins, so that it meets others in the middle. */
  delay: fc.oneof(fc.constant(0), fc.nat(40)),
  /** What the client, and whoever answers, says anew then. */
  change: fc.option(settings, {freq: 4}),
  serverChange: fc.option(settings, {freq: 4}),
  extras: fc.array(fc.string({minLength: 1, unit: fc.constantFrom('a', 'Z', '%', '9')}), {
    maxLength: 3,
  }),
});
type Request = typeof request extends fc.Arbitrary<infer T> ? T : never;

function bodyOf({whose, size}: Request, at: number): Buffer {
  const isByBody = whose.endsWith('by-body');
  const body = Buffer.alloc(size, `${at} `);
  if (!isByBody) return body;
  return Buffer.from(
    JSON.stringify({user: whose === 'by-body' ? 'me' : 'you', padding: `${body}`}),
  );
}

async function ask(session: ClientHttp2Session, one: Request, at: number): Promise<string> {
  const body = bodyOf(one, at);
  const {whose, answer, early, hasTrailers, piece, extras} = one;
  for (let turn = 0; turn < one.delay; turn++)
    await new Promise((resolve) => setImmediate(resolve));
  if (one.change !== null) session.settings(one.change);
  const stream = session.request(
    {
      ':method': 'POST',
      ':path': `/${at}`,
      'x-user': whose,
      'x-answer': JSON.stringify({size: answer, early, change: one.serverChange}),
      ...Object.fromEntries(extras.map((value, index) => [`x-extra-${index}`, value])),
    },
    {waitForTrailers: hasTrailers},
  );
  if (hasTrailers) stream.on('wantTrailers', () => stream.sendTrailers({'x-trailer': '1'}));
  let interim = 0;
  let length = '';
  stream.on('headers', (fields) => {
    interim += fields['link'] === '</early>' ? 1 : 0;
  });
  stream.on('response', (fields) => {
    length = String(fields['x-length']);
  });
  const answered = answerOf(stream);
  for (let from = 0; from < body.length; from += piece) {
    const isTaken = stream.write(body.subarray(from, from + piece));
    if (!isTaken)
      await new Promise((resolve) => stream.once('drain', resolve).once('close', resolve));
  }
  stream.end();
  const {bytes, trailers, code} = await answered;
  const isWhole = trailers['x-digest'] === digest(bytes) && length === String(bytes.length);
  const text = bytes.toString('latin1', 0, bytes.length - answer);
  return `${text}${isWhole ? 'whole' : 'broken'} ${interim} ${code}`;
}

function answerOf(stream: ClientHttp2Stream) {
  return new Promise<{bytes: Buffer; trailers: Record<string, unknown>; code: number}>(
    (resolve) => {
      const chunks: Buffer[] = [];
      let trailers = {};
      stream.on('data', (chunk: Buffer) => chunks.push(chunk));
      stream.on('trailers', (fields) => {
        trailers = fields;
      });
      stream.on('error', () => {});
      stream.on('close', () =>
        resolve({bytes: Buffer.concat(chunks), trailers, code: stream.rstCode ?? 0}),
      );
    },
  );
}

function expected(one: Request, at: number): string {
  const body = bodyOf(one, at);
  const isSmall = body.length <= 65_535;
  const isMine = one.whose === 'me' || (one.whose === 'by-body' && isSmall);
  const name = isMine ? 'program' : 'application';
  const extras = one.extras.join();
  return `${name} /${at} ${digest(body)} ${extras} whole ${one.early ? 1 : 0} 0`;
}

test('any interleaving of streams: each is answered by its side, and nothing of it is changed', async (t) => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(request, {minLength: 1, maxLength: 16}),
      fc.record({client: settings, application: settings, program: settings}),
      fc.boolean(),
      async (requests, windows, isPatient) => {
        const servers = [
          witness('application', windows.application),
          witness('program', windows.program),
        ] as const;
        const [application, program] = await Promise.all(servers.map((one) => listen(t, one)));
        const byBody = wants({kind: 'body', query: '$.user', pattern: {source: '^me$', flags: ''}});
        const isMe = wantsHeader('^x-user: me$');
        const {port, relays} = await relay(
          t,
          application ?? 0,
          [
            subscription(program ?? 0, {filter: isMe}),
            subscription(program ?? 0, {filter: byBody}),
          ],
          // A large body is told by its size, not by the time it takes.
          {bodyTimeoutMs: 60_000, holdMs: isPatient ? 50 : 0},
        );
        const session = connect(`http://127.0.0.1:${port}`, {
          settings: windows.client,
          ...ANY_NUMBER,
        });
        const answers = await Promise.all(requests.map((one, at) => ask(session, one, at)));
        t.deepEqual(answers, requests.map(expected));
        session.close();
        await Promise.all(relays);
        for (const server of servers) {
          while ((await connectionsOf(server)) > 0) await delay(5);
          server.close();
        }
        while (held.bytes > 0) await delay(5);
      },
    ),
    {numRuns: 40, endOnFailure: true},
  );
  t.is(httpCounters.internalErrors, 0);
  t.is(httpCounters.brokenSessions, 0);
});
