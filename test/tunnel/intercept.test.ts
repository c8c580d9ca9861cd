import test from 'ava';
import {parseInterceptParams} from '../../tunnel/intercept.ts';
import {emitIncoming, parseIncoming} from '../../tunnel/messages.ts';

const four = {address: Uint8Array.of(192, 0, 2, 7), port: 40_000};
const six = {address: new Uint8Array(16).with(15, 1), port: 80};

test('the body of an incoming connection is read as it was written, and as nothing shorter or longer', (t) => {
  const incoming = {subscription: 0xffff_fffe, peer: four, local: six};
  const bytes = emitIncoming(incoming);
  t.deepEqual(parseIncoming(bytes), incoming);
  for (let length = 0; length < bytes.length; length++) {
    t.throws(() => parseIncoming(bytes.subarray(0, length)), {code: 'BODY_MALFORMED'}, `${length}`);
  }
  t.throws(() => parseIncoming(new Uint8Array([...bytes, 0])), {code: 'BODY_MALFORMED'});
});

const good = {id: 1, port: 80, mode: 'steal', onConcurrentSteal: 'continue'};

test('parameters that make sense are read', (t) => {
  t.like(parseInterceptParams(good), good);
  t.like(parseInterceptParams({id: 0, port: 1, mode: 'mirror'}), {onConcurrentSteal: 'abort'});
  t.deepEqual(
    parseInterceptParams({...good, http: {bodyTimeoutMs: 5, maxBodyBytes: -1, injectHeaders: true}})
      ?.http,
    {bodyTimeoutMs: 5, injectHeaders: true},
  );
});

for (const [what, value] of [
  ['nothing', undefined],
  ['no port', {...good, port: 0}],
  ['a port too high', {...good, port: 65_536}],
  ['a broken id', {...good, id: 1.5}],
  ['an unknown mode', {...good, mode: 'take'}],
  ['an unknown answer to others', {...good, onConcurrentSteal: 'fight'}],
  ['a filter that is none', {...good, filter: {join: 'all', conditions: []}}],
] as const) {
  test(`parameters with ${what} make no sense`, (t) => {
    t.is(parseInterceptParams(value), undefined);
  });
}
