import {once} from 'node:events';
import {mkdtempSync, rmSync} from 'node:fs';
import {connect} from 'node:net';
import os from 'node:os';
import {join} from 'node:path';
import {text} from 'node:stream/consumers';
import test from 'ava';
import {controlServer, type Handler, NotRunningError, request} from '../../cli/demo/control.ts';
import {MirrordError} from '../../layer/errors.ts';

async function serve(handle: Handler): Promise<{path: string} & Disposable> {
  const directory = mkdtempSync(join(os.tmpdir(), 'mirrord-control-'));
  const path = join(directory, 'socket');
  const server = controlServer(handle).listen(path);
  await once(server, 'listening');
  return {
    path,
    [Symbol.dispose]() {
      server.close();
      rmSync(directory, {recursive: true});
    },
  };
}

test('a request gets its progress and its result', async (t) => {
  using server = await serve((message, progress) => {
    progress('half');
    return Promise.resolve({got: message});
  });
  const heard: string[] = [];
  const progress = (line: string) => heard.push(line);
  const result = await request(server.path, {operation: 'status'}, {progress});
  t.deepEqual(result, {got: {operation: 'status'}});
  t.deepEqual(heard, ['half']);
});

test('an error keeps its code and hint on the way', async (t) => {
  using server = await serve(() =>
    Promise.reject(new MirrordError('MIRRORD_X', 'no', {hint: 'do this'})),
  );
  await t.throwsAsync(request(server.path, {operation: 'status'}), {
    instanceOf: MirrordError,
    code: 'MIRRORD_X',
    message: 'no',
  });
});

test('nobody there is told from any other failure', async (t) => {
  await t.throwsAsync(request('/nonexistent/socket', {operation: 'status'}), {
    instanceOf: NotRunningError,
  });
});

test('what is not JSON is answered by an error', async (t) => {
  using server = await serve(() => Promise.resolve({}));
  const socket = connect(server.path);
  socket.write('nonsense\n');
  t.regex(await text(socket), /"error".*MIRRORD_DEMO_FAILED/);
});

test('an endless line is cut off', async (t) => {
  using server = await serve(() => Promise.resolve({}));
  const socket = connect(server.path);
  const closed = new Promise((resolve) => socket.on('error', () => undefined).on('close', resolve));
  socket.resume();
  socket.write('x'.repeat(300 * 1024));
  await closed;
  t.pass();
});

test('an aborted request ends at once', async (t) => {
  using server = await serve(() => new Promise(() => undefined));
  const stop = new AbortController();
  const asked = request(server.path, {operation: 'wait'}, {signal: stop.signal});
  stop.abort(new Error('enough'));
  await t.throwsAsync(asked, {message: 'enough'});
});
