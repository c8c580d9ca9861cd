import {chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import test, {type ExecutionContext} from 'ava';
import {stringify} from 'yaml';
import {
  hasKubeconfig,
  type KubeconfigOptions,
  loadKubeconfig,
} from '../../../cli/kube/kubeconfig.ts';

interface Entry {
  server?: string;
  cluster?: object;
  user?: object;
  namespace?: string;
}

/** A kubeconfig of contexts that each have a cluster and a user of their own name. */
function kubeconfig(entries: Record<string, Entry>, current?: string): string {
  const all = Object.entries(entries);
  return stringify({
    apiVersion: 'v1',
    kind: 'Config',
    clusters: all.map(([name, {server, cluster}]) => ({
      name,
      cluster: {server: server ?? `https://${name}.test:6443`, ...cluster},
    })),
    users: all.map(([name, {user}]) => ({
      name,
      user: user ?? {token: `token-of-${name}`},
    })),
    contexts: all.map(([name, {namespace}]) => ({
      name,
      context: {cluster: name, user: name, namespace},
    })),
    ...(current !== undefined && {'current-context': current}),
  });
}

function directory(t: ExecutionContext): string {
  const path = mkdtempSync(join(tmpdir(), 'mirrord-kubeconfig-'));
  t.teardown(() => rmSync(path, {recursive: true}));
  return path;
}

function write(path: string, text: string): string {
  writeFileSync(path, text);
  return path;
}

async function headersOf(options: KubeconfigOptions): Promise<Record<string, string>> {
  const {config} = await loadKubeconfig(options);
  const request: {headers?: Record<string, string>} = {};
  await config.applyToHTTPSOptions(request);
  return request.headers ?? {};
}

test('KUBECONFIG is a list, of which the first file that has something wins, and missing files are none', async (t) => {
  const at = directory(t);
  const a = write(join(at, 'a'), kubeconfig({one: {}}));
  const b = write(join(at, 'b'), kubeconfig({two: {}, one: {server: 'https://no.test'}}, 'two'));
  const c = write(join(at, 'c'), kubeconfig({}, 'one'));
  const env = {KUBECONFIG: `${at}/missing:${a}::${b}:${c}`};
  t.like(await loadKubeconfig({env}), {context: 'two', server: 'https://two.test:6443'});
  t.like(await loadKubeconfig({env, context: 'one'}), {server: 'https://one.test:6443'});
});

test('without KUBECONFIG it is ~/.kube/config; the key kubeconfig wins, with ~ and variables', async (t) => {
  const at = directory(t);
  const file = write(join(at, 'mine'), kubeconfig({one: {namespace: 'shop'}}, 'one'));
  t.false(hasKubeconfig({env: {HOME: at}}));
  t.true(hasKubeconfig({env: {KUBECONFIG: file}}));
  const none = await t.throwsAsync(loadKubeconfig({env: {HOME: at}}));
  t.like(none, {code: 'MIRRORD_KUBECONFIG_NOT_FOUND'});
  const env = {HOME: at, NAME: 'mine', KUBECONFIG: '/nowhere'};
  const found = await loadKubeconfig({kubeconfig: '~/none:~/$NAME', env});
  t.like(found, {context: 'one', namespace: 'shop'});
});

test('a context that is not there is an error that names those that are', async (t) => {
  const file = write(join(directory(t), 'k'), kubeconfig({one: {}, two: {}}));
  const wrong = await t.throwsAsync(loadKubeconfig({kubeconfig: file, context: 'three', env: {}}));
  t.like(wrong, {code: 'MIRRORD_KUBECONFIG_INVALID'});
  t.regex(wrong?.message ?? '', /no context "three"; its contexts: one, two/);
  const unset = await t.throwsAsync(loadKubeconfig({kubeconfig: file, env: {}}));
  t.regex(unset?.message ?? '', /no current context/);
});

test('what is no kubeconfig is refused with its name', async (t) => {
  const file = write(join(directory(t), 'broken'), 'a: [');
  const error = await t.throwsAsync(loadKubeconfig({kubeconfig: file, env: {}}));
  t.like(error, {code: 'MIRRORD_KUBECONFIG_INVALID'});
  t.regex(error?.message ?? '', /broken can't be read/);
});

test('a token file wins over a token, relative to its kubeconfig', async (t) => {
  const at = directory(t);
  write(join(at, 'token'), 'from-the-file');
  const user = {token: 'stale', tokenFile: 'token'};
  const file = write(join(at, 'k'), kubeconfig({one: {user}}, 'one'));
  t.like(await headersOf({kubeconfig: file, env: {}}), {Authorization: 'Bearer from-the-file'});
});

test('an exec plugin is found beside its kubeconfig, and is told what it is for', async (t) => {
  const at = directory(t);
  const script = `#!/bin/sh
echo "{\\"apiVersion\\":\\"client.authentication.k8s.io/v1\\",\\"kind\\":\\"ExecCredential\\",\\"status\\":{\\"token\\":\\"$(echo "$KUBERNETES_EXEC_INFO" | cksum | cut -d' ' -f1)$1\\"}}"
echo "$KUBERNETES_EXEC_INFO" > ${at}/info`;
  chmodSync(write(join(at, 'plugin'), script), 0o755);
  const exec = {
    apiVersion: 'client.authentication.k8s.io/v1',
    command: './plugin',
    args: ['-x'],
    provideClusterInfo: true,
    interactiveMode: 'Never',
  };
  const file = write(join(at, 'k'), kubeconfig({one: {user: {exec}}}, 'one'));
  const {Authorization = ''} = await headersOf({kubeconfig: file, env: {}});
  t.regex(Authorization, /^Bearer \d+-x$/);
  t.like(JSON.parse(readFileSync(join(at, 'info'), 'utf8')), {
    kind: 'ExecCredential',
    spec: {interactive: false, cluster: {server: 'https://one.test:6443'}},
  });
});

test('groups and uid are impersonated besides the user', async (t) => {
  const user = {token: 't', as: 'ada', 'as-groups': ['dev', 'ops'], 'as-uid': '7'};
  const file = write(join(directory(t), 'k'), kubeconfig({one: {user}}, 'one'));
  const options = {kubeconfig: file, env: {}};
  t.deepEqual((await loadKubeconfig(options)).headers, {
    'Impersonate-Group': ['dev', 'ops'],
    'Impersonate-Uid': '7',
  });
  t.like(await headersOf(options), {'Impersonate-User': 'ada'});
});

test("a kubeconfig's own proxy wins over the environment's, which use_proxy: false leaves out", async (t) => {
  const cluster = {'proxy-url': 'socks5://own:1080'};
  const file = write(join(directory(t), 'k'), kubeconfig({one: {cluster}, two: {}}));
  const env = {HTTPS_PROXY: 'http://env:3128'};
  const proxy = async (options: KubeconfigOptions) =>
    (await loadKubeconfig({kubeconfig: file, env, ...options})).proxy;
  t.is(await proxy({context: 'one'}), 'socks5://own:1080');
  t.is(await proxy({context: 'two'}), 'http://env:3128');
  t.is(await proxy({context: 'two', useProxy: false}), undefined);
  t.is(await proxy({context: 'one', useProxy: false}), 'socks5://own:1080');
});
