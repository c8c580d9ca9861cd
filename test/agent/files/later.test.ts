import {spawn} from 'node:child_process';
import {mkdtempSync, rmSync, writeFileSync} from 'node:fs';
import type {Socket} from 'node:net';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import test, {type ExecutionContext} from 'ava';
import {launcherPath} from '../../../layer/native/native.ts';
import {FileAnswers, FileRequest} from '../../../tunnel/files.ts';
import {close, first, open, read, stat} from '../../helpers/file-requests.ts';

const size = 5000;

interface Answer {
  readonly id: number;
  readonly errno: number;
  readonly fields: Uint8Array;
}

/** A process that serves files, and one that is open there. */
async function serve(t: ExecutionContext) {
  const directory = mkdtempSync(join(tmpdir(), 'later-'));
  const path = join(directory, 'file');
  writeFileSync(path, 'x'.repeat(size));
  const child = spawn(launcherPath(), ['files', 'root'], {
    stdio: ['ignore', 'ignore', 'inherit', 'pipe'],
  });
  const socket = child.stdio[3] as Socket;
  t.teardown(() => {
    child.kill();
    rmSync(directory, {recursive: true});
  });
  const answers = new FileAnswers();
  /** Sends requests at once, numbered from 1. Resolves to the answers in the order in which they come. */
  const ask = (...requests: FileRequest[]): Promise<Answer[]> =>
    new Promise((resolve) => {
      const found: Answer[] = [];
      const onData = (chunk: Uint8Array): void => {
        answers.push(chunk, (id, errno, fields) => found.push({id, errno, fields}));
        if (found.length < requests.length) return;
        socket.off('data', onData);
        resolve(found);
      };
      socket.on('data', onData);
      socket.write(
        Buffer.concat(requests.map((request, index) => Buffer.from(request.finish(index + 1)))),
      );
    });
  const [opened] = await ask(open(path));
  const handle = first(opened?.fields ?? new Uint8Array(4));
  const later = (): FileRequest => new FileRequest('read', true).u32(handle).u64(0n).u32(10_000);
  return {ask, path, handle, later};
}

const ids = (answers: readonly Answer[]): number[] => answers.map(({id}) => id);

test('what may be done later is done after what came with it', async (t) => {
  const {ask, path, handle, later} = await serve(t);
  const answers = await ask(later(), stat(path), read(handle, 0, 10));
  t.deepEqual(ids(answers), [2, 3, 1]);
  t.is(answers[2]?.fields.length, size);
  t.deepEqual(ids(await ask(later())), [1], 'and when nothing else comes');
});

test('only one waits, and not for long', async (t) => {
  const {ask, path, later} = await serve(t);
  t.deepEqual(ids(await ask(later(), later(), stat(path))), [1, 3, 2]);
  const others = Array.from({length: 20}, () => stat(path));
  const order = ids(await ask(later(), ...others));
  t.is(order.indexOf(1), 8);
});

test('it is done before the number of its handle may be given away', async (t) => {
  const {ask, handle, later} = await serve(t);
  const answers = await ask(later(), close(handle));
  t.deepEqual(ids(answers), [1, 2]);
  t.is(answers[0]?.fields.length, size);
});

test('any request may be done later; one that is too long to be kept is done at once', async (t) => {
  const {ask, path} = await serve(t);
  const attribute = (isLater: boolean, bytes: number): FileRequest => {
    const request = new FileRequest('setxattr', isLater).u8(0).u32(0).string(Buffer.from(path));
    return request.string(Buffer.from('user.long')).bytes(new Uint8Array(bytes));
  };
  t.deepEqual(ids(await ask(attribute(true, 10), stat(path))), [2, 1]);
  t.deepEqual(ids(await ask(attribute(true, 10_000), stat(path))), [1, 2]);
});
