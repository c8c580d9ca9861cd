import {readFileSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import ava from 'ava';
import {clusterTest, useCluster} from '../helpers/cluster.ts';
import {useClusterWorld} from '../helpers/cluster-world.ts';

const test = clusterTest(ava);
const cluster = useCluster(test);
const world = useClusterWorld(test, cluster);

const kinds = [
  ['a Job', []],
  ['an ephemeral container', ['--ephemeral-container']],
] as const;

for (const [kind, more] of kinds) {
  const flags = ['-n', 'demo', ...more];
  const target = 'deployment/gateway';

  test.serial(
    `by ${kind}: ConfigMap, Secret, downward API and token are read in the pod, whatever the mode`,
    async (t) => {
      const script = [
        'cat /app/config.json /etc/gateway/api-key',
        'readlink /etc/gateway/api-key',
        'cat /etc/podinfo/labels',
        'head -c 2 /var/run/secrets/kubernetes.io/serviceaccount/token',
      ].join('; ');
      for (const mode of [[], ['--fs-mode', 'localwithoverrides']]) {
        const seen = await world.exec(['sh', '-c', script], {target, flags: [...flags, ...mode]});
        t.regex(seen, /hello from the gateway/, 'subPath');
        t.regex(seen, /not-a-secret/);
        t.regex(seen, /\.\.data\/api-key/);
        t.regex(seen, /app="gateway"/);
        t.regex(seen, /ey$/);
      }
      const local = await world.exec(['cat', '/etc/os-release'], {target, flags});
      t.is(local, readFileSync('/etc/os-release', 'utf8'));
    },
  );

  test.serial(`by ${kind}: without auto_mount, what is mounted below /etc is local`, async (t) => {
    const config = join(world.temporary, 'no-auto-mount.json');
    writeFileSync(config, JSON.stringify({feature: {magic: {auto_mount: false}}}), {mode: 0o644});
    const {status} = await world.startExec(['ls', '/etc/gateway'], {
      target,
      flags: [...flags, '-f', config],
      input: '',
    }).ended;
    t.not(status, 0);
  });

  test.serial(
    `by ${kind}: a client library finds the pod's account, and is known by it`,
    async (t) => {
      const script = `
      import {CoreV1Api, KubeConfig} from '@kubernetes/client-node';
      const config = new KubeConfig();
      config.loadFromCluster();
      try {
        await config.makeApiClient(CoreV1Api).listNamespacedSecret({namespace: 'demo'});
      } catch (error) {
        console.log(error.code, JSON.parse(error.body).message);
      }`;
      const seen = await world.exec([world.nodePath, '--input-type=module', '-e', script], {
        target,
        flags,
        cwd: world.checkout,
      });
      t.regex(seen, /^403 .*system:serviceaccount:demo:/);
    },
  );

  test.serial(`by ${kind}: what is written to an emptyDir is there`, async (t) => {
    const path = `/var/log/gateway/${kind.replaceAll(' ', '-')}`;
    const written = [...flags, '--fs-mode', 'write'];
    await world.exec(['sh', '-c', `echo written > ${path}`], {target, flags: written});
    const read = [...flags, '--fs-mode', 'read'];
    t.is(await world.exec(['cat', path], {target, flags: read}), 'written\n');
    await world.exec(['rm', path], {target, flags: written});
  });

  test.serial(`by ${kind}: what is mounted into the container stays mounted`, async (t) => {
    const {stdout, stderr} = await world.startExec(
      ['sh', '-c', 'rm -f /app/config.json; rmdir /var/log/gateway; cat /app/config.json'],
      {target, flags: [...flags, '--fs-mode', 'write'], input: ''},
    ).ended;
    t.is(stderr.match(/busy/g)?.length, 2, stderr);
    t.regex(stdout, /hello from the gateway/);
  });

  test.serial(`by ${kind}: a container whose root is read-only says so`, async (t) => {
    const {status, stderr} = await world.startExec(['touch', '/app/x'], {
      target: 'deployment/orders',
      flags: [...flags, '--fs-mode', 'write'],
      input: '',
    }).ended;
    t.not(status, 0);
    t.regex(stderr, /Read-only file system/);
  });
}

test.serial(
  'a target of another user, whose pod specifies no variable, has its files',
  async (t) => {
    await cluster.apply({
      ...{apiVersion: 'v1', kind: 'Pod', metadata: {name: 'plain', namespace: 'demo'}},
      spec: {
        terminationGracePeriodSeconds: 1,
        securityContext: {runAsUser: 1234, runAsGroup: 1234, fsGroup: 5678},
        containers: [
          {
            ...{name: 'plain', image: 'mirrord.test/workload:1'},
            command: ['node', '-e', 'setInterval(() => {}, 1e6)'],
            volumeMounts: [{name: 'secret', mountPath: '/srv/secret'}],
          },
        ],
        volumes: [{name: 'secret', secret: {secretName: 'gateway', defaultMode: 0o400}}],
      },
    });
    await cluster.kubectl(['-n', 'demo', 'wait', '--for=condition=Ready', 'pod/plain']);
    const options = {target: 'pod/plain', flags: ['-n', 'demo']};
    t.is(await world.exec(['cat', '/srv/secret/api-key'], options), 'not-a-secret');
    await cluster.kubectl(['-n', 'demo', 'delete', 'pod', 'plain', '--wait=false']);
  },
);

test.serial("an agent beside the target doesn't show its own files as the target's", async (t) => {
  const config = join(world.temporary, 'beside.json');
  const agent = {disabled_capabilities: ['SYS_PTRACE', 'SYS_ADMIN', 'NET_ADMIN']};
  writeFileSync(config, JSON.stringify({agent}), {mode: 0o644});
  const {stdout, stderr} = await world.startExec(['sh', '-c', 'ls /app; mount; echo ran'], {
    target: 'deployment/gateway',
    flags: ['-n', 'demo', '-f', config],
    input: '',
  }).ended;
  t.regex(stdout, /ran\n$/);
  t.notRegex(stdout, /type fuse|config\.json/);
  t.regex(stderr, /files and incoming traffic do not/);
});

test.serial(
  "an agent that may not look at the target's files: all are local, which is said",
  async (t) => {
    const config = join(world.temporary, 'blind.json');
    const agent = {ephemeral: true, disabled_capabilities: ['SYS_PTRACE']};
    writeFileSync(config, JSON.stringify({agent}), {mode: 0o644});
    const {stdout, stderr} = await world.startExec(['sh', '-c', 'ls /app; hostname'], {
      // It runs as another user than such an agent.
      target: 'deployment/gateway',
      flags: ['-n', 'demo', '-f', config],
      input: '',
    }).ended;
    t.regex(stdout, /^gateway-/);
    t.regex(stderr, /all files are local: .*SYS_PTRACE.*--fs-mode local/);
  },
);

test.serial('`files explain` asks the cluster where volumes are mounted', async (t) => {
  const {status, stdout} = await world.mirrord([
    ...['files', 'explain', '-t', 'deployment/gateway', '-n', 'demo'],
    ...['/etc/gateway/api-key', '/etc/passwd'],
  ]);
  t.is(status, 0);
  t.is(
    stdout,
    `/etc/gateway/api-key
  read     in the target (feature.magic.auto_mount: ^/etc/gateway(?:/|$))
  written  on this machine (mirrord's local list: ^/etc(?:/|$))
/etc/passwd
  read     on this machine (mirrord's local list: ^/etc(?:/|$))
  written  on this machine (mirrord's local list: ^/etc(?:/|$))
`,
  );
});
