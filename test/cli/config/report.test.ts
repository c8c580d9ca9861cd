import {readFileSync} from 'node:fs';
import test from 'ava';
import {Command} from 'commander';
import {configCommand} from '../../../cli/commands/config.ts';
import {verifyConfigCommand} from '../../../cli/commands/verify-config.ts';
import {unavailable} from '../../../cli/config/availability.ts';
import {addConfigFlags, configFlags, flagOverrides} from '../../../cli/config/flags.ts';
import {jsonSchemaText} from '../../../cli/config/json-schema.ts';
import {bindings} from '../../../cli/config/overlay.ts';
import {referencePage} from '../../../cli/config/reference.ts';
import {reportOn} from '../../../cli/config/report.ts';
import {root} from '../../../cli/config/schema/root.ts';
import {allKeys} from '../../../cli/config/schema/walk.ts';
import {file, load} from './helpers.ts';

const told = (config: object, env = {}) => {
  return (t: Parameters<typeof load>[0]) =>
    unavailable(load(t, config, {env})).map(({path, message}) => `${path.join('.')} ${message}`);
};

test('a key that does nothing yet is told with what happens instead', (t) => {
  const incoming = {mode: 'steal', tls_delivery: {protocol: 'tcp'}};
  t.deepEqual(told({feature: {magic: {aws: true}, network: {incoming}}})(t), [
    'feature.magic.aws is not available yet: no helper is at work',
    'feature.network.incoming.tls_delivery is not available yet: TLS connections reach the program as they are',
  ]);
});

test('a key that asks for what happens anyway is not told', (t) => {
  const feature = {
    env: true,
    fs: 'local',
    hostname: true,
    network: {incoming: false, outgoing: true, dns: true},
  };
  t.deepEqual(told({target: 'demo/gateway', key: 'k', telemetry: false, feature})(t), []);
});

test('keys of a preloaded library are told in one warning', (t) => {
  const config = {
    skip_sip: 'git',
    internal_proxy: {json_log: false},
    experimental: {sip_utils: true},
  };
  t.deepEqual(told(config)(t), [
    'skip_sip has no effect here, where no library is preloaded into the program (nor have internal_proxy.json_log, experimental.sip_utils)',
  ]);
});

test('keys without effect for another reason are told with it', (t) => {
  t.deepEqual(told({agent: {dns: {attempts: 4, timeout: 2}}, skip_sip: 'git'})(t), [
    "agent.dns.attempts has no effect here (nor have agent.dns.timeout): programs ask the pod's name servers themselves, as patiently as RES_OPTIONS says",
    'skip_sip has no effect here, where no library is preloaded into the program',
  ]);
});

test('variables that are there for other reasons are not told', (t) => {
  t.deepEqual(told({}, {TRACEPARENT: '00-1', BAGGAGE: 'a=b'})(t), []);
  t.is(told({}, {MIRRORD_PREVIEW_IMAGE: 'shop:1'})(t).length, 1);
});

test('every key has a description of one line', (t) => {
  for (const {path, key} of allKeys(root)) {
    t.regex(key.description, /^[^\n]{3,100}[.]$/, path.join('.'));
  }
});

test('every key that is still to come says what happens instead', (t) => {
  const silent = [...allKeys(root)].filter(
    ({status, instead}) => status === 'later' && instead === undefined,
  );
  t.deepEqual(
    silent.filter(({key}) => key.type.kind !== 'object').map(({path}) => path.join('.')),
    [],
  );
});

test('flags name keys and variables that are there', (t) => {
  const paths = new Set([...allKeys(root)].map(({path}) => path.join('.')));
  for (const {flags, paths: set, env} of configFlags) {
    for (const path of set) t.true(paths.has(path), path);
    if (set.length === 1) {
      const bound = bindings.some(
        ({path, variable}) => path.join('.') === set[0] && variable.name === env,
      );
      t.true(bound, flags);
    }
  }
});

test('flags set their keys', (t) => {
  const command = addConfigFlags(new Command('exec').exitOverride().argument('[program...]'));
  command.parse(
    [
      '-t',
      'pod/a',
      '--no-outgoing',
      '--steal',
      '--fs-mode',
      'local-with-overrides',
      '-x',
      'A;B',
      '--agent-ttl',
      '9',
      '-c',
      '-f',
      'x.json',
      '--',
      'true',
    ],
    {from: 'user'},
  );
  t.is(command.opts()['configFile'], 'x.json');
  const {config} = load(t, {}, {flags: flagOverrides(command)});
  t.is(config.target.path, 'pod/a');
  t.like(config.feature.network, {
    outgoing: {tcp: false, udp: false},
    incoming: {mode: 'steal'},
    dns: {enabled: true},
  });
  t.is(config.feature.fs.mode, 'localwithoverrides');
  t.deepEqual(config.feature.env.exclude, ['A', 'B']);
  t.is(config.agent.ttl, 9);
  t.true(config.accept_invalid_certificates);
});

test('a flag that does not fit its key is refused', (t) => {
  const command = addConfigFlags(
    new Command('exec').exitOverride().configureOutput({writeErr: () => {}}),
  );
  t.throws(() => command.parse(['--agent-ttl', 'soon'], {from: 'user'}), {
    message: /--agent-ttl.* It must be a whole number/,
  });
});

test('a good configuration is reported as Success with its target', (t) => {
  const path = file(
    t,
    'a.json',
    '{"target": {"path": "deploy/shop", "namespace": "n"}, "feature": {"network": {"incoming": {"mode": "steal", "tls_delivery": {"protocol": "tcp"}}}}}',
  );
  const report = reportOn({file: path, env: {}});
  t.like(report, {type: 'Success', config: {path: {deployment: 'shop'}, namespace: 'n'}});
  if (report.type === 'Fail') return t.fail();
  t.false(report.compatible_target_types.includes('targetless'));
  t.true(
    report.warnings.some((text) => /a\.json:1:\d+: feature\.network\.incoming\.tls/.test(text)),
  );
  t.false('resolved_config' in report);
});

test('--resolved adds the configuration with its defaults', (t) => {
  const report = reportOn({file: file(t, 'a.yaml', 'key: k'), env: {}, resolved: true});
  t.like(report, {
    type: 'Success',
    config: {path: null, namespace: null},
    resolved_config: {key: 'k', api: true},
  });
});

test('--ide takes a missing target as chosen later', (t) => {
  const path = file(t, 'a.yaml', 'agent: {ephemeral: true}');
  t.is(reportOn({file: path, env: {}}).type, 'Fail');
  t.is(reportOn({file: path, env: {}, ide: true}).type, 'Success');
});

test('everything wrong is reported as Fail, with places', (t) => {
  const path = file(t, 'a.yaml', 'target: pod/x\nfeature:\n  env: {include: A, exclude: B}\n');
  t.deepEqual(reportOn({file: path, env: {}}), {
    type: 'Fail',
    errors: [`${path}:3:21: feature.env.exclude excludes include: use one of the two`],
  });
  t.is(reportOn({file: '/nowhere.json', env: {}}).type, 'Fail');
});

test('the commands have their options', (t) => {
  t.deepEqual(
    verifyConfigCommand().options.map(({long}) => long),
    ['--ide', '--resolved'],
  );
  t.deepEqual(
    configCommand().commands.map((command) => command.name()),
    ['schema'],
  );
});

const docs = new URL('../../../docs/', import.meta.url);

test('docs/configuration.md is up to date: scripts/config-reference.ts', (t) => {
  t.is(readFileSync(new URL('configuration.md', docs), 'utf8'), referencePage());
});

test('docs/mirrord-schema.json is up to date: scripts/config-reference.ts', (t) => {
  const published: unknown = JSON.parse(readFileSync(new URL('mirrord-schema.json', docs), 'utf8'));
  t.deepEqual(published, JSON.parse(jsonSchemaText()));
});
