import test from 'ava';
import {FileError} from '../../../layer/files/file-client.ts';
import {WriteBehind, WriteBehindMemory} from '../../../layer/files/write-behind.ts';

const MiB = 1_048_576;

/** A far side that answers when it is told to. */
function farSide() {
  const sent: PromiseWithResolvers<void>[] = [];
  const send = async (): Promise<void> => {
    const answer = Promise.withResolvers<void>();
    sent.push(answer);
    await answer.promise;
  };
  return {sent, send};
}

/** Whether a promise is settled by now. */
async function isDone(promise: Promise<unknown>): Promise<boolean> {
  let done = false;
  promise.then(
    () => {
      done = true;
    },
    () => {
      done = true;
    },
  );
  await new Promise(setImmediate);
  return done;
}

test('writes go on until too much of a file is under way, and on again when some has arrived', async (t) => {
  const memory = new WriteBehindMemory();
  const file = new WriteBehind(memory);
  const {sent, send} = farSide();
  for (let index = 0; index < 8; index++) t.true(await isDone(file.write(MiB, send)));
  const ninth = file.write(MiB, send);
  t.false(await isDone(ninth));
  t.is(sent.length, 9, 'it is on its way all the same');
  t.is(memory.waits, 1);
  sent[0]?.resolve();
  t.true(await isDone(ninth));
});

test('files share what may be under way', async (t) => {
  const memory = new WriteBehindMemory();
  const {sent, send} = farSide();
  for (let index = 0; index < 64; index++) {
    t.true(await isDone(new WriteBehind(memory).write(MiB, send)));
  }
  const file = new WriteBehind(memory);
  const more = file.write(MiB, send);
  t.false(await isDone(more));
  sent[0]?.resolve();
  t.true(await isDone(more));
  for (const each of sent) each.resolve();
  await file.settled();
  t.is(memory.bytes, 0);
});

test('a failure is told by the next write, which is not sent, and by nobody else', async (t) => {
  const file = new WriteBehind(new WriteBehindMemory());
  const {sent, send} = farSide();
  await file.write(1, send);
  await file.write(1, send);
  sent[0]?.reject(new FileError(28));
  sent[1]?.reject(new FileError(5));
  await new Promise(setImmediate);
  await t.throwsAsync(file.write(1, send), {message: 'errno 28'});
  t.is(sent.length, 2);
  await file.settled();
});

test('all is waited for at the end, and the first failure is told', async (t) => {
  const file = new WriteBehind(new WriteBehindMemory());
  const {sent, send} = farSide();
  await file.write(1, send);
  await file.write(1, send);
  const settled = file.settled();
  sent[1]?.reject(new FileError(28));
  t.false(await isDone(settled));
  sent[0]?.resolve();
  await t.throwsAsync(settled, {message: 'errno 28'});
});
