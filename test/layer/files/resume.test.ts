import {mkdtempSync, rmSync, writeFileSync} from 'node:fs';
import os from 'node:os';
import {join} from 'node:path';
import test, {type ExecutionContext} from 'ava';
import {FileError, podFiles} from '../../../layer/files/file-client.ts';
import {startLink} from '../../helpers/agent-link.ts';
import {attributes, first, open, read, stat} from '../../helpers/file-requests.ts';
import {until} from '../../helpers/until.ts';

const {EIO} = os.constants.errno;

/** The target is this process, whose root is this machine's. */
async function startFiles(t: ExecutionContext, windowSeconds?: number) {
  const world = await startLink(t, windowSeconds);
  const files = podFiles(world.link.mux);
  t.teardown(() => files[Symbol.dispose]());
  const directory = mkdtempSync(join(os.tmpdir(), 'mirrord-resume-'));
  t.teardown(() => rmSync(directory, {recursive: true, force: true}));
  const path = join(directory, 'x');
  writeFileSync(path, 'content');
  return {...world, files, path};
}

test('a request of a lost connection is answered when it is back, and what is open is still open', async (t) => {
  const {link, files, path, cut, open: restore} = await startFiles(t);
  const handle = first(await files.request(open(path)));
  cut(false);
  await until(() => link.mux.isSuspended);
  let answered = 0;
  const count = (fields: Uint8Array): Uint8Array => {
    answered++;
    return fields;
  };
  const waiting = [
    files.request(read(handle, 0, 100)).then(count),
    files.request(stat(path)).then(count),
  ] as const;
  await new Promise((resolve) => setImmediate(resolve));
  t.is(answered, 0);
  restore();
  const [bytes, status] = await Promise.all(waiting);
  t.is(Buffer.from(bytes).toString(), 'content');
  t.is(attributes(status).size, 7);
});

test('when it is not back within the window, what waits gets EIO, and so does all else', async (t) => {
  const {link, files, path, cut} = await startFiles(t, 1);
  await files.hello();
  cut(false);
  await until(() => link.mux.isSuspended);
  const failures = [files.request(stat(path)), files.request(open(path))].map((answer) =>
    t.throwsAsync(answer, {instanceOf: FileError}),
  );
  for (const error of await Promise.all(failures)) t.is(error?.errno, EIO);
  t.true(files.isOver);
  t.is((await t.throwsAsync(files.request(stat(path)), {instanceOf: FileError}))?.errno, EIO);
});
