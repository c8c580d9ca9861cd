import {type ChildProcess, spawn} from 'node:child_process';
import {createHash, randomBytes} from 'node:crypto';
import {once} from 'node:events';
import {chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync} from 'node:fs';
import {type AddressInfo, connect, type Server, type Socket} from 'node:net';
import {tmpdir} from 'node:os';
import {dirname, join} from 'node:path';
import tls from 'node:tls';
import ava, {type ExecutionContext} from 'ava';
import {type KubeClient, type KubeClientOptions, loadKubeClient} from '../../cli/kube/client.ts';
import {apiPath, resources} from '../../cli/kube/path.ts';
import {openPortForward} from '../../cli/kube/port-forward.ts';
import {clusterTest, useCluster} from '../helpers/cluster.ts';
import {waitFor} from '../helpers/e2e.ts';
import {type KubeconfigFile, useNamespace} from '../helpers/kube.ts';
import {freePort, isListening} from '../helpers/ports.ts';
import {signal} from '../helpers/processes.ts';

const test = clusterTest(ava);
const cluster = useCluster(test);
const namespace = useNamespace(test, cluster, 'transport');
const directory = mkdtempSync(join(tmpdir(), 'mirrord-transport-'));
/** A user who may read pods and reach their ports, in the namespace of the demo. */
let user: KubeconfigFile;
let count = 0;

test.serial.before('a user has rights', async () => {
  user = await namespace.userConfig('visitor');
  const rules = [
    {apiGroups: [''], resources: ['pods', 'configmaps'], verbs: ['get', 'list', 'watch', 'create']},
    {apiGroups: [''], resources: ['pods/portforward'], verbs: ['get', 'create']},
  ];
  const name = `transport-${namespace.name}`;
  const of = (kind: string, more: object) => ({
    apiVersion: 'rbac.authorization.k8s.io/v1',
    kind,
    metadata: {name, namespace: 'demo'},
    ...more,
  });
  await cluster.apply(of('Role', {rules}));
  await cluster.apply(
    of('RoleBinding', {
      roleRef: {apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name},
      subjects: [{kind: 'ServiceAccount', name: 'visitor', namespace: namespace.name}],
    }),
  );
});

test.serial.after.always(async () => {
  rmSync(directory, {recursive: true});
  const name = `transport-${namespace.name}`;
  await cluster.kubectl(['-n', 'demo', 'delete', `role/${name}`, `rolebinding/${name}`]);
});

function write(name: string, text: string, mode = 0o600): string {
  const path = join(directory, name);
  writeFileSync(path, text);
  chmodSync(path, mode);
  return path;
}

/** Writes a kubeconfig after `change`. */
function kubeconfig(change: (config: KubeconfigFile) => void = () => undefined): string {
  const config = structuredClone(user);
  change(config);
  count += 1;
  return write(`config-${count}`, JSON.stringify(config));
}

async function client(
  t: ExecutionContext,
  config: string,
  options: KubeClientOptions = {},
): Promise<KubeClient> {
  const opened = await loadKubeClient({kubeconfig: config, env: {}, ...options});
  t.teardown(() => opened[Symbol.dispose]());
  return opened;
}

const pods = apiPath(resources.pods, {namespace: 'demo'});

/** Lists, and talks to a port of a pod: both ways of using the API server. */
async function works(t: ExecutionContext, opened: KubeClient): Promise<void> {
  const names = (await opened.list<{metadata: {name: string}}>(pods)).map(
    (pod) => pod.metadata.name,
  );
  t.true(names.includes('ledger'));
  await using stream = await openPortForward(opened, {namespace: 'demo', pod: 'ledger', port: 7});
  stream.write('hello');
  t.is(String((await once(stream, 'data'))[0]), 'hello');
}

function ignoreForbidden(error: unknown): undefined {
  if ((error as {status?: number}).status !== 403) throw error;
}

function credentials(config: KubeconfigFile, value: Record<string, unknown>): void {
  config.users = [{name: 'visitor', user: value}];
}

function setCluster(config: KubeconfigFile, more: Record<string, unknown>): void {
  for (const one of config.clusters) Object.assign(one.cluster, more);
}

const token = (): string => String(user.users[0]?.user['token']);

test.serial('a token', async (t) => {
  await works(t, await client(t, kubeconfig()));
});

test.serial('a client certificate, as data and as files beside the kubeconfig', async (t) => {
  const admin = await cluster.kubeconfig();
  await works(t, await client(t, admin));
  const raw = await cluster.kubectl(['config', 'view', '--raw', '-o', 'json']);
  const given = (JSON.parse(raw) as KubeconfigFile).users[0]?.user ?? {};
  const file = (key: string, name: string) =>
    write(name, String(Buffer.from(String(given[key]), 'base64')));
  file('client-certificate-data', 'admin.crt');
  file('client-key-data', 'admin.key');
  const files = {'client-certificate': 'admin.crt', 'client-key': 'admin.key'};
  await works(
    t,
    await client(
      t,
      kubeconfig((config) => credentials(config, files)),
    ),
  );
});

test.serial('a token file, which is read again when its token is refused', async (t) => {
  const path = write('token', 'stale');
  const opened = await client(
    t,
    kubeconfig((config) => credentials(config, {tokenFile: 'token'})),
  );
  const refused = await t.throwsAsync(opened.list(pods));
  t.like(refused, {code: 'MIRRORD_KUBE_UNAUTHORIZED'});
  writeFileSync(path, `${token()}\n`);
  await works(t, opened);
});

test.serial('an exec plugin, which is asked again when its token is refused', async (t) => {
  const credential = (value: string) =>
    JSON.stringify({
      apiVersion: 'client.authentication.k8s.io/v1',
      kind: 'ExecCredential',
      status: {token: value},
    });
  const answer = write('answer', credential('stale'));
  write('plugin', `#!/bin/sh\necho x >> ${directory}/calls\ncat ${answer}`, 0o755);
  const exec = {
    apiVersion: 'client.authentication.k8s.io/v1',
    command: './plugin',
    interactiveMode: 'Never',
  };
  const opened = await client(
    t,
    kubeconfig((config) => credentials(config, {exec})),
  );
  t.like(await t.throwsAsync(opened.list(pods)), {code: 'MIRRORD_KUBE_UNAUTHORIZED'});
  writeFileSync(answer, credential(token()));
  await works(t, opened);
  const calls = readFileSync(join(directory, 'calls'), 'utf8');
  await works(t, opened);
  t.is(readFileSync(join(directory, 'calls'), 'utf8'), calls);
});

test.serial('an exec plugin that fails, or is missing, is quoted', async (t) => {
  const exec = (command: string, more = {}) => ({
    exec: {
      apiVersion: 'client.authentication.k8s.io/v1',
      command,
      interactiveMode: 'Never',
      ...more,
    },
  });
  write('failing', '#!/bin/sh\necho "log in first: cloud login" >&2; exit 1', 0o755);
  const failing = await client(
    t,
    kubeconfig((config) => credentials(config, exec('./failing'))),
  );
  const failed = await t.throwsAsync(failing.list(pods));
  t.like(failed, {code: 'MIRRORD_KUBE_CREDENTIALS'});
  t.regex(failed?.message ?? '', /failing failed: log in first: cloud login/);
  const hint = {installHint: 'get it from the cloud'};
  const absent = await client(
    t,
    kubeconfig((config) => credentials(config, exec('no-such', hint))),
  );
  t.like(await t.throwsAsync(absent.list(pods)), {
    code: 'MIRRORD_KUBE_CREDENTIALS',
    hint: 'get it from the cloud',
  });
});

test.serial('a list of kubeconfigs: the cluster in one, the user in the next', async (t) => {
  const first = kubeconfig((config) => {
    config.users = [];
  });
  const second = kubeconfig((config) => {
    config.clusters = [];
    config.contexts = [];
  });
  const env = {KUBECONFIG: `${first}:${directory}/missing:${second}`};
  const opened = await loadKubeClient({env});
  t.teardown(() => opened[Symbol.dispose]());
  t.is(opened.namespace, namespace.name);
  await works(t, opened);
});

test.serial(
  'a server whose certificate nobody vouches for is trusted only if that is asked for',
  async (t) => {
    const config = kubeconfig(({clusters}) => {
      for (const {cluster: one} of clusters) delete one['certificate-authority-data'];
    });
    const error = await t.throwsAsync((await client(t, config)).list(pods));
    t.like(error, {code: 'MIRRORD_KUBE_CERTIFICATE'});
    await works(t, await client(t, config, {acceptInvalidCertificates: true}));
  },
);

test.serial('a missing right is told with the command that checks it', async (t) => {
  const opened = await client(t, kubeconfig());
  const error = await t.throwsAsync(opened.list(apiPath(resources.jobs, {namespace: 'demo'})));
  t.like(error, {code: 'MIRRORD_KUBE_FORBIDDEN'});
  t.regex((error as {hint?: string}).hint ?? '', /kubectl auth can-i list jobs\.batch -n demo$/);
  const port = {namespace: 'kube-system', pod: 'any', port: 1};
  const forward = await t.throwsAsync(openPortForward(opened, port));
  t.like(forward, {code: 'MIRRORD_KUBE_FORBIDDEN'});
});

test.serial('a server that is not there is told with its address, after the retries', async (t) => {
  const config = kubeconfig((one) => setCluster(one, {server: 'https://127.0.0.1:1'}));
  const retry = {minMs: 1, maxMs: 1, maxRetries: 1};
  const error = await t.throwsAsync((await client(t, config, {retry})).list(pods));
  t.like(error, {code: 'MIRRORD_KUBE_UNREACHABLE'});
  t.regex(error?.message ?? '', /https:\/\/127\.0\.0\.1:1 can't be reached to list pods/);
});

function portOf(server: Server): number {
  return (server.address() as AddressInfo).port;
}

/** Runs a proxy until the test ends. */
async function runProxy(
  t: ExecutionContext,
  command: (port: number) => string[],
): Promise<{port: number; child: ChildProcess}> {
  const port = await freePort();
  const [file = '', ...args] = command(port);
  const child = spawn(file, args, {stdio: 'ignore'});
  t.teardown(() => child.kill('SIGKILL'));
  await waitFor(`${file}`, () => isListening(port));
  return {port, child};
}

async function tinyproxy(t: ExecutionContext) {
  return await runProxy(t, (port) => {
    const lines = [`Port ${port}`, 'Listen 127.0.0.1', 'Timeout 600', 'BasicAuth ada secret'];
    return ['tinyproxy', '-d', '-c', write(`tinyproxy-${port}`, `${lines.join('\n')}\n`)];
  });
}

/** Works by the proxy, and no longer once it is gone: so it was by the proxy. */
async function worksBy(t: ExecutionContext, url: string, child: ChildProcess): Promise<void> {
  const config = kubeconfig((one) => setCluster(one, {'proxy-url': url}));
  const opened = await client(t, config);
  await works(t, opened);
  child.kill('SIGKILL');
  await once(child, 'exit');
  const error = await t.throwsAsync((await client(t, config)).list(pods));
  t.like(error, {code: 'MIRRORD_KUBE_UNREACHABLE'});
  t.true(error?.message.includes('by the proxy'));
  t.false(error?.message.includes('secret'));
}

test.serial('proxy-url: an HTTP proxy, with a password, which errors keep', async (t) => {
  const {port, child} = await tinyproxy(t);
  await worksBy(t, `http://ada:secret@127.0.0.1:${port}`, child);
});

test.serial(
  "proxy-url: an HTTPS proxy, whose certificate the cluster's authority vouches for",
  async (t) => {
    const {port, child} = await tinyproxy(t);
    const pki = join(dirname(await cluster.kubeconfig()), 'pki');
    const read = (name: string) => readFileSync(join(pki, name));
    const sockets = new Set<Socket>();
    const server = tls.createServer(
      {cert: read('apiserver.crt'), key: read('apiserver.key')},
      (outside) => {
        const inside = connect(port, '127.0.0.1');
        sockets.add(outside).add(inside);
        for (const socket of [outside, inside]) {
          socket.on('error', () => undefined);
          socket.on('close', () => {
            outside.destroy();
            inside.destroy();
          });
        }
        outside.pipe(inside).pipe(outside);
      },
    );
    server.listen(0, 'localhost');
    await once(server, 'listening');
    t.teardown(() => {
      for (const socket of sockets) socket.destroy();
      server.close();
    });
    await worksBy(t, `https://ada:secret@localhost:${portOf(server)}`, child);
  },
);

test.serial('proxy-url: a SOCKS5 proxy', async (t) => {
  const {port, child} = await runProxy(t, (wanted) => [
    'microsocks',
    '-i',
    '127.0.0.1',
    '-p',
    `${wanted}`,
  ]);
  await worksBy(t, `socks5://127.0.0.1:${port}`, child);
});

test.serial(
  'port-forward: bulk passes both ways, whole, and no faster than it is read',
  async (t) => {
    const opened = await client(t, kubeconfig());
    await using stream = await openPortForward(opened, {namespace: 'demo', pod: 'ledger', port: 7});
    const bytes = 32 * 1024 * 1024;
    const sent = randomBytes(bytes);
    const chunk = 100_000;
    let offset = 0;
    // Nobody reads: what the far end echoes comes to a halt, and so does what can be written.
    while (offset < bytes && stream.write(sent.subarray(offset, offset + chunk))) offset += chunk;
    offset += chunk;
    await new Promise((resolve) => setImmediate(resolve));
    t.true(stream.readableLength <= 2 * stream.readableHighWaterMark);
    const writing = (async () => {
      while (offset < bytes) {
        if (stream.writableNeedDrain) await once(stream, 'drain');
        stream.write(sent.subarray(offset, offset + chunk));
        offset += chunk;
      }
    })();
    const hash = createHash('sha256');
    let received = 0;
    for await (const data of stream.iterator({destroyOnReturn: false}) as AsyncIterable<Buffer>) {
      hash.update(data);
      received += data.length;
      if (received >= bytes) break;
    }
    await writing;
    t.is(received, bytes);
    t.is(hash.digest('hex'), createHash('sha256').update(sent).digest('hex'));
  },
);

test.serial(
  'port-forward: a port where nobody listens, and a pod that is not there, are errors',
  async (t) => {
    const opened = await client(t, kubeconfig());
    const failure = async (): Promise<Error> => {
      try {
        const stream = await openPortForward(opened, {namespace: 'demo', pod: 'ledger', port: 9});
        return (await once(stream, 'error').catch((error) => [error]))[0] as Error;
      } catch (error) {
        return error as Error;
      }
    };
    const refused = await failure();
    t.like(refused, {code: 'MIRRORD_PORT_FORWARD_FAILED'});
    t.regex(refused.message, /connection refused/);
    const gone = await t.throwsAsync(
      openPortForward(opened, {namespace: 'demo', pod: 'no-such', port: 7}),
    );
    t.like(gone, {code: 'MIRRORD_KUBE_NOT_FOUND'});
  },
);

test.serial(
  'the API server is killed: streams break, watches go on, requests and new streams wait for it',
  async (t) => {
    const retry = {minMs: 200, maxMs: 1_000, maxRetries: 100};
    const opened = await client(t, kubeconfig(), {retry});
    const stream = await openPortForward(opened, {namespace: 'demo', pod: 'ledger', port: 7});
    const broken = once(stream, 'error').catch((error: unknown) => [error]);
    const path = apiPath({api: 'v1', resource: 'configmaps'}, {namespace: 'demo'});
    const end = new AbortController();
    const seen: string[] = [];
    const watching = (async () => {
      const events = opened.watch<{metadata: {name: string}}>(path, {}, end.signal);
      for await (const {type, object} of events) seen.push(`${type} ${object.metadata.name}`);
    })();
    await waitFor('the watch', () => seen.includes('ADDED gateway'));
    const server = cluster.status().components.find(({name}) => name === 'kube-apiserver');
    signal(server, 'SIGKILL');
    t.like((await broken)[0], {code: 'MIRRORD_PORT_FORWARD_FAILED'});
    // One that has just started knows no role yet.
    await waitFor('the roles', () => opened.list(pods).catch(ignoreForbidden));
    await works(t, opened);
    const name = `made-${namespace.name}`;
    t.teardown(() => cluster.kubectl(['-n', 'demo', 'delete', 'configmap', name]));
    await opened.create(path, {apiVersion: 'v1', kind: 'ConfigMap', metadata: {name}});
    await waitFor('what was made', () => seen.includes(`ADDED ${name}`));
    t.is(seen.filter((event) => event === 'ADDED gateway').length, 1);
    end.abort();
    await t.throwsAsync(watching, {name: 'AbortError'});
  },
);
