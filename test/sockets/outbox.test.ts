import {spawnSync} from 'node:child_process';
import type {Socket} from 'node:net';
import test from 'ava';
import {adoptSocket} from '../../sockets/native-socket.ts';
import {socketPair} from '../helpers/agent.ts';
import {pattern} from '../helpers/tunnel.ts';
import {until} from '../helpers/until.ts';

/** More sockets than are told of in one call (MAX_NOTES). */
const SOCKETS = 150;

interface Echo {
  readonly peer: Socket;
  readonly got: Buffer[];
}

/** A peer of a socket that answers each piece by the same, between a head and a long tail. */
async function echo(head: Uint8Array, tail: Uint8Array): Promise<Echo> {
  const [peer, one] = await socketPair();
  const socket = adoptSocket(one);
  if (socket === undefined) throw new Error('the addon is not built');
  socket.handler = {
    onData(bytes) {
      socket.writeLent(head);
      socket.writeLent(bytes);
      socket.writeLent(tail);
    },
    onEnd: () => socket.end(),
    onClose: () => one.destroy(),
  };
  socket.readBytes = 65_536;
  const got: Buffer[] = [];
  peer.on('data', (chunk: Buffer) => got.push(chunk));
  return {peer, got};
}

test('what many sockets hear and say in one turn is each one’s own, in order', async (t) => {
  const head = Buffer.from('head: ');
  // Too large to be written with the others'.
  for (const tail of [Buffer.from('.'), Buffer.from(pattern(5000))]) {
    const echoes = await Promise.all(Array.from({length: SOCKETS}, () => echo(head, tail)));
    for (const round of [1, 2, 3]) {
      for (const [at, {peer}] of echoes.entries()) peer.write(`${round}/${at}`);
      for (const [at, {got}] of echoes.entries()) {
        const expected = Buffer.concat([head, Buffer.from(`${round}/${at}`), tail]);
        await until(() => Buffer.concat(got).length >= expected.length);
        t.true(Buffer.concat(got.splice(0)).equals(expected), `${round}/${at}`);
      }
    }
    for (const {peer} of echoes) peer.end();
    await until(() => echoes.every(({peer}) => peer.readableEnded));
  }
});

/** A program in which the first of two sockets that are told together throws. */
const program = `
import {socketPair} from './test/helpers/agent.ts';
import {adoptSocket} from './sockets/native-socket.ts';
process.on('uncaughtException', (error) => console.log(error.message));
const pairs = await Promise.all([socketPair(), socketPair()]);
for (const [at, [, one]] of pairs.entries()) {
  const socket = adoptSocket(one);
  socket.handler = {
    onData(bytes) {
      if (at === 0) throw new Error('a mistake');
      socket.writeLent(bytes);
    },
    onEnd() {},
    onClose() {},
  };
  socket.readBytes = 100;
}
pairs[1][0].on('data', (bytes) => {
  console.log(String(bytes));
  if (String(bytes) === 'again') process.exit();
  pairs[1][0].write('again');
});
for (const [peer] of pairs) peer.write('still here');
`;

test('a mistake in what one socket leads to is told, and costs the others nothing', (t) => {
  const flags = ['--disable-warning=ExperimentalWarning', '--input-type=module-typescript'];
  const {stdout, stderr} = spawnSync(process.execPath, [...flags, '-e', program], {
    encoding: 'utf8',
    timeout: 30_000,
  });
  t.deepEqual(stdout.trim().split('\n').toSorted(), ['a mistake', 'again', 'still here'], stderr);
});
