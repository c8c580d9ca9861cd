import ava, {type ExecutionContext} from 'ava';
import {clusterTest, useCluster} from '../helpers/cluster.ts';
import {useClusterWorld} from '../helpers/cluster-world.ts';
import {finish, type Running, waitFor} from '../helpers/e2e.ts';
import {allProcesses, type ProcessEntry, signal} from '../helpers/processes.ts';
import {askFromPod, serveInPod, serving} from './h2c.ts';
import {processesOf} from './node/cgroups.ts';
import {clusterName} from './node/place.ts';

const test = clusterTest(ava);
const cluster = useCluster(test);
const world = useClusterWorld(test, cluster);

const kinds = [
  ['a Job', []],
  ['an ephemeral container', ['--ephemeral-container']],
] as const;

/** Asks the gateway by its Service, from a pod of another workload. */
async function ask(who = 'nobody'): Promise<string> {
  const headers = JSON.stringify({connection: 'close', 'x-who': who});
  const script =
    `fetch('http://gateway/asked', {signal: AbortSignal.timeout(5000), headers: ${headers}})` +
    '.then((response) => response.text()).then(console.log, (error) => console.log(String(error)))';
  return await cluster.kubectl([
    '-n',
    'demo',
    'exec',
    'deployment/orders',
    '--',
    'node',
    '-e',
    script,
  ]);
}

async function addressesOf(app: string): Promise<string[]> {
  const {items} = await cluster.get('-n', 'demo', 'pods', '-l', `app=${app}`);
  return items.flatMap(({status}: {status: {podIPs: {ip: string}[]}}) =>
    status.podIPs.map(({ip}) => ip),
  );
}

/** What the agent at the gateway says that came last. */
async function agentLog(isJob: boolean): Promise<string> {
  if (isJob) return await cluster.kubectl(['-n', 'demo', 'logs', '-l', 'app=mirrord']);
  const {items} = await cluster.get('-n', 'demo', 'pods', '-l', 'app=gateway');
  const [{metadata, spec}] = items as [
    {metadata: {name: string}; spec: {ephemeralContainers: {name: string}[]}},
  ];
  const container = spec.ephemeralContainers.at(-1)?.name ?? '';
  return await cluster.kubectl(['-n', 'demo', 'logs', metadata.name, '-c', container]);
}

/** Where the checkout is, is known once the world is open. */
const server = (): string[] => ['python3', world.program('incoming.py'), '80', '::'];

for (const [kind, more] of kinds) {
  const options = {target: 'deployment/gateway', flags: ['-n', 'demo', ...more]};

  test.serial(`by ${kind}: a Service's request is stolen, from its true client`, async (t) => {
    const env = {MIRRORD_AGENT_TCP_STEAL_TRAFFIC: 'true'};
    const running = world.startExec(server(), {...options, env});
    t.teardown(() => running.child.kill('SIGTERM'));
    await running.said(/listening\n/);
    const answer = await waitFor('the program to answer', async () => {
      const said = await ask();
      return said.startsWith('local') && said;
    });
    const [, client = '', own = ''] =
      /^local (?:::ffff:)?(\S+) \d+ at (?:::ffff:)?(\S+) 80 /.exec(answer) ?? [];
    t.true((await addressesOf('orders')).includes(client), `${client} asks`);
    t.true((await addressesOf('gateway')).includes(own), `${own} is asked`);
    running.child.stdin?.end();
    const {status, stderr} = await running.ended;
    t.is(status, 0, stderr);
    t.regex(stderr, /port 80 is stolen with the kubelet's probes.*readiness.*GET \/healthz/);
    await waitFor('the application to answer', async () =>
      (await ask()).includes('"path":"/asked"'),
    );
  });

  test.serial(`by ${kind}: a Service's request is mirrored`, async (t) => {
    const running = world.startExec(server(), options);
    t.teardown(() => running.child.kill('SIGTERM'));
    await running.said(/listening\n/);
    await waitFor('the program to get a copy', async () => {
      t.true((await ask()).includes('"path":"/asked"'), 'the application answers');
      return running.output.stdout.includes('got GET /asked');
    });
    t.regex(await agentLog(kind === 'a Job'), /subscribed port=80 mode=mirror by=capture/);
    running.child.stdin?.end();
    const {status, stderr} = await running.ended;
    t.is(status, 0, stderr);
    t.notRegex(stderr, /probe/, 'the application answers them');
  });
}

/** A program that answers by a name, and steals what is for it. */
function startNamed(name: string, flags: readonly string[]): Running {
  const script = `
import http.server, socket, sys, threading
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = b"program ${name}\\n"
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args): pass
class Server(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6
server = Server(("::", 80), Handler)
print("listening", flush=True)
threading.Thread(target=server.serve_forever, daemon=True).start()
sys.stdin.read()
`;
  return world.startExec(['python3', '-c', script], {
    target: 'deployment/gateway',
    flags: ['-n', 'demo', ...flags],
    env: {
      MIRRORD_AGENT_TCP_STEAL_TRAFFIC: 'true',
      MIRRORD_HTTP_HEADER_FILTER: `^x-who: ${name}$`,
    },
  });
}

/** Who answers a request for each. */
async function answerers(...names: string[]): Promise<string[]> {
  return await Promise.all(
    names.map(async (name) => {
      const [, program] = /^program (\w+)/.exec(await ask(name)) ?? [];
      return program ?? 'application';
    }),
  );
}

async function started(t: ExecutionContext, name: string, flags: readonly string[]) {
  const running = startNamed(name, flags);
  t.teardown(() => running.child.kill('SIGTERM'));
  await running.said(/listening\n/);
  await waitFor(`${name} to answer`, async () => (await answerers(name))[0] === name);
  return running;
}

/** This cluster's: another one may run besides. */
function nodeProcesses(): ProcessEntry[] {
  const pids = new Set(processesOf(clusterName()));
  return allProcesses().filter(({pid}) => pids.has(pid));
}

/** Processes of agents at their targets. */
function agents(): number[] {
  return nodeProcesses()
    .filter(({command}) => /node .*agent\/main\.ts .*--listen4-fd/.test(command))
    .filter(({command}) => !command.startsWith('launcher ')) // the first process of its container
    .map(({pid}) => pid);
}

/** Of containers of agents. */
function firstProcesses(): number[] {
  return nodeProcesses()
    .filter(({command}) => command.startsWith('launcher enter ') && command.includes(' --first '))
    .map(({pid}) => pid);
}

for (const [[one, oneFlags], [other, otherFlags]] of [
  [kinds[0], kinds[0]],
  [kinds[1], kinds[1]],
  [kinds[0], kinds[1]],
] as const) {
  test.serial(
    `by ${one} and by ${other}: each of two sessions gets its own, and goes on without the other`,
    async (t) => {
      const first = await started(t, 'first', oneFlags);
      const second = await started(t, 'second', otherFlags);
      t.deepEqual(await answerers('first', 'second', 'nobody'), ['first', 'second', 'application']);
      t.notRegex(await finish(first), /can't share|comes here/);
      t.deepEqual(await answerers('second'), ['second'], 'no request is lost to it');
      t.deepEqual(await answerers('first', 'nobody'), ['application', 'application']);
      t.notRegex(await finish(second), /can't share|comes here/);
      await waitFor('the application to answer', async () =>
        (await answerers('second')).includes('application'),
      );
    },
  );
}

/** A client in another pod with half a request under way; `finish` says the rest, and returns the answer. */
async function asking(t: ExecutionContext): Promise<{finish(): Promise<string>}> {
  const script =
    "const s = require('net').connect(80, 'gateway', () => console.log('connected'));" +
    'process.stdin.pipe(s); s.pipe(process.stdout);';
  const argv = ['-n', 'demo', 'exec', '-i', 'deployment/orders', '--', 'node', '-e', script];
  const child = cluster.start(['kubectl', ...argv]);
  t.teardown(() => child.kill('SIGKILL'));
  const {stdin, stdout} = child;
  let heard = '';
  stdout?.setEncoding('utf8').on('data', (text: string) => (heard += text));
  await waitFor('a connection', () => heard.includes('connected'));
  stdin?.write('POST /slow HTTP/1.1\r\nHost: x\r\nContent-Length: 13\r\n\r\nfirst\n');
  return {
    async finish() {
      stdin?.write('second\n');
      return await waitFor('the answer', () => heard.includes('"path":"/slow"') && heard);
    },
  };
}

async function jobsAndPods(): Promise<number> {
  return (await cluster.get('-n', 'demo', 'jobs,pods', '-l', 'app=mirrord')).items.length;
}

for (const [kind, flags] of kinds) {
  test.serial(
    `by ${kind}: what passes through it goes on when its session ends, and then nothing is left`,
    async (t) => {
      const before = agents();
      const first = await started(t, 'first', flags);
      const [agent = 0] = agents().filter((pid) => !before.includes(pid));
      const other = await asking(t);
      await finish(first);
      t.deepEqual(await answerers('first'), ['application']);
      const second = await started(t, 'second', flags);
      await finish(second);
      t.true(agents().includes(agent), 'it still has something to pass on');
      t.regex(await other.finish(), /^connected\nHTTP\/1.1 200 OK\r\n.*Connection: close/s);
      await waitFor('the agent to end', () => !agents().includes(agent));
      await waitFor('its Job to go', async () => (await jobsAndPods()) === 0);
    },
  );
}

test.serial('a Job that is deleted has its agent pass on what it has', async (t) => {
  const first = await started(t, 'first', []);
  const other = await asking(t);
  await cluster.kubectl(['-n', 'demo', 'delete', 'job', '-l', 'app=mirrord', '--wait=false']);
  t.not((await first.ended).status, 0);
  t.deepEqual(await answerers('first'), ['application']);
  t.regex(await other.finish(), /HTTP\/1.1 200 OK\r\n/);
  await waitFor('its pod to go', async () => (await jobsAndPods()) === 0);
});

for (const [kind, flags] of kinds) {
  test.serial(
    `by ${kind}: what passes through an agent that is killed goes on, and mirrord says that it is gone`,
    async (t) => {
      const before = agents();
      const others = firstProcesses().length;
      const first = await started(t, 'first', flags);
      const [agent] = agents().filter((pid) => !before.includes(pid));
      const other = await asking(t);
      signal({pid: agent}, 'SIGKILL');
      const {status, stderr} = await first.ended;
      t.not(status, 0);
      t.regex(stderr, /MIRRORD_AGENT_GONE/);
      t.deepEqual(await answerers('first'), ['application']);
      t.is(firstProcesses().length, others + 1, 'its container runs for what passes through it');
      t.regex(await other.finish(), /^connected\nHTTP\/1.1 200 OK\r\n/);
      await waitFor('its container to end', () => firstProcesses().length === others);
      await waitFor('its Job to go', async () => (await jobsAndPods()) === 0);
    },
  );
}

for (const [kind, flags] of kinds) {
  test.serial(
    `by ${kind}: a connection of HTTP/2 of which some requests are the program’s goes on when the agent is killed`,
    async (t) => {
      await serveInPod(t, cluster);
      const before = agents();
      const running = world.startExec([process.execPath, '-e', serving('first')], {
        target: 'pod/h2c',
        flags: ['-n', 'demo', ...flags],
        env: {
          MIRRORD_AGENT_TCP_STEAL_TRAFFIC: 'true',
          MIRRORD_HTTP_HEADER_FILTER: '^x-who: first$',
        },
      });
      t.teardown(() => running.child.kill('SIGTERM'));
      await running.said(/listening\n/);
      const client = await askFromPod(t, cluster, 'first');
      const [agent] = agents().filter((pid) => !before.includes(pid));
      signal({pid: agent}, 'SIGKILL');
      t.not((await running.ended).status, 0);
      const {seen, long} = await client.finish();
      const [others, own, othersSince, ownSince] = seen;
      t.is(long, 'one two application');
      t.deepEqual([others, othersSince, ownSince], Array(3).fill(['application']));
      t.true(own?.includes('first'));
      t.deepEqual(
        own?.filter((by) => !/^(first|application|ERR_HTTP2_STREAM_ERROR)$/.test(by)),
        [],
      );
      await waitFor('its Job to go', async () => (await jobsAndPods()) === 0);
    },
  );
}

test.serial('kill -9 of the agent that leads: the other session goes on', async (t) => {
  const before = agents();
  const first = await started(t, 'first', []);
  const leaders = agents().filter((pid) => !before.includes(pid));
  const second = await started(t, 'second', []);
  for (const pid of leaders) process.kill(pid, 'SIGKILL');
  t.is(leaders.length, 1);
  await waitFor('the second to answer', async () => (await answerers('second'))[0] === 'second');
  t.deepEqual(await answerers('nobody'), ['application']);
  t.not((await first.ended).status, 0);
  await finish(second);
});
