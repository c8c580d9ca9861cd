import test from 'ava';
import {createProgress, type ProgressMode, progressMode} from '../../cli/progress.ts';

async function told(mode: ProgressMode): Promise<string[]> {
  let text = '';
  const write = (piece: string): void => {
    text += piece;
  };
  {
    using progress = createProgress('mirrord exec', {mode, write});
    await progress.step('finding the pod', () => undefined);
    progress.warn('mind the gap');
    progress.info('by the way');
    progress.finish('Ready!');
  }
  {
    using progress = createProgress('mirrord exec', {mode, write});
    const failing = progress.step('connecting', () => Promise.reject(new Error('no')));
    await failing.catch(() => undefined);
  }
  return text.split('\n').slice(0, -1);
}

test("json: the lines are those of mirrord's IDE protocol, to the letter", async (t) => {
  t.deepEqual(await told('json'), [
    '{"type":"NewTask","name":"mirrord exec","parent":null}',
    '{"type":"NewTask","name":"finding the pod","parent":"mirrord exec"}',
    '{"type":"FinishedTask","name":"finding the pod","success":true,"message":null}',
    '{"type":"Warning","message":"mind the gap"}',
    '{"type":"Info","message":"by the way"}',
    '{"type":"FinishedTask","name":"mirrord exec","success":true,"message":"Ready!"}',
    '{"type":"NewTask","name":"mirrord exec","parent":null}',
    '{"type":"NewTask","name":"connecting","parent":"mirrord exec"}',
    '{"type":"FinishedTask","name":"connecting","success":false,"message":null}',
    '{"type":"FinishedTask","name":"mirrord exec","success":false,"message":null}',
  ]);
});

function notified(mode: ProgressMode, supportsIde: boolean): string[] {
  let text = '';
  const write = (piece: string): void => {
    text += piece;
  };
  using progress = createProgress('x', {mode, write, supportsIde});
  const links = [{label: 'Read', link: 'https://example.com/'}];
  progress.notify({id: 'one', level: 'Warning', text: 'with a link:', links});
  progress.notify({id: 'two', level: 'Info', text: 'without'});
  return text.split('\n').filter((line) => !line.includes('Task') && line !== '' && line !== 'x');
}

test('json: a notice is an IdeMessage to an IDE that knows it, and otherwise a Warning or Info', (t) => {
  t.deepEqual(notified('json', true), [
    '{"type":"IdeMessage","message":{"id":"one","level":"Warning","text":"with a link:","actions":[{"kind":"Link","label":"Read","link":"https://example.com/"}]}}',
    '{"type":"IdeMessage","message":{"id":"two","level":"Info","text":"without","actions":[]}}',
  ]);
  t.deepEqual(notified('json', false), [
    '{"type":"Warning","message":"with a link: https://example.com/"}',
    '{"type":"Info","message":"without"}',
  ]);
  t.deepEqual(notified('dumb', true), ['with a link: https://example.com/', 'without']);
});

test('dumb: each step and message is a line', async (t) => {
  t.deepEqual(await told('dumb'), [
    'mirrord exec',
    'finding the pod',
    'mind the gap',
    'by the way',
    'Ready!',
    'mirrord exec',
    'connecting',
  ]);
});

test('off: nothing is said', async (t) => {
  t.deepEqual(await told('off'), []);
});

test('standard: what is soon done needs no words, what is said is said to be of mirrord', async (t) => {
  t.deepEqual(await told('standard'), ['mirrord: mind the gap', 'mirrord: by the way']);
});

test('the mode is what MIRRORD_PROGRESS_MODE says, and standard for anything unknown', (t) => {
  const mode = (value?: string): ProgressMode =>
    progressMode(value === undefined ? {} : {MIRRORD_PROGRESS_MODE: value});
  t.is(mode('json'), 'json');
  t.is(mode('dumb'), 'dumb');
  t.is(mode('simple'), 'dumb');
  t.is(mode('off'), 'off');
  t.is(mode('std'), 'standard');
  t.is(mode('?'), 'standard');
  t.is(mode(), 'standard');
});

test('a step gives what its work gives, and throws what it throws', async (t) => {
  using progress = createProgress('x', {mode: 'off'});
  t.is(await progress.step('one', () => 1), 1);
  await t.throwsAsync(
    progress.step('two', () => Promise.reject(new Error('no'))),
    {message: 'no'},
  );
});
