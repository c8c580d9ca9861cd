import {once} from 'node:events';
import {createServer, type Socket} from 'node:net';
import test from 'ava';
import fc from 'fast-check';
import {FrameReader} from '../../../../../agent/intercept/http/h2/frames.ts';
import {Output} from '../../../../../agent/intercept/http/h2/output.ts';
import {connectSocket} from '../../../../../sockets/connect.ts';
import {listen} from '../world.ts';
import {frame} from './wire.ts';

const frames = fc.array(
  fc.record({
    type: fc.constantFrom(0, 1, 8, 99),
    flags: fc.constantFrom(0, 1, 4, 5),
    stream: fc.constantFrom(1, 3, 5),
    payload: fc.nat({max: 3000}).map((length) => Buffer.alloc(length, 'x')),
  }),
  {minLength: 1, maxLength: 8},
);

test('frames pass by other numbers, and what was read stays as it is', async (t) => {
  const server = createServer();
  const port = await listen(t, server);
  await fc.assert(
    fc.asyncProperty(frames, fc.constantFrom(0, 2), async (all, more) => {
      const accepted = once(server, 'connection') as Promise<[Socket]>;
      const socket = connectSocket({address: Buffer.from([127, 0, 0, 1]), port}, 0);
      const [client] = await accepted;
      const output = new Output(socket);
      const read = Buffer.concat(
        all.map(({type, flags, stream, payload}) => frame(type, flags, stream, payload)),
      );
      const before = Buffer.from(read);
      const reader = new FrameReader({
        onFrame: (one) => output.pass(one, one.streamId + more),
        onBroken: () => t.fail(),
      });
      reader.push(read);
      output.flush();
      socket.end();
      const heard = Buffer.concat(await client.toArray());
      client.end();
      const expected = all.map(({type, flags, stream, payload}) =>
        frame(type, flags, stream + more, payload),
      );
      t.true(heard.equals(Buffer.concat(expected)));
      t.true(read.equals(before));
    }),
    {numRuns: 50},
  );
});
