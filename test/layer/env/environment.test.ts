import test from 'ava';
import {mergeEnvironment} from '../../../layer/env/environment.ts';

test("the pod's variables win over the local ones, which stay where the pod has none", (t) => {
  t.deepEqual(mergeEnvironment({A: 'local', B: 'local'}, {A: 'pod', C: 'pod'}), {
    A: 'pod',
    B: 'local',
    C: 'pod',
  });
});

test('variables about tools and directories stay local, or absent', (t) => {
  const pod = {PATH: '/app/bin', HOME: '/root', JAVA_HOME: '/jdk', GOPATH: '/go', X: '1'};
  t.deepEqual(mergeEnvironment({PATH: '/usr/bin', HOME: '/home/me'}, pod), {
    PATH: '/usr/bin',
    HOME: '/home/me',
    X: '1',
  });
});

test('only what include names is taken from the pod', (t) => {
  const pod = {DB_HOST: 'db', DB_PORT: '5432', A1: 'a', A12: 'b', OTHER: 'o'};
  t.deepEqual(mergeEnvironment({OTHER: 'local'}, pod, {include: ['DB_*', 'A?']}), {
    OTHER: 'local',
    DB_HOST: 'db',
    DB_PORT: '5432',
    A1: 'a',
  });
});

test('what exclude names is not taken from the pod, and stays as it is locally', (t) => {
  const pod = {DB_HOST: 'db', TOKEN: 'pod'};
  t.deepEqual(mergeEnvironment({TOKEN: 'local'}, pod, {exclude: ['TOK*']}), {
    TOKEN: 'local',
    DB_HOST: 'db',
  });
  t.deepEqual(mergeEnvironment({TOKEN: 'local'}, pod, {exclude: ['*']}), {TOKEN: 'local'});
});

test('an empty include takes nothing', (t) => {
  t.deepEqual(mergeEnvironment({}, {A: 'pod'}, {include: []}), {});
});

test('include can not bring what describes the machine of the pod', (t) => {
  t.deepEqual(
    mergeEnvironment({}, {PATH: '/app', HOME: '/root', A: '1'}, {include: ['*', 'PATH']}),
    {
      A: '1',
    },
  );
});

test('a file of variables wins over the pod, even where the pod may not say anything', (t) => {
  const file = {A: 'file', PATH: '/file'};
  t.deepEqual(mergeEnvironment({PATH: '/bin'}, {A: 'pod'}, {file, exclude: ['*']}), {
    PATH: '/file',
    A: 'file',
  });
});

test('a mapping gives a new value to variables of the pod and of the file, never to local ones', (t) => {
  const merged = mergeEnvironment(
    {LOCAL_URL: 'local'},
    {POD_URL: 'pod', POD_NAME: 'name'},
    {file: {FILE_URL: 'file'}, mapping: {'.+_URL': 'mapped'}},
  );
  t.deepEqual(merged, {
    LOCAL_URL: 'local',
    POD_URL: 'mapped',
    POD_NAME: 'name',
    FILE_URL: 'mapped',
  });
});

test('the first expression that is found in a name maps it, and its value is taken literally', (t) => {
  const mapping = {'(?i)\\_token$': '$1', TOKEN: 'second', '^B(?!C)': 'not BC'};
  t.deepEqual(mergeEnvironment({}, {MY_TOKEN: 'x', TOKEN_2: 'x', BC: 'x', BD: 'x'}, {mapping}), {
    MY_TOKEN: '$1',
    TOKEN_2: 'second',
    BC: 'x',
    BD: 'not BC',
  });
});

test('a mapping that is no regular expression is refused, with the expression', (t) => {
  const error = t.throws(() => mergeEnvironment({}, {}, {mapping: {'(': 'x'}}), {
    code: 'MIRRORD_ENV_PATTERN_INVALID',
  });
  t.regex(error?.message ?? '', /"\(" in feature\.env\.mapping/);
});

test('override wins over local, pod, file and mapping', (t) => {
  const merged = mergeEnvironment(
    {A: 'local'},
    {B: 'pod', C: 'pod'},
    {
      file: {C: 'file', D: 'file'},
      mapping: {D: 'mapped'},
      override: {A: 'o', B: 'o', C: 'o', D: 'o', E: 'o', PATH: 'o'},
    },
  );
  t.deepEqual(merged, {A: 'o', B: 'o', C: 'o', D: 'o', E: 'o', PATH: 'o'});
});

test('unset deletes whatever a variable is from, in any case of letters', (t) => {
  const merged = mergeEnvironment(
    {Local: '1', kept: '1'},
    {POD: '1'},
    {file: {FILE: '1'}, override: {OVER: '1'}, unset: ['LOCAL', 'pod', 'File', 'over']},
  );
  t.deepEqual(merged, {kept: '1'});
});

test('variables with the names of properties of objects are variables', (t) => {
  const pod = JSON.parse('{"__proto__": "pod", "constructor": "pod"}') as Record<string, string>;
  const merged = mergeEnvironment({}, pod, {});
  t.is(JSON.stringify(merged), '{"__proto__":"pod","constructor":"pod"}');
});
