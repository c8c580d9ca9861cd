import test, {type ExecutionContext} from 'ava';
import {verify} from '../../../cli/config/verify.ts';
import {load} from './helpers.ts';

/** The errors and warnings of the rules, as `key message`. */
function judge(t: ExecutionContext, value: unknown, ide = false) {
  const {errors: wrong, warnings: doubtful} = verify(load(t, value), {ide});
  const tell = ({path, message}: {path: readonly (string | number)[]; message: string}) =>
    `${path.join('.')} ${message}`;
  return {errors: wrong.map(tell), warnings: doubtful.map(tell)};
}

type Case = [title: string, config: object, found: RegExp];

const http = (filter: object) => ({
  target: 'pod/x',
  feature: {network: {incoming: {mode: 'steal', http_filter: filter}}},
});
const incoming = (more: object) => ({target: 'pod/x', feature: {network: {incoming: more}}});
const network = (more: object) => ({target: 'pod/x', feature: {network: more}});
const copy = (more: object) => ({target: 'pod/x', feature: {copy_target: true}, ...more});
const labels = (more: object) => ({target: 'label/app=shop', ...more});
const branch = {type: 'pg', connection: {url: 'DB_URL'}};

const errors: Case[] = [
  [
    "two HTTP filters can't be combined",
    http({path_filter: '/a', header_filter: 'b: c'}),
    /http_filter has path_filter and header_filter/,
  ],
  [
    "a method and a body filter can't be combined",
    http({method_filter: 'GET', body_filter: {body: 'json', query: '$.a', matches: 'b'}}),
    /body_filter and method_filter/,
  ],
  ['all_of needs a part', http({all_of: []}), /all_of needs at least one/],
  ['any_of needs a part', http({any_of: []}), /any_of needs at least one/],
  ["a filter can't be empty", http({path_filter: ''}), /path_filter is empty/],
  [
    "a part of any_of can't be empty",
    http({any_of: [{path: '/a'}, {header: ' '}]}),
    /any_of.1.header is empty/,
  ],
  [
    'a body filter needs a JSONPath',
    http({body_filter: {body: 'json', query: 'a.b', matches: 'x'}}),
    /body_filter.query is not a JSONPath/,
  ],
  [
    "a body filter's JSONPath must be closed",
    http({all_of: [{body: 'json', query: '$.a[0', matches: 'x'}]}),
    /all_of.0.query is not a JSONPath/,
  ],
  [
    'a header filter must be a regular expression',
    http({header_filter: 'a: ('}),
    /header_filter is not a regular expression/,
  ],
  [
    'ports and ignore_ports exclude each other',
    incoming({ports: [80], ignore_ports: [81]}),
    /ignore_ports excludes ports/,
  ],
  [
    'tls_delivery and https_delivery exclude each other',
    incoming({tls_delivery: {protocol: 'tcp'}, https_delivery: {protocol: 'tcp'}}),
    /https_delivery excludes/,
  ],
  [
    'a local port is mapped once',
    incoming({
      port_mapping: [
        [80, 81],
        [80, 82],
      ],
    }),
    /port_mapping has port 80 twice on the left/,
  ],
  [
    'a port of the target is mapped once',
    incoming({
      port_mapping: [
        [80, 82],
        [81, 82],
      ],
    }),
    /port_mapping has port 82 twice on the right/,
  ],
  [
    'a port is listened on once',
    incoming({
      listen_ports: [
        [80, 81],
        [80, 82],
      ],
    }),
    /listen_ports has port 80 twice/,
  ],
  [
    'stealing needs a target',
    {feature: {network: {incoming: 'steal'}}},
    /incoming.mode can be steal/,
  ],
  [
    'an ephemeral agent needs a target',
    {target: 'targetless', agent: {ephemeral: true}},
    /agent.ephemeral needs a target/,
  ],
  ['a copy needs an operator', copy({operator: false}), /copy_target needs an operator/],
  ['a copy needs a target', copy({target: 'targetless'}), /copy_target needs a target/],
  ["a service can't be copied", copy({target: 'service/x'}), /copy_target can't copy a service/],
  ["labels can't be copied", copy({target: 'label/a=b'}), /copy_target can't copy a label/],
  ['a label target needs a label', {target: {labels: {}}}, /target.path needs at least one label/],
  [
    'a label target is of one cluster',
    labels({multi_cluster: true}),
    /multi_cluster excludes a label/,
  ],
  [
    'a label target has no queues',
    labels({feature: {split_queues: {q: {queue_type: 'SQS'}}}}),
    /split_queues excludes a label/,
  ],
  [
    'a label target has no branches',
    labels({feature: {db_branches: [branch]}}),
    /db_branches excludes a label/,
  ],
  [
    'include and exclude exclude each other',
    {feature: {env: {include: 'A', exclude: 'B'}}},
    /env.exclude excludes include/,
  ],
  [
    'an env mapping must be a regular expression',
    {feature: {env: {mapping: {'A(': 'x'}}}},
    /env.mapping.A\( is not a regular/,
  ],
  [
    'a path pattern must be a regular expression',
    {feature: {fs: {local: ['/a', '[']}}},
    /fs.local.1 is not a regular/,
  ],
  [
    'an outgoing filter must be in its grammar',
    network({outgoing: {filter: {local: ['ftp://x']}}}),
    /local.0 is not a filter: the protocol ftp/,
  ],
  [
    "an outgoing filter can't be empty",
    network({outgoing: {filter: {remote: []}}}),
    /remote needs at least one/,
  ],
  [
    'a DNS filter has no protocol',
    network({dns: {filter: {local: ['tcp://x']}}}),
    /dns.filter.local.0 is not a filter/,
  ],
  [
    "a branch's variable can't be overridden",
    {feature: {db_branches: [branch], env: {override: {DB_URL: 'x'}}}},
    /override.DB_URL is also set/,
  ],
  [
    "a branch's sources can't be overridden",
    {
      feature: {
        db_branches: [{type: 'pg', connection: {params: {host: {type: 'env', variable: 'H'}}}}],
        env: {override: {H: 'x'}},
      },
    },
    /override.H is also set/,
  ],
  [
    'the file buffer has at most 15 MiB',
    {feature: {fs: {readonly_file_buffer: 16e6}}},
    /15 MiB is the most/,
  ],
  [
    "a retry's shortest wait is the shorter one",
    {startup_retry: {min_ms: 9000}},
    /min_ms is 9000, above max_ms/,
  ],
  [
    "a retry's longest wait can't be 0",
    {startup_retry: {min_ms: 0, max_ms: 0}},
    /max_ms must not be 0/,
  ],
  [
    'a sleeping preview needs something to wake it',
    {target: 'pod/x', feature: {preview: {idle: {start_idle: true}}, network: {incoming: 'off'}}},
    /preview.idle needs something/,
  ],
  [
    'a lifetime is in minutes or in seconds',
    {feature: {preview: {ttl_mins: 1, ttl_secs: 60}}},
    /ttl_secs excludes ttl_mins/,
  ],
  ...[
    'nonsense',
    '0.0.0.0',
    '0.0.0.0:0',
    '0.0.0.0:70000',
    ':9000',
    '::1:9000',
    '[1.2.3.4]:9000',
  ].map(
    (metrics): Case => [
      `metrics are not at ${metrics}`,
      {agent: {metrics}},
      /agent.metrics is not an address with a port/,
    ],
  ),
  ['a target must be one of the known kinds', {target: 'podd/x'}, /target.path is not a target/],
];

const warnings: Case[] = [
  [
    'agent.namespace of an ephemeral agent',
    {target: 'pod/x', agent: {ephemeral: true, namespace: 'n'}},
    /agent.namespace has no effect/,
  ],
  [
    'agent.namespace without a target',
    {agent: {namespace: 'n'}},
    /agent.namespace has no effect without/,
  ],
  [
    'a remote filter without DNS',
    network({dns: false, outgoing: {filter: {remote: ['a']}}}),
    /remote sends destinations/,
  ],
  [
    'a DNS filter without DNS',
    network({dns: {enabled: false, filter: {local: ['a']}}}),
    /has no effect, as dns is off/,
  ],
  ['an empty DNS filter', network({dns: {filter: {local: []}}}), /local is empty/],
  [
    'filters that disagree on names',
    network({outgoing: {filter: {remote: ['a']}}, dns: {filter: {local: ['b']}}}),
    /is remote while dns.filter is local/,
  ],
  [
    'a port mapped to itself',
    incoming({port_mapping: [[80, 80]]}),
    /port_mapping.0 maps port 80 to itself/,
  ],
  ['a copy without stealing', copy({}), /copy_target makes a copy that gets no traffic/],
  [
    'a deprecated key',
    incoming({https_delivery: {protocol: 'tls'}}),
    /https_delivery is deprecated: use tls_delivery/,
  ],
  ['an unstable key', {feature: {db_branches: [branch]}}, /db_branches is unstable/],
  ['a large file buffer', {feature: {fs: {readonly_file_buffer: 2e6}}}, /slows reads down/],
  [
    'a capability that is none of the agent’s',
    {agent: {disabled_capabilities: ['NET_ADMIN', 'SYS_ADMN']}},
    /disabled_capabilities.1 is "SYS_ADMN", which the agent never asks for/,
  ],
  [
    'settings of an agent under an operator',
    {operator: true, agent: {ttl: 5}},
    /^agent has no effect/,
  ],
];

for (const [title, config, found] of errors) {
  test(`error: ${title}`, (t) => {
    const {errors: told} = judge(t, config);
    t.is(told.length, 1, told.join('\n'));
    t.regex(told[0] ?? '', found);
  });
}

for (const [title, config, found] of warnings) {
  test(`warning: ${title}`, (t) => {
    const {errors: wrong, warnings: told} = judge(t, config);
    t.deepEqual(wrong, []);
    t.true(
      told.some((warning) => found.test(warning)),
      told.join('\n'),
    );
  });
}

test('an IDE may choose the target later: stealing without one is fine', (t) => {
  t.deepEqual(judge(t, {feature: {network: {incoming: 'steal'}}}, true).errors, []);
  t.is(
    judge(t, {target: 'targetless', feature: {network: {incoming: 'steal'}}}, true).errors.length,
    1,
  );
});

test('names of capabilities are taken as Linux and Kubernetes spell them, and those that mirrord once had', (t) => {
  const names = ['NET_ADMIN', 'CAP_SYS_PTRACE', 'sys_admin', 'cap_net_raw'];
  t.deepEqual(judge(t, {agent: {disabled_capabilities: names}}), {errors: [], warnings: []});
});

test('metrics are at an address of either family', (t) => {
  for (const metrics of ['0.0.0.0:9000', '127.0.0.1:1', '[::]:65535', '[fd00::1]:9000']) {
    t.deepEqual(judge(t, {agent: {metrics}}), {errors: [], warnings: []}, metrics);
  }
});

test('a configuration as people write it has neither errors nor warnings', (t) => {
  const config = {
    target: {path: 'deployment/shop/container/app', namespace: 'prod'},
    agent: {namespace: 'mirrord', log_level: 'debug', tolerations: []},
    feature: {
      env: {include: 'A;B_*', override: {C: 'd'}, mapping: {'(?i)^X_(?P<n>.*)$': 'y'}},
      fs: {mode: 'localwithoverrides', read_only: ['^/etc/app'], mapping: {'^/a/(.*)': '/b/$1'}},
      network: {
        incoming: {mode: 'steal', http_filter: {header_filter: '^x-user: me$', ports: 80}},
        outgoing: {filter: {local: ['tcp://*'.replace('*', '10.0.0.0/8'), ':5432', 'db.local']}},
        dns: {filter: {local: 'db.local'}},
      },
    },
  };
  t.deepEqual(judge(t, config), {errors: [], warnings: []});
});
