/** Whole conversations, cut anywhere: who answers what must not depend on how the bytes came. */

import {createHash} from 'node:crypto';
import {createServer, type Server} from 'node:http';
import {setTimeout as delay} from 'node:timers/promises';
import {promisify} from 'node:util';
import test from 'ava';
import fc from 'fast-check';
import {httpCounters} from '../../../../agent/intercept/http/counters.ts';
import {held} from '../../../../agent/intercept/pass.ts';
import {dial, listen, readAll, relay, subscription, wantsHeader} from './world.ts';

const connectionsOf = (server: Server) => promisify(server.getConnections).call(server);
const digest = (body: Buffer): string => createHash('sha1').update(body).digest('hex');

/** Answers a line of its name and of what it heard, by length or in chunks as the path says, and as much again as filler. */
function witness(name: string) {
  // What is idle is ended by nobody but us.
  return createServer({keepAliveTimeout: 0}, (asked, response) => {
    const chunks: Buffer[] = [];
    asked.on('data', (chunk: Buffer) => chunks.push(chunk));
    asked.on('end', () => {
      const body = Buffer.concat(chunks);
      const line = `<${name} ${asked.method} ${asked.url} ${digest(body)}>`;
      const answer = Buffer.concat([Buffer.from(line), Buffer.alloc(body.length, '.')]);
      if (asked.url?.includes('length')) response.setHeader('Content-Length', answer.length);
      response.end(answer);
    });
  });
}

const request = fc.record({
  isMine: fc.boolean(),
  framing: fc.constantFrom('none', 'length', 'chunks'),
  answer: fc.constantFrom('length', 'chunks'),
  size: fc.oneof(fc.nat(40), fc.nat(3_000), fc.nat(300_000)),
});
type Request = typeof request extends fc.Arbitrary<infer T> ? T : never;

function emit({isMine, framing, answer, size}: Request, at: number): Buffer {
  const body = Buffer.alloc(size, String(at));
  const lines = [
    `${framing === 'none' ? 'GET' : 'POST'} /${answer}/${at} HTTP/1.1`,
    'Host: here',
    `X-User: ${isMine ? 'me' : 'you'}`,
  ];
  if (framing === 'none') return Buffer.from(`${lines.join('\r\n')}\r\n\r\n`);
  if (framing === 'length') {
    const head = [...lines, `Content-Length: ${size}`].join('\r\n');
    return Buffer.concat([Buffer.from(`${head}\r\n\r\n`), body]);
  }
  const head = [...lines, 'Transfer-Encoding: chunked'].join('\r\n');
  const parts = [Buffer.from(`${head}\r\n\r\n`)];
  for (let from = 0; from < size; from += 50_000) {
    const chunk = body.subarray(from, from + 50_000);
    parts.push(Buffer.from(`${chunk.length.toString(16)}\r\n`), chunk, Buffer.from('\r\n'));
  }
  return Buffer.concat([...parts, Buffer.from('0\r\n\r\n')]);
}

function expected({isMine, framing, answer, size}: Request, at: number): string {
  const body = framing === 'none' ? Buffer.alloc(0) : Buffer.alloc(size, String(at));
  const method = framing === 'none' ? 'GET' : 'POST';
  return `${isMine ? 'program' : 'application'} ${method} /${answer}/${at} ${digest(body)}`;
}

test('any cutting of pipelined requests gives each its answer, by its side, in their order', async (t) => {
  const {port, relays} = await relay(t, await listen(t, witness('application')), [
    subscription(await listen(t, witness('program')), {filter: wantsHeader('^x-user: me$')}),
  ]);
  await fc.assert(
    fc.asyncProperty(
      fc.array(request, {minLength: 1, maxLength: 8}),
      fc.array(fc.double({min: 0, max: 1, noNaN: true}), {maxLength: 12}),
      async (requests, cuts) => {
        const bytes = Buffer.concat(requests.map(emit));
        const places = cuts.map((share) => Math.floor(share * bytes.length)).sort((a, b) => a - b);
        const socket = await dial(port);
        const answers = readAll(socket);
        let from = 0;
        for (const place of [...places, bytes.length]) {
          socket.write(bytes.subarray(from, place));
          from = place;
          await new Promise((resolve) => setImmediate(resolve));
        }
        socket.end();
        const found = [...(await answers).matchAll(/<([^>]*)>/g)].map(([, line]) => line);
        t.deepEqual(found, requests.map(expected));
      },
    ),
    {numRuns: 80},
  );
  await Promise.all(relays);
  t.is(httpCounters.internalErrors, 0);
});

test('clients that break off anywhere leave nothing behind', async (t) => {
  const servers = [witness('application'), witness('program')];
  const [application = 0, program = 0] = await Promise.all(servers.map((one) => listen(t, one)));
  const {port, relays} = await relay(t, application, [
    subscription(program, {filter: wantsHeader('^x-user: me$')}),
  ]);
  await fc.assert(
    fc.asyncProperty(
      fc.array(request, {minLength: 1, maxLength: 4}),
      fc.double({min: 0, max: 1, noNaN: true}),
      fc.boolean(),
      async (requests, share, isReset) => {
        const bytes = Buffer.concat(requests.map(emit));
        const socket = await dial(port);
        socket.on('error', () => {});
        socket.resume();
        const part = bytes.subarray(0, Math.floor(share * bytes.length));
        await new Promise((resolve) => socket.write(part, resolve));
        if (isReset) socket.resetAndDestroy();
        else socket.destroy();
      },
    ),
    {numRuns: 80},
  );
  await Promise.all(relays);
  for (const server of servers) while ((await connectionsOf(server)) > 0) await delay(10);
  while (held.bytes > 0) await delay(10);
  t.is(httpCounters.internalErrors, 0);
});
