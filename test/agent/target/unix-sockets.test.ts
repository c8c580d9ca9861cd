import {once} from 'node:events';
import {mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync} from 'node:fs';
import {createServer, type Server} from 'node:net';
import os from 'node:os';
import {join} from 'node:path';
import test, {type ExecutionContext} from 'ava';
import {
  parseUnixParams,
  parseUnixTable,
  readUnixSockets,
  watchUnixSockets,
} from '../../../agent/target/unix-sockets.ts';
import type {UnixSockets} from '../../../tunnel/target.ts';
import {until} from '../../helpers/until.ts';

/** A directory that serves as the root of a target. */
function root(t: ExecutionContext): string {
  const path = mkdtempSync(join(os.tmpdir(), 'mirrord-root-'));
  t.teardown(() => rmSync(path, {recursive: true}));
  return path;
}

async function listen(t: ExecutionContext, path: string): Promise<Server> {
  const server = createServer().listen(path);
  t.teardown(() => server.close());
  await once(server, 'listening');
  return server;
}

const head = 'Num       RefCount Protocol Flags    Type St Inode Path\n';
const row = (flags: string, type: string, name: string): string =>
  `ffff9a3b4c5d6e7f: 00000002 00000000 ${flags} ${type} 01  4711 ${name}\n`;

test('listening stream and seqpacket sockets are read from the table, by name', (t) => {
  const table =
    head +
    row('00010000', '0005', '/run/b c.sock') +
    row('00010000', '0001', '/run/a.sock') +
    row('00000000', '0001', '/run/connected.sock') +
    row('00000000', '0002', '/dev/log') +
    row('00010000', '0001', 'relative.sock') +
    'ffff9a3b4c5d6e7f: 00000002 00000000 00010000 0001 01 12\n' +
    row('00010000', '0001', '@mirrord/incoming/1') +
    row('00010000', '0001', '@abstract@name');
  t.deepEqual(parseUnixTable(table), [
    {type: 'stream', name: '\0abstract@name'},
    {type: 'stream', name: '/run/a.sock'},
    {type: 'seqpacket', name: '/run/b c.sock'},
  ]);
});

test('the padding of an abstract name of the full length is zero bytes', (t) => {
  const [socket] = parseUnixTable(head + row('00010000', '0001', `@bus${'@'.repeat(104)}`));
  t.is(socket?.name, `\0bus${'\0'.repeat(104)}`);
});

test('no table, no line and no field makes it fail', (t) => {
  for (const table of ['', '\n\n', `${head}garbage`, `${head}a b c d e f g h`]) {
    t.deepEqual(parseUnixTable(table), []);
  }
});

test('a named path is found below the root, by links that stay there, and nothing else', async (t) => {
  const base = root(t);
  mkdirSync(join(base, 'run'));
  await listen(t, join(base, 'run/a.sock'));
  symlinkSync('/run', join(base, 'link'));
  symlinkSync('../../../../../../run/a.sock', join(base, 'up'));
  symlinkSync(join(base, 'run/a.sock'), join(base, 'out'));
  writeFileSync(join(base, 'file'), '');
  const paths = ['/run/a.sock', '/link/a.sock', '/up', '/out', '/file', '/run', '/missing'];
  const {sockets} = await readUnixSockets(base, {paths});
  const named = sockets.map(({name}) => name).filter((name) => paths.includes(name));
  t.deepEqual(named, ['/run/a.sock', '/link/a.sock', '/up']);
});

test('a socket is told when it appears, and when it goes', async (t) => {
  const base = root(t);
  const path = join(base, 'a.sock');
  const reports: UnixSockets[] = [];
  const stop = watchUnixSockets('/', {paths: []}, (sockets) => reports.push(sockets));
  t.teardown(stop);
  const isListed = (): boolean =>
    reports.at(-1)?.sockets.some(({name, type}) => name === path && type === 'stream') ?? false;
  await until(() => reports.length > 0);
  t.false(isListed());
  const server = await listen(t, path);
  await until(isListed);
  server.close();
  await until(() => !isListed());
  t.pass();
});

test('parameters are paths, of which there may not be too many', (t) => {
  for (const wrong of [undefined, null, 1, 'x', {}, {paths: 'x'}]) {
    t.deepEqual(parseUnixParams(wrong), {paths: []});
  }
  t.deepEqual(parseUnixParams({paths: ['/a', 'b', 1, null, '/c']}), {paths: ['/a', '/c']});
  const many = Array.from({length: 1000}, (_, index) => `/${index}`);
  t.is(parseUnixParams({paths: many}).paths.length, 64);
});
