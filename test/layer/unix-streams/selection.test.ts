import test from 'ava';
import {compileSelection} from '../../../layer/unix-streams/selection.ts';

test('a socket is wanted when one of the expressions is found in its path', (t) => {
  const {isWanted} = compileSelection(['^/run/app/', 'docker\\.sock$']);
  t.true(isWanted('/run/app/a.sock'));
  t.true(isWanted('/var/run/docker.sock'));
  t.false(isWanted('/srv/run/app/a.sock'));
  t.false(isWanted('/run/docker.sock.old'));
});

test('an abstract name is tried with and without the @, and without its padding', (t) => {
  for (const pattern of ['^bus$', '^@bus$']) {
    const {isWanted} = compileSelection([pattern]);
    t.true(isWanted('\0bus'));
    t.true(isWanted(`\0bus${'\0'.repeat(104)}`));
    t.false(isWanted('\0bus2'));
  }
});

test('nothing is wanted without an expression', (t) => {
  t.false(compileSelection([]).isWanted('/run/a.sock'));
});

test('expressions that are one path are known as such', (t) => {
  const {paths} = compileSelection([
    '/run/a.sock',
    '^/run/b\\.sock$',
    '/run/app-1/x_y.sock$',
    '^/run/.*\\.sock$',
    'c.sock',
    '/run/(d|e).sock',
    '@abstract',
    '(?i)/run/f.sock',
    `/${'l'.repeat(107)}`,
  ]);
  t.deepEqual(paths, ['/run/a.sock', '/run/b.sock', '/run/app-1/x_y.sock']);
});

test('an expression that is none is refused, with its words', (t) => {
  const error = t.throws(() => compileSelection(['/run/(']), {
    code: 'MIRRORD_UNIX_PATTERN_INVALID',
  });
  t.regex(error.message, /"\/run\/\(" in feature\.network\.outgoing\.unix_streams/);
});
