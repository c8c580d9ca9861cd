import {writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {fileURLToPath} from 'node:url';
import ava from 'ava';
import {parseAllDocuments, stringify} from 'yaml';
import type {RbacMode, Role} from '../../cli/kube/rbac.ts';
import {useAgentImage} from '../helpers/agent-image.ts';
import {clusterTest, useCluster} from '../helpers/cluster.ts';
import {idlePod, type KubeconfigFile, useNamespace} from '../helpers/kube.ts';
import {type Finished, ordinaryUser, runAsUser, userDirectory} from '../helpers/user.ts';

const test = clusterTest(ava);
const cluster = useCluster(test, {demo: false});
const image = useAgentImage(test, cluster);
const namespace = useNamespace(test, cluster, 'rbac');
const agents = useNamespace(test, cluster, 'rbac-agents');
const mirrord = fileURLToPath(new URL('../../bin/mirrord', import.meta.url));

/** Runs mirrord as an ordinary user with this kubeconfig. */
async function run(args: readonly string[], config?: KubeconfigFile): Promise<Finished> {
  using home = userDirectory();
  const kubeconfig = join(home.path, 'kubeconfig');
  const {uid, gid} = ordinaryUser();
  await cluster.giveKubeconfig(kubeconfig, uid, gid);
  if (config !== undefined) writeFileSync(kubeconfig, JSON.stringify(config));
  const env = {
    HOME: home.path,
    XDG_RUNTIME_DIR: home.path,
    KUBECONFIG: kubeconfig,
    MIRRORD_AGENT_IMAGE: image,
  };
  return await runAsUser([mirrord, ...args], {env, timeout: 100_000});
}

/** Runs `hostname` in the context of a target. */
async function hostname(flags: readonly string[], config: KubeconfigFile): Promise<Finished> {
  return await run(['exec', ...flags, '--', 'hostname'], config);
}

/** What `mirrord rbac` prints, for a service account. */
async function printed(
  mode: RbacMode,
  user: string,
  more: readonly string[] = [],
): Promise<Role[]> {
  const account = `system:serviceaccount:${namespace.name}:${user}`;
  const flags = ['--mode', mode, '-n', namespace.name, '--user', account, ...more];
  const {stdout} = await run(['rbac', ...flags]);
  return parseAllDocuments(stdout).map((document) => document.toJS() as Role);
}

async function apply(documents: readonly object[]): Promise<void> {
  await cluster.apply(documents.map((document) => stringify(document)).join('---\n'));
}

test.serial.before('there is a target', async () => {
  await namespace.apply({apiVersion: 'v1', kind: 'Pod', metadata: {name: 'idle'}, spec: idlePod()});
  await namespace.kubectl('wait', '--for=condition=Ready', 'pod/idle', '--timeout=60s');
});

const modes: [mode: RbacMode, flags: string[], hostname: RegExp][] = [
  ['job', ['-t', 'pod/idle'], /^idle\n$/],
  ['ephemeral', ['-t', 'pod/idle', '-e'], /^idle\n$/],
  ['targetless', ['-t', 'targetless'], /^mirrord-agent-/],
];

for (const [mode, flags, expected] of modes) {
  test.serial(
    `${mode}: the role that mirrord rbac prints is enough; without it nothing is`,
    async (t) => {
      t.timeout(200_000);
      const config = await namespace.userConfig(mode);
      const without = await hostname(flags, config);
      t.is(without.status, 1);
      t.regex(without.stderr, /MIRRORD_KUBE_FORBIDDEN/);
      t.regex(without.stderr, /kubectl auth can-i/);
      await apply(await printed(mode, mode));
      const {status, stdout, stderr} = await hostname(flags, config);
      t.is(status, 0, stderr);
      t.regex(stdout, expected);
      t.notRegex(stderr, /forbidden|can-i/i);
    },
  );

  test.serial(
    `${mode}: what it prints is the least: without any of the agent's rights it fails`,
    async (t) => {
      t.timeout(400_000);
      const user = `${mode}-less`;
      const config = await namespace.userConfig(user);
      const [role, binding] = await printed(mode, user);
      if (role === undefined || binding === undefined) throw new Error('nothing is printed');
      const name = `${mode}-less`;
      binding.metadata.name = name;
      Object.assign(binding, {roleRef: {...(binding as never as {roleRef: object}).roleRef, name}});
      // Of the agent's own rights; which kind of target is used is up to the person.
      const needed = role.rules.filter(
        ({resources}) =>
          resources.some((one) => /portforward|ephemeralcontainers/.test(one)) ||
          (resources.includes('jobs') && resources.length === 1),
      );
      t.is(needed.length, 2);
      for (const rule of needed) {
        const rules = role.rules.filter((one) => one !== rule);
        await apply([{...role, metadata: {...role.metadata, name}, rules}, binding]);
        const {status, stderr} = await hostname(flags, config);
        t.is(status, 1, `without ${rule.resources}`);
        t.regex(stderr, /MIRRORD_KUBE_FORBIDDEN/);
      }
    },
  );
}

test.serial('agents in a namespace of their own: the rights are divided', async (t) => {
  t.timeout(200_000);
  const config = await namespace.userConfig('divided');
  await apply(await printed('job', 'divided', ['-a', agents.name]));
  const flags = ['-t', 'pod/idle', '-a', agents.name];
  const {status, stdout, stderr} = await hostname(flags, config);
  t.is(status, 0, stderr);
  t.is(stdout, 'idle\n');
  const elsewhere = await hostname(['-t', 'pod/idle'], config);
  t.is(elsewhere.status, 1);
  t.regex(elsewhere.stderr, /jobs/);
});
