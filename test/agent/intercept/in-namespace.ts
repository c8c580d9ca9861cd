/**
 * Run in a network namespace of its own (`redirect.test.ts`): an application, and an interceptor that passes its
 * connections on by the backend whose name is the argument. Writes what it saw as JSON.
 */

import {once} from 'node:events';
import {type AddressInfo, connect, createServer, type Socket} from 'node:net';
import {findBackends} from '../../../agent/intercept/backends.ts';
import {Interceptor} from '../../../agent/intercept/interceptor.ts';
import {makeLog} from '../../../agent/log.ts';
import type {InterceptEvent, InterceptMode, OnConcurrentSteal} from '../../../tunnel/intercept.ts';

const id = '0123abcd';
const [, , name = ''] = process.argv;
const backends = findBackends(id).filter((backend) => backend.name === name);
const log = makeLog('error', (line) => process.stderr.write(line));

/** Greets before it is spoken to, echoes, and says "bye" after the client's end. */
const application = createServer({allowHalfOpen: true}, (socket) => {
  socket.write('hello\n');
  socket.on('error', () => undefined);
  socket.on('data', (chunk) => {
    if (chunk.toString() === 'reset\n') socket.resetAndDestroy();
    else socket.write(chunk);
  });
  socket.on('end', () => socket.end('bye\n'));
}).listen(0, '::');
await once(application, 'listening');
const {port} = application.address() as AddressInfo;

async function dial(host: string): Promise<Socket> {
  const socket = connect({host, port, allowHalfOpen: true});
  await once(socket, 'connect');
  return socket;
}

/** What a client reads that says something and ends. */
async function talk(host: string): Promise<string> {
  const socket = await dial(host);
  socket.end('said\n');
  return Buffer.concat(await socket.toArray()).toString();
}

const early = await dial('127.0.0.1');
await once(early, 'data');

/** Of the early connection, told some time after the subscription: `standing.test.ts`. */
const isStanding = (event: InterceptEvent): boolean =>
  event.event === 'warning' && event.code === 'STANDING_CONNECTIONS';

const interceptor = new Interceptor({id, log, backends, lingerMs: 300});
const events: InterceptEvent[] = [];
const active = Promise.withResolvers<void>();
const end = interceptor.subscribe(
  {id: 1, port, mode: 'steal', onConcurrentSteal: 'abort'},
  {
    // A client that refuses everything: what is for it is the application's.
    open(_body, handler) {
      queueMicrotask(() => handler.onRefused?.('ECONNREFUSED'));
      return {reset: () => undefined} as never;
    },
    isAway: false,
  },
  (event) => {
    if (isStanding(event)) return;
    events.push(event);
    active.resolve();
  },
);
await active.promise;
const four = await talk('127.0.0.1');
const six = await talk('::1').catch((error: Error) => error.message);

early.write('still here\n');
const [echo] = await once(early, 'data');

const broken = await dial('127.0.0.1');
await once(broken, 'data');
broken.write('reset\n');
const [error] = await once(broken, 'error');

const {counters} = interceptor;
const seen = {...counters};
// One that outlives its subscription, and the rules' ports.
const late = await dial('127.0.0.1');
await once(late, 'data');
end();
// Until the rules have let the port go; this ends when the test does.
let afterwards: string;
let passedBefore: number;
do {
  passedBefore = counters.passed;
  afterwards = await talk('127.0.0.1');
} while (counters.passed > passedBefore);
late.end('late\n');
const rest = Buffer.concat(await late.toArray()).toString();

/** A client whose program takes nothing, and what it is told. */
function subscribe(mode: InterceptMode, onConcurrentSteal: OnConcurrentSteal) {
  const told: string[] = [];
  const first = Promise.withResolvers<void>();
  const stop = interceptor.subscribe(
    {id: 1, port, mode, onConcurrentSteal},
    {
      open: () => ({writable: 0, reset: () => undefined, end: () => undefined}) as never,
      isAway: false,
    },
    (event) => {
      if (isStanding(event)) return;
      told.push('errno' in event ? event.errno : 'code' in event ? event.code : event.event);
      first.resolve();
    },
  );
  return {told, stop, first: first.promise};
}

const owner = subscribe('steal', 'abort');
await owner.first;
const refused = subscribe('steal', 'abort');
await refused.first;
const waiting = subscribe('steal', 'continue');
await waiting.first;
const winner = subscribe('steal', 'override');
await winner.first;
const steals = [owner, refused, waiting, winner].map(({told}) => told);
winner.stop();

// Three times what may wait for a slow mirror.
const mirror = subscribe('mirror', 'abort');
await mirror.first;
const large = await dial('127.0.0.1');
const sent = Buffer.alloc(3 << 20, 'x');
large.end(sent);
const echoed = Buffer.concat(await large.toArray()).length - 'hello\nbye\n'.length;
mirror.stop();

// One that stays for longer than anybody lingers for it: it ends, and is not reset.
const again = subscribe('mirror', 'abort');
await again.first;
const stays = await dial('127.0.0.1');
await once(stays, 'data');
const before = interceptor.lingering;
await interceptor.withdraw();
const during = interceptor.lingering;
const past = await dial('127.0.0.1');
await interceptor.linger();
const passing = interceptor.connections;
const ends = await stays.toArray();
interceptor.close();
past.destroy();
process.stdout.write(
  JSON.stringify({
    events,
    four,
    six,
    echo: `${echo}`,
    reset: (error as NodeJS.ErrnoException).code,
    seen,
    rest,
    afterwards,
    steals,
    linger: {before, during, passing, ends: ends.length},
    mirror: {told: mirror.told, isWhole: echoed === sent.length},
  }),
);
process.exit();
