import test from 'ava';
import {compileGlobs} from '../../../layer/env/glob.ts';

const fits = test.macro({
  exec(t, glob: string, names: {yes: readonly string[]; no: readonly string[]}) {
    const isFitting = compileGlobs([glob]);
    for (const name of names.yes) t.true(isFitting(name), name);
    for (const name of names.no) t.false(isFitting(name), name);
  },
  title: (_, glob) => `${glob} fits whole names only`,
});

test(fits, 'A', {yes: ['A'], no: ['a', 'AB', 'BA', '']});
test(fits, 'DB_*', {yes: ['DB_', 'DB_HOST', 'DB_\n'], no: ['MY_DB_HOST', 'DB']});
test(fits, '*', {yes: ['', 'A', 'ünïcode'], no: []});
test(fits, 'A?', {yes: ['AB', 'A😀'], no: ['A', 'ABC']});
test(fits, '*_URL*', {yes: ['_URL', 'DB_URL', 'DB_URL_2'], no: ['URL']});
test(fits, 'a.b(c)|[d]', {yes: ['a.b(c)|[d]'], no: ['aXb(c)|[d]', 'd']});

test('many stars take no long time', (t) => {
  t.false(compileGlobs([`${'*'.repeat(200)}b`])('a'.repeat(10_000)));
});
