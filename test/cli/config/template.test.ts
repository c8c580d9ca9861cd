import {spawnSync} from 'node:child_process';
import {dirname} from 'node:path';
import test from 'ava';
import fc from 'fast-check';
import {ConfigError} from '../../../cli/config/errors.ts';
import {loadConfig} from '../../../cli/config/load.ts';
import {renderTemplate} from '../../../cli/config/template.ts';
import {file, load} from './helpers.ts';

const scope = {variables: {key: 'k1', git_branch: 'feat/Über x'}, env: {USER: 'me'}};
const render = (text: string) => renderTemplate(text, scope, 'test');

const table: [string, string][] = [
  ['a {{ key }} b', 'a k1 b'],
  ["{{ get_env(name='USER') }}", 'me'],
  ['{{ get_env(name="NONE", default="d") }}', 'd'],
  ['{{ nothing | default(value="x") }}', 'x'],
  ['{{ git_branch | slugify }}', 'feat-uber-x'],
  ['{{ git_branch | replace(from="/", to="-") | lower | truncate(length=6, end="") }}', 'feat-ü'],
  ['{% if key == "k1" %}yes{% else %}no{% endif %}', 'yes'],
  ['{% if nothing %}a{% elif key is starting_with("k") and not false %}b{% endif %}', 'b'],
  ['{% if git_branch is containing(pat="feat") %}y{% endif %}', 'y'],
  ['{% if "a" not in key %}y{% endif %}', 'y'],
  ['{% for p in [1, 2] %}{{ p }}{% if not loop.last %},{% endif %}{% endfor %}', '1,2'],
  ['{% for p in range(end=3) %}{{ loop.index }}{% else %}none{% endfor %}', '123'],
  ['{% set a = 1 + 2 * 3 %}{{ a }} {{ 7 / 2 | round }} {{ "a" ~ 1 }}', '7 4 a1'],
  ['a {%- if true %} b {% endif -%} c', 'a b c'],
  ['{# no #}x{% raw %}{{ y }}{% endraw %}', 'x{{ y }}'],
  ['{{ "}}" }}{{ `%}` }}', '}}%}'],
  ['{{ "a,b" | split(pat=",") | last | upper }}', 'B'],
  ['{{ "5" | int + 0 }}'.replace(' + 0', ''), '5'],
];

for (const [template, result] of table) {
  test(`template: ${template}`, (t) => t.is(render(template), result));
}

const wrong: [string, RegExp][] = [
  ['{{ nothing }}', /1:4: in the template: the variable nothing is not set/],
  ['\n {{ key', /2:2: .*never closed/],
  ['{% if key %}', /endif is missing/],
  ['{{ key | shout }}', /the filter shout is not known/],
  ['{{ key | replace(from="a") }}', /the filter replace needs the argument to/],
  ["{{ get_env(name='NONE') }}", /finds no variable NONE/],
  ['{% include "x" %}', /{% include %} is not known/],
  ['{{ key.constructor.constructor("x") }}', /not expected here/],
  ['{{ key.constructor }}', /is not set/],
  ['{{ throw(message="no") }}', /says: no/],
  [`{{ ${'('.repeat(500)} }}`, /nested too deep/],
  ['{% if true %}'.repeat(500), /nested too deep/],
  [
    '{% for a in range(end=9999) %}{% for b in range(end=9999) %}x{% endfor %}{% endfor %}',
    /does not come to an end/,
  ],
  [
    '{% set a = "x" %}{% for i in range(end=99) %}{% set_global a = a ~ a %}{% endfor %}',
    /too long/,
  ],
  ['{% for i in range(end=99999999) %}{% endfor %}', /is too long/],
];

for (const [template, message] of wrong) {
  test(`template refused: ${template.slice(0, 60)}`, (t) => {
    const error = t.throws(() => render(template), {instanceOf: ConfigError});
    t.regex(error.problems[0] ?? '', message);
  });
}

test('any text is either rendered or refused', (t) => {
  const bits = fc.constantFrom(
    '{{',
    '}}',
    '{%',
    '%}',
    '{#',
    '#}',
    ' if ',
    ' for ',
    ' in ',
    'key',
    '|',
    '"',
    "'",
    '(',
    ')',
    '[',
    ']',
    ',',
    '=',
    '.',
    '-',
    ' endif ',
    ' raw ',
    '1',
    '~',
    ' is ',
    ' set ',
  );
  fc.assert(
    fc.property(fc.array(bits, {maxLength: 30}), (parts) => {
      try {
        render(parts.join(''));
      } catch (error) {
        if (!(error instanceof ConfigError)) throw error;
      }
    }),
    {numRuns: 2000},
  );
  t.pass();
});

test('the session key comes from flag, variable, file, and else by chance', (t) => {
  const value = {key: 'from-file', target: 'pod/{{ key }}'};
  const flags = [{path: ['key'], value: 'flag', origin: '--key'}];
  t.is(load(t, value).config.target.path, 'pod/from-file');
  t.is(load(t, value, {env: {MIRRORD_KEY: 'env'}}).config.target.path, 'pod/env');
  t.is(load(t, value, {env: {MIRRORD_KEY: 'env'}, flags}).config.key, 'flag');
  const {config, keyIsGenerated} = load(t, {target: 'pod/{{ key }}'});
  t.true(keyIsGenerated);
  t.regex(config.key ?? '', /^[0-9a-f]{5}$/);
  t.is(config.target.path, `pod/${config.key}`);
});

test('the branch comes from MIRRORD_BRANCH_NAME or from the working tree, and may be in the key', (t) => {
  const path = file(t, 'mirrord.json', '{"key": "k-{{ git_branch }}", "target": "pod/{{ key }}"}');
  const directory = dirname(path);
  const told = loadConfig({file: path, env: {MIRRORD_BRANCH_NAME: 'b'}, directory});
  t.is(told.config.target.path, 'pod/k-b');
  spawnSync('git', ['init', '-q', '-b', 'topic/1', directory]);
  t.is(loadConfig({file: path, env: {}, directory}).config.key, 'k-topic/1');
});

test('a template may make the file well-formed', (t) => {
  const text =
    '{% if get_env(name="CI", default="") == "1" %}{"operator": true}{% else %}{}{% endif %}';
  const path = file(t, 'mirrord.json', text);
  t.true(loadConfig({file: path, env: {CI: '1'}}).config.operator);
  t.is(loadConfig({file: path, env: {}}).config.operator, undefined);
});
