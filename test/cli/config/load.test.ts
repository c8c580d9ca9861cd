import {spawnSync} from 'node:child_process';
import {mkdirSync} from 'node:fs';
import {dirname, join} from 'node:path';
import test from 'ava';
import fc from 'fast-check';
import {check} from '../../../cli/config/check.ts';
import {ConfigError} from '../../../cli/config/errors.ts';
import {loadConfig} from '../../../cli/config/load.ts';
import {root} from '../../../cli/config/schema/root.ts';
import {configFile} from '../../../cli/config/source.ts';
import {file, load, problems} from './helpers.ts';

test('JSON, TOML and YAML say the same', (t) => {
  const texts = {
    'a.json':
      '{"target": "pod/x", "feature": {"network": {"incoming": {"mode": "steal", "ports": [80]}}}}',
    a: '{"target": "pod/x", "feature": {"network": {"incoming": {"mode": "steal", "ports": [80]}}}}',
    'a.toml': 'target = "pod/x"\n[feature.network.incoming]\nmode = "steal"\nports = [80]\n',
    'a.yaml': 'target: pod/x\nfeature:\n  network:\n    incoming: {mode: steal, ports: [80]}\n',
    'a.yml': 'target: pod/x\nfeature: {network: {incoming: {mode: steal, ports: [80]}}}\n',
  };
  for (const [name, text] of Object.entries(texts)) {
    const {config} = loadConfig({file: file(t, name, text), env: {MIRRORD_KEY: 'k'}});
    t.deepEqual(config.target, {path: 'pod/x'}, name);
    t.is(config.feature.network.incoming.mode, 'steal', name);
    t.deepEqual(config.feature.network.incoming.ports, [80], name);
  }
});

test('another extension is refused', (t) => {
  t.deepEqual(problems(t, 'a.ini', ''), [
    "can't be read: its extension is .ini, not .json, .toml, .yaml or .yml",
  ]);
});

test('a file that is not there is named', (t) => {
  const error = t.throws(() => loadConfig({file: '/nowhere/a.json', env: {}}));
  t.regex(error?.message ?? '', /\/nowhere\/a.json can't be read \(ENOENT\)/);
});

test('a dash is standard input, as JSON', (t) => {
  const url = new URL('../../../cli/config/load.ts', import.meta.url).href;
  const script = `import {loadConfig} from ${JSON.stringify(url)};
    console.log(loadConfig({file: '-', env: {}}).config.target.path);`;
  const run = spawnSync(process.execPath, ['--input-type=module', '-e', script], {
    input: '{"target": "pod/from-stdin"}',
    encoding: 'utf8',
  });
  t.is(run.stdout.trim(), 'pod/from-stdin', run.stderr);
});

test('the file is that of -f, or of MIRRORD_CONFIG_FILE, and else none', (t) => {
  t.is(configFile('a.json', {MIRRORD_CONFIG_FILE: 'b.json'}), 'a.json');
  t.is(configFile(true, {MIRRORD_CONFIG_FILE: 'b.json'}), './.mirrord/mirrord.json');
  t.is(configFile(undefined, {MIRRORD_CONFIG_FILE: 'b.json'}), 'b.json');
  t.is(configFile(undefined, {}), undefined);
  t.is(loadConfig({env: {}}).file, undefined);
});

test('-f without a value reads .mirrord/mirrord.json of the directory', (t) => {
  const directory = dirname(file(t, 'other', ''));
  mkdirSync(join(directory, '.mirrord'));
  t.throws(() => loadConfig({file: true, env: {}, directory}), {
    message: /\.mirrord\/mirrord\.json/,
  });
});

test('a flag wins over a variable, a variable over the file, the file over the default', (t) => {
  const value = {agent: {log_level: 'file', ttl: 7}};
  const env = {MIRRORD_AGENT_RUST_LOG: 'env', MIRRORD_AGENT_TTL: '8'};
  const flags = [{path: ['agent', 'log_level'], value: 'flag', origin: '--agent-log-level'}];
  t.is(load(t, {}).config.agent.log_level, 'info');
  t.is(load(t, value).config.agent.log_level, 'file');
  t.is(load(t, value, {env}).config.agent.log_level, 'env');
  t.is(load(t, value, {env, flags}).config.agent.log_level, 'flag');
  t.is(load(t, value, {env, flags}).config.agent.ttl, 8);
});

test('variables are read as the type of their key', (t) => {
  const env = {
    MIRRORD_REMOTE_DNS: 'false',
    MIRRORD_SKIP_PROCESSES: 'a; b',
    MIRRORD_HTTP_FILTER_PORTS: '80;81',
    MIRRORD_PREVIEW_TTL_MINS: 'infinite',
    MIRRORD_AGENT_TCP_STEAL_TRAFFIC: 'true',
    MIRRORD_FILE_OPS: 'false',
    MIRRORD_AGENT_STARTUP_TIMEOUT: '',
  };
  const {config} = load(t, {}, {env});
  t.false(config.feature.network.dns.enabled);
  t.deepEqual(config.skip_processes, ['a', 'b']);
  t.deepEqual(config.feature.network.incoming.http_filter?.ports, [80, 81]);
  t.is(config.feature.preview?.ttl_mins, 'infinite');
  t.is(config.feature.network.incoming.mode, 'steal');
  t.is(config.feature.fs.mode, 'local');
  t.is(config.agent.startup_timeout, 60);
});

test('a variable of the wrong type is told by its name', (t) => {
  const error = t.throws(() => load(t, {}, {env: {MIRRORD_AGENT_TTL: 'soon'}}));
  t.regex(error?.message ?? '', /\$MIRRORD_AGENT_TTL must be a whole number, not "soon"/);
});

test("the agent image's parts count only where the file has no image", (t) => {
  const env = {MIRRORD_AGENT_IMAGE_REGISTRY: 'r', MIRRORD_AGENT_IMAGE_TAG: 't'};
  t.deepEqual(load(t, {}, {env}).config.agent.image, {registry: 'r', tag: 't'});
  t.is(load(t, {agent: {image: 'i'}}, {env}).config.agent.image, 'i');
  t.is(load(t, {agent: {image: 'i'}}, {env: {MIRRORD_AGENT_IMAGE: 'e'}}).config.agent.image, 'e');
});

test('a variable re-enables what is inside a block that is off', (t) => {
  const {config} = load(t, {feature: {network: false}}, {env: {MIRRORD_TCP_OUTGOING: 'true'}});
  t.like(config.feature.network, {
    incoming: {mode: 'off'},
    outgoing: {tcp: true, udp: false},
    dns: {enabled: false},
  });
});

test('booleans and texts stand for the blocks they shorten', (t) => {
  const feature = (value: object) => load(t, {feature: value}).config.feature;
  t.deepEqual(feature({env: false}).env.exclude, ['*']);
  t.is(feature({env: true}).env.exclude, undefined);
  t.is(feature({fs: false}).fs.mode, 'local');
  t.is(feature({fs: 'write'}).fs.mode, 'write');
  t.is(feature({network: {incoming: false}}).network.incoming.mode, 'off');
  t.is(feature({network: {incoming: true}}).network.incoming.mode, 'mirror');
  t.is(feature({network: {incoming: 'steal'}}).network.incoming.mode, 'steal');
  t.like(feature({network: {outgoing: false}}).network.outgoing, {tcp: false, udp: false});
  t.false(feature({network: {dns: false}}).network.dns.enabled);
  t.true(feature({copy_target: true}).copy_target?.enabled);
  t.deepEqual(load(t, {target: {deployment: 'x'}}).config.target.path, {deployment: 'x'});
  t.deepEqual(load(t, {feature: {env: {include: 'A;B*'}}}).config.feature.env.include, ['A', 'B*']);
});

test('null is the same as leaving a key out', (t) => {
  t.is(load(t, {agent: {ttl: null}, feature: null}).config.agent.ttl, 1);
});

test('an unknown key is told with its place and the nearest key', (t) => {
  t.deepEqual(problems(t, 'a.json', '{\n  "feature": {"netwrok": true}\n}'), [
    '2:15: feature.netwrok is not a known key; did you mean feature.network?',
  ]);
  t.deepEqual(
    problems(t, 'a.yaml', 'feature:\n  network:\n    inc: steal\n    tls_delivery: {}\n'),
    [
      '3:5: feature.network.inc is not a known key',
      '4:5: feature.network.tls_delivery is not a known key; did you mean feature.network.incoming.tls_delivery?',
    ],
  );
  t.deepEqual(problems(t, 'a.toml', '# x\n[feature.env]\nincldue = ["A"]\n'), [
    '3:1: feature.env.incldue is not a known key; did you mean feature.env.include?',
  ]);
});

test('the places of keys in TOML are found in tables of arrays and inline', (t) => {
  const text =
    'target = """pod/\\\nx"""\n[[feature.db_branches]]\ntype = "pg"\nconnection = {url = "U"}\n' +
    "[[feature.db_branches]]\ntype = 'pg'\nconnection = { url = 'U', ulr = [1, {a = 2}] }\n[agent]\nttl = 'x'\n";
  t.deepEqual(problems(t, 'a.toml', text), [
    '8:27: feature.db_branches[1].connection.ulr is not a known key; did you mean feature.db_branches[1].connection.url?',
    '10:1: agent.ttl must be a whole number, not the text "x"',
  ]);
});

test('text that does not parse is told with its place', (t) => {
  t.regex(problems(t, 'a.json', '{\n "a": 1,\n}')[0] ?? '', /^3:1: is not JSON/);
  t.regex(problems(t, 'a.json', '// no\n{}')[0] ?? '', /^1:1: is not JSON/);
  t.regex(problems(t, 'a.yaml', 'a: [1\nb: 2')[0] ?? '', /^\d:\d: is not YAML/);
  t.regex(problems(t, 'a.toml', 'a = 1\na = 2')[0] ?? '', /^2:\d: is not TOML/);
});

test('a key that is there twice is refused', (t) => {
  t.deepEqual(problems(t, 'a.json', '{"key": "a",\n "key": "b"}'), ['2:2: a key is there twice']);
  t.deepEqual(problems(t, 'a.yaml', 'key: a\nkey: b'), ['2:1: a key is there twice']);
  t.regex(problems(t, 'a.toml', 'key = "a"\nkey = "b"')[0] ?? '', /^2:\d+: is not TOML/);
});

test('a file of many keys takes no quadratic time', (t) => {
  const override = Object.fromEntries(Array.from({length: 40_000}, (_, i) => [`K${i}`, 'v']));
  const {config} = load(t, {feature: {env: {override}}});
  t.is(Object.keys(config.feature.env.override ?? {}).length, 40_000);
  const unknown = Object.fromEntries(Array.from({length: 90_000}, (_, i) => [`k${i}`, 1]));
  t.is(problems(t, 'a.json', JSON.stringify(unknown)).length, 50);
});

test('hostile files give an error', (t) => {
  const deep = '['.repeat(100_000) + ']'.repeat(100_000);
  const bomb = ['a: &a [x, x, x, x, x, x, x, x, x]'];
  for (let i = 1; i < 12; i++)
    bomb.push(`b${i}: &b${i} [${Array(9).fill(`*${i === 1 ? 'a' : `b${i - 1}`}`)}]`);
  const texts: Record<string, string | Uint8Array> = {
    'deep.json': `{"agent": ${deep}}`,
    'deep.yaml': `agent: ${deep.slice(0, 20_000)}`,
    'deep.toml': `agent = ${deep}`,
    'cycle.yaml': 'feature: &a\n  network: *a\n  fs: *a\n',
    'cycle-any.yaml': 'experimental:\n  applev: &a\n    x: *a\n',
    'bomb.yaml': bomb.join('\n'),
    'proto.json': '{"feature": {"env": {"override": {"__proto__": "x"}}}}',
    'proto.yaml': '__proto__: {polluted: true}\n',
    'proto.toml': '[__proto__]\npolluted = true\n',
    'nan.yaml': 'agent: {ttl: .nan}\n',
    'nan.toml': '[agent]\nttl = inf\n',
    'date.toml': '[agent]\nttl = 2020-01-01\n',
    'big.json': ' '.repeat(2 ** 21),
    'latin1.json': new Uint8Array([0x22, 0xe4, 0x22]),
    'list.json': '[1]',
    'text.yaml': 'just text',
    'keys.json': JSON.stringify(
      Object.fromEntries(Array.from({length: 5000}, (_, i) => [`k${i}`, 1])),
    ),
  };
  for (const [name, text] of Object.entries(texts)) {
    t.true(problems(t, name, text).length > 0, name);
  }
  t.is(({} as Record<string, unknown>)['polluted'], undefined);
});

test('any JSON is either refused or resolved', (t) => {
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      check(root, value);
      check(root, {feature: value, target: value, agent: {image: value}});
    }),
  );
  t.pass();
});

test('a file that is no configuration at all is named with its place', (t) => {
  const path = file(t, 'a.json', '{\n "a": 1,\n}');
  const error = t.throws(() => loadConfig({file: path, env: {}}), {instanceOf: ConfigError});
  t.true(error.problems[0]?.startsWith(`${path}:3:1: is not JSON`), error.problems[0]);
  const large = file(t, 'b.json', ' '.repeat(10 * 1024 * 1024));
  const tooLarge = t.throws(() => loadConfig({file: large, env: {}}), {instanceOf: ConfigError});
  t.deepEqual(tooLarge.problems, [`${large} is larger than 1024 KiB`]);
});

test('a YAML file that is nested too deep is told so', (t) => {
  const deep = `a: ${'['.repeat(100_000)}${']'.repeat(100_000)}`;
  t.deepEqual(problems(t, 'a.yaml', deep), ['is nested too deep']);
});
