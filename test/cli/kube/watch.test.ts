import {Readable} from 'node:stream';
import test from 'ava';
import type {Query} from '../../../cli/kube/client.ts';
import {errorOfAnswer} from '../../../cli/kube/errors.ts';
import {watchObjects} from '../../../cli/kube/watch.ts';

interface Thing {
  metadata: {uid: string; resourceVersion: string};
}

const thing = (uid: string, version: number): Thing => ({
  metadata: {uid, resourceVersion: String(version)},
});
const event = (type: string, object: object): string => `${JSON.stringify({type, object})}\n`;
const refusal = (status: number) =>
  errorOfAnswer({verb: 'watch', path: '/api/v1/pods', server: 's', context: 'c'}, status, '');

/** What a server says in one watch after the other, in pieces; then nothing more. */
function follow(watches: (string[] | Error)[], items: Thing[] = []) {
  const controller = new AbortController();
  const asked: (string | undefined)[] = [];
  const told: string[] = [];
  const done = (async () => {
    const events = watchObjects<Thing>({
      list: async () => ({items, metadata: {resourceVersion: '100'}}),
      watch: async (query: Query) => {
        asked.push(query['resourceVersion'] as string | undefined);
        const next = watches.shift();
        if (next === undefined) controller.abort();
        if (next instanceof Error) throw next;
        return Readable.from((next ?? []).map((text) => Buffer.from(text)));
      },
      failed: (error) => error as Error,
      signal: controller.signal,
    });
    for await (const {type, object} of events) {
      told.push(`${type} ${object.metadata.uid}@${object.metadata.resourceVersion}`);
    }
  })();
  return {asked, told, done};
}

test('an event may come in pieces, and several in one', async (t) => {
  const line = event('ADDED', thing('ä', 1));
  const bytes = Buffer.from(line + event('MODIFIED', thing('ä', 2)));
  const pieces = [bytes.subarray(0, 40), bytes.subarray(40)].map(String);
  const {told, done} = follow([pieces]);
  await t.throwsAsync(done, {name: 'AbortError'});
  t.deepEqual(told, ['ADDED ä@1', 'MODIFIED ä@2']);
});

test('a watch that ends is taken up at the last version, of which bookmarks tell', async (t) => {
  const bookmark = event('BOOKMARK', {metadata: {resourceVersion: '7'}});
  const {asked, done} = follow([[event('ADDED', thing('a', 3))], [bookmark]]);
  await t.throwsAsync(done, {name: 'AbortError'});
  t.deepEqual(asked, [undefined, '3', '7']);
});

for (const [title, gone] of [
  ['said in the watch', [event('ERROR', {code: 410, reason: 'Expired'})]],
  ['said instead of a watch', refusal(410)],
] as const) {
  test(`a version that is too old, ${title}: what changed meanwhile is told`, async (t) => {
    const first = ['a', 'b', 'c'].map((uid, index) => event('ADDED', thing(uid, index + 1)));
    const now = [thing('a', 1), thing('b', 50), thing('d', 60)];
    const {asked, told, done} = follow([first, gone instanceof Error ? gone : [...gone]], now);
    await t.throwsAsync(done, {name: 'AbortError'});
    t.deepEqual(told.slice(3), ['MODIFIED b@50', 'ADDED d@60', 'DELETED c@3']);
    t.deepEqual(asked, [undefined, '3', '100']);
  });
}

test('a failure that may pass is outlasted; a refusal ends it', async (t) => {
  const {told, done} = follow([refusal(503), [event('ADDED', thing('a', 1))], refusal(404)]);
  await t.throwsAsync(done, {code: 'MIRRORD_KUBE_NOT_FOUND'});
  t.deepEqual(told, ['ADDED a@1']);
});

test('what is forbidden ends it, but not just after it was allowed: the server may have restarted', async (t) => {
  const never = follow([refusal(403)]);
  await t.throwsAsync(never.done, {code: 'MIRRORD_KUBE_FORBIDDEN'});
  const [before, after] = ['a', 'b'].map((uid) => [event('ADDED', thing(uid, 1))]);
  const {told, done} = follow([before ?? [], refusal(403), after ?? []]);
  await t.throwsAsync(done, {name: 'AbortError'});
  t.deepEqual(told, ['ADDED a@1', 'ADDED b@1']);
});
