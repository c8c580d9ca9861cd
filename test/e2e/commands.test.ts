import {chmodSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import test from 'ava';
import {useDemo} from '../helpers/e2e.ts';

const world = useDemo(test);

/** The variables that a program gets. */
async function environment(flags: readonly string[], env: Record<string, string> = {}) {
  const output = await world.exec(['env', '-0'], {flags, env});
  return new Map(
    output
      .split('\0')
      .filter((line) => line !== '')
      .map((line): [string, string] => {
        const equals = line.indexOf('=');
        return [line.slice(0, equals), line.slice(equals + 1)];
      }),
  );
}

test("exec -s takes the named variables of the pod's only", async (t) => {
  const {env} = await world.pod('gateway');
  const [taken = '', ...others] = Object.keys(env).filter(
    (name) => !/^(PATH|HOME|PWD)$/.test(name),
  );
  const got = await environment(['-s', `${taken};NOTHING_*`]);
  t.is(got.get(taken), env[taken]);
  t.true(others.length > 0);
  for (const name of others) t.false(got.has(name), name);
});

test('exec -x leaves the local value of a variable that the pod has too', async (t) => {
  const {env} = await world.pod('gateway');
  const [name = '', other = ''] = Object.keys(env).filter((key) => !/^(PATH|HOME|PWD)$/.test(key));
  const got = await environment(['--no-tun', '-x', name], {[name]: 'local', [other]: 'local'});
  t.is(got.get(name), 'local');
  t.is(got.get(other), env[other]);
});

test('exec --env-file wins over the pod', async (t) => {
  const {env} = await world.pod('gateway');
  const [name = ''] = Object.keys(env).filter((key) => !/^(PATH|HOME|PWD)$/.test(key));
  const path = join(world.directory, 'test.env');
  writeFileSync(path, `${name}=file\nNEW="two words" # comment\n`);
  chmodSync(path, 0o644);
  const got = await environment(['--env-file', path, '-x', 'NEW'], {NEW: 'local'});
  t.is(got.get(name), 'file');
  t.is(got.get('NEW'), 'two words');
});

test('exec with -s and -x, or with an env file that is not there, runs nothing', async (t) => {
  const both = await world.startExec(['echo', 'ran'], {flags: ['-s', 'A', '-x', 'B']}).ended;
  t.is(both.status, 1);
  t.is(both.stdout, '');
  t.regex(both.stderr, /--override-env-vars-exclude.*\[MIRRORD_CONFIG_INVALID\]/);
  const missing = await world.startExec(['echo', 'ran'], {flags: ['--env-file', 'nowhere.env']})
    .ended;
  t.is(missing.status, 1);
  t.is(missing.stdout, '');
  t.regex(missing.stderr, /nowhere\.env .*\[MIRRORD_ENV_FILE_UNREADABLE\]/);
});

test('exec in exec is refused, and the program outside is told so by its status', async (t) => {
  const inner = `${world.mirrordPath} exec -t demo/gateway -- echo ran`;
  const {status, stdout, stderr} = await world.startExec(['sh', '-c', inner], {input: ''}).ended;
  t.is(status, 1);
  t.is(stdout, '');
  t.regex(stderr, /MIRRORD_RESOLVED_CONFIG is set.*\[MIRRORD_NESTED\]/);
});

test('the program can tell in whose context it is', async (t) => {
  const got = await environment([]);
  const config = Buffer.from(got.get('MIRRORD_RESOLVED_CONFIG') ?? '', 'base64').toString();
  t.like(JSON.parse(config), {target: {path: 'demo/gateway'}});
});

test('MIRRORD_PROGRESS_MODE=json: stderr has the protocol of the IDEs, stdout is the program', async (t) => {
  const {stdout, stderr} = await world.startExec(['echo', 'hello'], {
    input: '',
    env: {MIRRORD_PROGRESS_MODE: 'json'},
  }).ended;
  t.is(stdout, 'hello\n');
  const lines = stderr.trim().split('\n');
  const messages = lines.map((line) => JSON.parse(line) as Record<string, unknown>);
  t.deepEqual(messages[0], {type: 'NewTask', name: 'mirrord exec', parent: null});
  t.deepEqual(messages.at(-1), {
    type: 'FinishedTask',
    name: 'mirrord exec',
    success: true,
    message: 'Ready!',
  });
});

test('MIRRORD_PROGRESS_SUPPORT_IDE: a warning about the configuration can be muted', async (t) => {
  const {stderr} = await world.startExec(['true'], {
    input: '',
    env: {
      MIRRORD_PROGRESS_MODE: 'json',
      MIRRORD_PROGRESS_SUPPORT_IDE: 'true',
      MIRRORD_SKIP_SIP: 'mine',
    },
  }).ended;
  const lines = stderr.trim().split('\n');
  const messages = lines.map((line) => JSON.parse(line) as {type: string; message: object});
  const {message} = messages.find(({type}) => type === 'IdeMessage') ?? {};
  t.like(message, {level: 'Warning', actions: []});
  t.regex(JSON.stringify(message), /skip_sip/);
});

test('MIRRORD_PROGRESS_MODE=json: an error is one line of JSON with its remedy', async (t) => {
  const {status, stderr} = await world.startExec(['true'], {
    target: 'demo/nobody',
    env: {MIRRORD_PROGRESS_MODE: 'json'},
  }).ended;
  t.is(status, 1);
  const error = JSON.parse(/^Error: (.*)$/m.exec(stderr)?.[1] ?? '{}') as Record<string, string>;
  t.is(error['code'], 'MIRRORD_TARGET_NOT_FOUND');
  t.regex(error['message'] ?? '', /nobody/);
  t.regex(error['help'] ?? '', /gateway/);
  t.true(stderr.includes('{"type":"FinishedTask","name":"mirrord exec","success":false'));
});

test('MIRRORD_PROGRESS_MODE=off: there is the program, and nothing else', async (t) => {
  const {stdout, stderr} = await world.startExec(['echo', 'hello'], {
    input: '',
    env: {MIRRORD_PROGRESS_MODE: 'off'},
  }).ended;
  t.is(stdout, 'hello\n');
  t.is(stderr, '');
});

test("ls lists the demo's pods as a JSON array of what -t takes", async (t) => {
  const {status, stdout} = await world.mirrord(['ls', '-o', 'json']);
  t.is(status, 0);
  const targets = JSON.parse(stdout) as string[];
  t.true(targets.includes('demo/gateway'));
  for (const target of targets) t.regex(target, /^demo\/[a-z0-9-]+$/);
});

test('ls lists the kinds only that -t, or MIRRORD_LS_TARGET_TYPES, names', async (t) => {
  const list = async (flags: readonly string[], types?: string): Promise<string[]> => {
    const env = types === undefined ? {} : {MIRRORD_LS_TARGET_TYPES: types};
    return JSON.parse((await world.mirrord(['ls', ...flags], {env})).stdout) as string[];
  };
  t.true((await list(['-t', 'deployment', '-t', 'pod'])).includes('demo/gateway'));
  t.deepEqual(await list(['-t', 'deployment']), []);
  t.true((await list([], '["pod","kind-of-the-future"]')).includes('demo/gateway'));
  t.deepEqual(await list([], '["deployment"]'), []);
  t.true((await list(['-t', 'pod'], '["deployment"]')).includes('demo/gateway'));
});

test('ls with MIRRORD_LS_RICH_OUTPUT tells availability and namespaces', async (t) => {
  const {stdout} = await world.mirrord(['ls'], {env: {MIRRORD_LS_RICH_OUTPUT: 'true'}});
  const rich = JSON.parse(stdout) as Record<string, unknown[]>;
  t.deepEqual(Object.keys(rich), ['targets', 'current_namespace', 'namespaces']);
  t.deepEqual(
    rich['targets']?.find((target) => (target as {path: string}).path === 'demo/gateway'),
    {path: 'demo/gateway', available: true},
  );
  t.true(rich['namespaces']?.includes(rich['current_namespace']));
});

test('ls -n, and the namespace of the configuration of -f, choose among the pods', async (t) => {
  const env = {MIRRORD_LS_RICH_OUTPUT: 'true', MIRRORD_LS_TARGET_TYPES: '["pod"]'};
  const list = async (...flags: readonly string[]) => {
    const {stdout} = await world.mirrord(['ls', ...flags], {env});
    return JSON.parse(stdout) as {targets: unknown[]; current_namespace: string};
  };
  const path = join(world.directory, 'ls.json');
  // Without a target: it is still to be chosen.
  writeFileSync(path, JSON.stringify({target: {namespace: 'elsewhere'}}));
  chmodSync(path, 0o644);
  t.like(await list('-f', path), {targets: [], current_namespace: 'elsewhere'});
  const chosen = await list('-f', path, '-n', 'default');
  t.is(chosen.current_namespace, 'default');
  t.true(chosen.targets.length > 0);
  t.deepEqual(await list(), chosen);
});

test('ls -f with a configuration that can not be used is an error, and lists nothing', async (t) => {
  const path = join(world.directory, 'bad.json');
  writeFileSync(path, '{"feature": {"network": 3}}');
  chmodSync(path, 0o644);
  const {status, stdout, stderr} = await world.mirrord(['ls', '-f', path]);
  t.is(status, 1);
  t.is(stdout, '');
  t.regex(stderr, /bad\.json.*feature\.network(.|\n)*MIRRORD_CONFIG_INVALID/);
});

test('ls without a demo is an empty list, and starts none', async (t) => {
  const env = {XDG_RUNTIME_DIR: world.temporary};
  const {status, stdout} = await world.mirrord(['ls'], {env});
  t.is(status, 0);
  t.is(stdout, '[]\n');
  t.is((await world.mirrord(['demo', 'status'], {env})).status, 3);
});

test('a mistyped word is answered with the one that was meant', async (t) => {
  const typo = async (...args: string[]): Promise<string> => (await world.mirrord(args)).stderr;
  t.regex(await typo('exce'), /unknown command 'exce'\n\(Did you mean exec\?\)/);
  t.regex(
    await typo('demo', 'statsu'),
    /\(Did you mean status\?\)\n {2}→ see: mirrord demo --help/,
  );
  t.regex(
    await typo('exec', '-t', 'demo/gateway', '--env-fil', 'x'),
    /\(Did you mean --env-file\?\)/,
  );
  t.regex(await typo('ls', '-t', 'pods'), /pods.*Allowed choices are .*pod/);
});

test('every command teaches by examples', async (t) => {
  for (const command of [
    [],
    ['exec'],
    ['ls'],
    ['diagnose'],
    ['diagnose', 'latency'],
    ['completions'],
  ]) {
    const {status, stdout} = await world.mirrord([...command, '--help']);
    t.is(status, 0);
    t.regex(stdout, /Examples:\n {2}\$ .*mirrord /, command.join(' '));
  }
});

test('diagnose latency measures a hundred round trips to the agent', async (t) => {
  const {status, stdout} = await world.mirrord(['diagnose', 'latency', '-t', 'demo/gateway']);
  t.is(status, 0);
  t.regex(stdout, /^100 round trips .*demo\/gateway\nmin .* avg .* max .*\np50 .* p90 .* p99 /);
  const json = await world.mirrord(['diagnose', 'latency', '--json']);
  const latency = JSON.parse(json.stdout) as Record<string, number>;
  t.is(latency['rounds'], 100);
  const ascending = ['minMs', 'p50Ms', 'p90Ms', 'p99Ms', 'maxMs'].map((name) => latency[name] ?? 0);
  t.deepEqual(
    ascending,
    ascending.toSorted((a, b) => a - b),
  );
  t.true((ascending[0] ?? 0) > 0);
});

test('a configuration file shapes the environment: mapping, override and unset, in this order', async (t) => {
  const path = join(world.directory, 'environment.json');
  const {env} = await world.pod('gateway');
  const [mapped = '', unset = ''] = Object.keys(env).filter(
    (key) => !/^(PATH|HOME|PWD)$/.test(key),
  );
  const feature = {
    env: {
      mapping: {[`^${mapped}$`]: 'mapped'},
      override: {NEW: 'over'},
      unset: [unset.toLowerCase()],
    },
  };
  writeFileSync(path, JSON.stringify({feature}));
  chmodSync(path, 0o644);
  const got = await environment(['-f', path]);
  t.is(got.get(mapped), 'mapped');
  t.is(got.get('NEW'), 'over');
  t.false(got.has(unset));
});
