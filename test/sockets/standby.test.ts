/** The process that goes on with what passes through another one that is killed. */

import {spawn} from 'node:child_process';
import {randomBytes} from 'node:crypto';
import {once} from 'node:events';
import {readFileSync} from 'node:fs';
import {type AddressInfo, connect, createServer, type Socket} from 'node:net';
import {setTimeout as delay, setImmediate as immediately} from 'node:timers/promises';
import {fileURLToPath} from 'node:url';
import test, {type ExecutionContext} from 'ava';
import type {StandbyCounts} from '../../sockets/standby.ts';
import {signal} from '../helpers/processes.ts';

const PASSING = fileURLToPath(new URL('passing-process.ts', import.meta.url));

/** A prime, so that nothing that is as long as a buffer repeats. */
const PERIOD = 1_000_003;
const PATTERN = Buffer.alloc(2 * PERIOD, randomBytes(PERIOD));

/** What is to be at a place. */
function bytesAt(place: number, length: number): Buffer {
  const at = place % PERIOD;
  return PATTERN.subarray(at, at + length);
}

/** Reads what the other end writes; fails at the first byte that is not what it should be. */
class Checker {
  received = 0;
  wrongAt = -1;

  /** After `stopAt` bytes it reads nothing until it is to go on. */
  constructor(socket: Socket, stopAt: number, goOn: Promise<void>) {
    let hasStopped = false;
    socket.on('data', (bytes) => {
      if (this.wrongAt < 0 && !bytes.equals(bytesAt(this.received, bytes.length))) {
        this.wrongAt = this.received;
      }
      this.received += bytes.length;
      if (hasStopped || this.received < stopAt) return;
      hasStopped = true;
      socket.pause();
      void goOn.then(() => socket.resume());
    });
  }
}

/** Writes until it is told to end. */
async function write(socket: Socket, sizes: () => number, isOver: () => boolean): Promise<number> {
  let written = 0;
  while (!isOver() && !socket.destroyed) {
    const bytes = bytesAt(written, sizes());
    written += bytes.length;
    if (!socket.write(bytes)) await once(socket, 'drain').catch(() => undefined);
    else await immediately();
  }
  socket.end();
  return written;
}

interface Passing {
  readonly port: number;
  /** Kills it; resolves when it is dead. */
  readonly kill: () => Promise<void>;
  readonly standby: number;
  /** What it has an account of. */
  readonly counts: () => Promise<StandbyCounts>;
}

async function startPassing(t: ExecutionContext, port: number): Promise<Passing> {
  const child = spawn(process.execPath, [PASSING, `${port}`], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  t.teardown(() => child.kill('SIGKILL'));
  const [line] = await once(child.stdout.setEncoding('utf8'), 'data');
  const [own, standby] = String(line).trim().split(' ').map(Number);
  const kill = async (): Promise<void> => {
    signal(child, 'SIGKILL');
    t.is((await once(child, 'exit'))[1], 'SIGKILL');
  };
  const counts = async (): Promise<StandbyCounts> => {
    child.kill('SIGUSR2');
    return JSON.parse(String((await once(child.stdout, 'data'))[0])) as StandbyCounts;
  };
  return {port: own ?? 0, kill, standby: standby ?? 0, counts};
}

for (const seed of [1, 2, 3, 4]) {
  test(`what passes goes on when it is killed, byte for byte: ${seed}`, async (t) => {
    let over = false;
    const goOn = Promise.withResolvers<void>();
    let random = seed;
    const next = (): number => {
      random = (random * 1_103_515_245 + 12_345) % 2_147_483_648;
      return random >>> 8; // the low bits of such a sequence alternate
    };
    // From single bytes to what does not fit into any buffer.
    const sizes = (): number => 1 + (next() % 2 === 0 ? next() % 100 : next() % 300_000);
    // What is not read fills all that is between, until nobody can write any more.
    const stopAt = (): number => (next() % 3 === 0 ? next() % 100_000 : Number.POSITIVE_INFINITY);
    const isOver = (): boolean => over;
    const serverEnds: Promise<[Checker, number]>[] = [];
    const server = createServer({allowHalfOpen: true}, (socket) => {
      const checker = new Checker(socket, stopAt(), goOn.promise);
      serverEnds.push(
        Promise.all([write(socket, sizes, isOver), once(socket, 'end')]).then(([written]) => [
          checker,
          written,
        ]),
      );
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    t.teardown(() => server.close());
    const passing = await startPassing(t, (server.address() as AddressInfo).port);
    const clients = Array.from({length: 24}, () =>
      connect({port: passing.port, host: '127.0.0.1', allowHalfOpen: true}),
    );
    const clientEnds = clients.map((socket) => {
      const checker = new Checker(socket, stopAt(), goOn.promise);
      return Promise.all([write(socket, sizes, isOver), once(socket, 'end')]).then(
        ([written]) => [checker, written] as const,
      );
    });
    await delay(1000 + (next() % 200));
    // Some of those who read are slow, and what waits for them is kept.
    let counts = await passing.counts();
    while (counts.bytes === 0) counts = await passing.counts();
    const {bytes, ...others} = counts;
    t.true(bytes <= 16 * 1_048_576);
    t.deepEqual(others, {passing: 24, held: 0, refusedConnections: 0, refusedBytes: 0});
    await passing.kill();
    await delay(300);
    t.is(
      readFileSync(`/proc/${passing.standby}/cmdline`, 'utf8').split('\0')[0],
      'mirrord-standby',
    );
    goOn.resolve();
    await delay(100);
    over = true;
    const [ours, theirs] = [await Promise.all(clientEnds), await Promise.all(serverEnds)];
    t.is(theirs.length, 24);
    for (const [checker] of [...ours, ...theirs]) t.is(checker.wrongAt, -1);
    const sum = (ends: readonly (readonly [Checker, number])[], what: 0 | 1): number =>
      ends.reduce((all, end) => all + (what === 1 ? end[1] : end[0].received), 0);
    t.is(sum(ours, 0), sum(theirs, 1));
    t.is(sum(theirs, 0), sum(ours, 1));
  });
}
