import {once} from 'node:events';
import type {Socket} from 'node:net';
import {setImmediate} from 'node:timers/promises';
import test from 'ava';
import {held, pass} from '../../../agent/intercept/pass.ts';
import {DuplexSocket} from '../../../sockets/duplex-socket.ts';
import {socketOf} from '../../../sockets/of-stream.ts';
import type {StreamSocket} from '../../../sockets/types.ts';
import {socketPair} from '../../helpers/agent.ts';
import {pattern} from '../../helpers/tunnel.ts';
import {until} from '../../helpers/until.ts';

const MEBIBYTE = 1024 ** 2;

interface Passed {
  /** The two ends that are joined through what is tested. */
  readonly client: Socket;
  readonly application: Socket;
  readonly over: Promise<void>;
}

type Take = (socket: Socket) => StreamSocket;
const kinds: Readonly<Record<string, Take>> = {
  'the addon': (socket) => socketOf(socket, new Uint8Array(0), true).socket,
  Node: (socket) => new DuplexSocket(socket),
};

async function join(take: Take): Promise<Passed> {
  const [client, ours] = await socketPair();
  const [application, theirs] = await socketPair();
  for (const socket of [client, ours, application, theirs]) socket.on('error', () => undefined);
  const over = pass(take(ours), take(theirs), []).finally(() => {
    ours.destroy();
    theirs.destroy();
  });
  return {client, application, over};
}

/** Unlike `once`, not rejected by the error of a reset. */
const closing = (socket: Socket): Promise<void> =>
  new Promise((resolve) => socket.once('close', () => resolve()));

for (const [kind, take] of Object.entries(kinds)) {
  test.serial(`${kind}: bytes arrive both ways, each direction with its own end`, async (t) => {
    const {client, application, over} = await join(take);
    application.allowHalfOpen = true;
    const request = pattern(2_000_000);
    const answer = pattern(3_000_000).reverse();
    const got: Record<'client' | 'application', Buffer[]> = {client: [], application: []};
    client.on('data', (chunk: Buffer) => got.client.push(chunk));
    application.on('data', (chunk: Buffer) => got.application.push(chunk));
    client.allowHalfOpen = true;
    client.end(request);
    await once(application, 'end');
    t.true(Buffer.concat(got.application).equals(request));
    application.end(answer);
    await once(client, 'end');
    t.true(Buffer.concat(got.client).equals(answer));
    await over;
    t.is(held.bytes, 0);
  });

  test.serial(`${kind}: a reset of either side is one to the other, and all is over`, async (t) => {
    for (const side of ['client', 'application'] as const) {
      const joined = await join(take);
      const {client, application, over} = joined;
      client.write('hello');
      await once(application, 'data');
      const other = side === 'client' ? application : client;
      const failed = closing(other.resume());
      joined[side].resetAndDestroy();
      await failed;
      t.true(other.errored !== null, `${side}: told as a reset`);
      await over;
      t.is(held.bytes, 0);
    }
  });

  test.serial(
    `${kind}: a reset with bytes under way to who does not read ends both all the same`,
    async (t) => {
      const {client, application, over} = await join(take);
      client.pause();
      // Not so much that the application is not read any more: then its reset is seen when the client reads on.
      for (let i = 0; held.bytes === 0 && i < 10_000; i++) {
        await new Promise((resolve) => application.write(new Uint8Array(16_384), resolve));
        await setImmediate();
      }
      t.true(held.bytes > 0);
      application.resetAndDestroy();
      await over;
      t.is(held.bytes, 0);
      const closed = closing(client);
      client.resume();
      await closed;
    },
  );
}

test.serial(
  'when all together keep much, each may keep little, and nobody stands still',
  async (t) => {
    const take = kinds['the addon'] as Take;
    const all = await Promise.all(Array.from({length: 64}, () => join(take)));
    for (const {client, application} of all) {
      client.pause();
      application.write(new Uint8Array(16 * MEBIBYTE));
    }
    let last = -1;
    await until(() => {
      const isAtRest = held.bytes === last && held.bytes > 0;
      last = held.bytes;
      return isAtRest;
    });
    t.log(`${Math.round(held.bytes / MEBIBYTE)} MiB`);
    // A window each would be 32 MiB.
    t.true(held.bytes < held.capBytes + MEBIBYTE, `${held.bytes}`);
    let received = 0;
    for (const {client} of all) {
      client.on('data', (chunk: Buffer) => {
        received += chunk.length;
      });
      client.resume();
    }
    await until(() => received === 64 * 16 * MEBIBYTE);
    for (const {client, application} of all) {
      client.destroy();
      application.destroy();
    }
    await Promise.all(all.map(({over}) => over));
    t.is(held.bytes, 0);
  },
);
