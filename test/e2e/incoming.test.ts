/** Incoming traffic on the embedded cluster: `demo/gateway`'s port 80, asked from another pod. */

import {setTimeout as delay} from 'node:timers/promises';
import test, {type ExecutionContext} from 'ava';
import {type ExecOptions, finish, type Running, useDemo, waitFor} from '../helpers/e2e.ts';
import {Gateway, gatewayAddress} from '../helpers/gateway.ts';
import {allProcesses, isRunning, type ProcessEntry, processEntry} from '../helpers/processes.ts';

const demo = useDemo(test);
const gateway = new Gateway(demo);

const steal = {MIRRORD_AGENT_TCP_STEAL_TRAFFIC: 'true'};

/** Asks the gateway from a pod; the body of the answer, or curl's exit status. */
async function ask(url = `http://${gatewayAddress}/asked`, from = 'orders-0'): Promise<string> {
  const {status, stdout} = await demo.inPod(await demo.pod(from), ['curl', '-s', '-m', '5', url]);
  return status === 0 ? stdout : `curl: ${status}`;
}

/** Starts a program in the gateway's place, and waits until connections come. */
async function start(
  t: ExecutionContext,
  argv: readonly string[],
  {port = 80, ...options}: ExecOptions & {port?: number} = {},
): Promise<Running> {
  const running = demo.startExec(argv, options);
  t.teardown(async () => {
    running.child.kill('SIGTERM');
    await running.ended.catch(() => undefined);
  });
  await running.said(/listening\n/);
  await waitFor('the port to be redirected, or captured', () => gateway.isTaken(port));
  return running;
}

const server = (addresses = '0.0.0.0', workers = 1): string[] => [
  'python3',
  demo.program('incoming.py'),
  '80',
  addresses,
  `${workers}`,
];

test.serial(
  'steal: the program answers, and sees the true client at the pod’s address',
  async (t) => {
    const running = await start(t, server(), {env: steal});
    const [, port] =
      /^local 10\.244\.0\.11 (\d+) at 10\.244\.0\.10 80 worker 0$/m.exec(await ask()) ?? [];
    t.true(Number(port) > 0);
    t.regex(
      running.output.stdout,
      new RegExp(`^got GET /asked HTTP/1.1 from 10.244.0.11 ${port} at`, 'm'),
    );
    t.notRegex(await finish(running), /traffic|not available/);
    t.regex(await ask(), /"pod":"gateway"/, 'afterwards the application answers');
    t.is(await gateway.rules(), '', 'no rule is left');
  },
);

test.serial('steal: by IPv6 likewise', async (t) => {
  const running = await start(t, server('::'), {env: steal});
  const {v6} = (await gateway.pod()).addresses;
  const client = (await gateway.client()).addresses.v6;
  t.regex(await ask(`http://[${v6}]/six`), new RegExp(`^local ${client} \\d+ at ${v6} 80 `));
  await finish(running);
});

test.serial(
  'mirror, the default: the application answers, and the program sees the same client',
  async (t) => {
    const running = await start(t, server());
    t.regex(await ask(), /"pod":"gateway"/);
    t.is(await gateway.rules(), '', 'nothing is redirected');
    await running.said(
      /^got GET \/asked HTTP\/1\.1 from 10\.244\.0\.11 \d+ at 10\.244\.0\.10 80$/m,
    );
    await finish(running);
    t.is(await gateway.captures(), 0);
  },
);

test.serial('off: nothing comes, and no rule is made', async (t) => {
  const running = demo.startExec(server(), {env: {MIRRORD_AGENT_TCP_STEAL_TRAFFIC: 'false'}});
  await running.said(/listening\n/);
  t.regex(await ask(), /"pod":"gateway"/);
  t.is(await gateway.rules(), '');
  await finish(running);
  t.notRegex(running.output.stdout, /got/);
});

for (const [bound, seen] of [
  ['127.0.0.1', '10.244.0.11 \\d+ at 127.0.0.1 80'],
  ['10.244.0.10', '10.244.0.11 \\d+ at 10.244.0.10 80'],
  ['::', '::ffff:10.244.0.11 \\d+ at ::ffff:10.244.0.10 80'],
  ['::1', '::1 \\d+ at ::1 80'],
] as const) {
  test.serial(`steal: a program that listens at ${bound} gets it`, async (t) => {
    const running = await start(t, server(bound), {env: steal});
    t.regex(await ask(), new RegExp(`^local ${seen} worker 0$`, 'm'));
    await finish(running);
  });
}

test.serial('steal: workers that share the port share the connections', async (t) => {
  const running = await start(t, server('0.0.0.0', 3), {env: steal});
  const workers = new Set<string>();
  await waitFor('two workers to answer', async () => {
    workers.add(/worker (\d)/.exec(await ask())?.[1] ?? '');
    return workers.size >= 2;
  });
  t.false(workers.has(''));
  await finish(running);
});

test.serial('steal: a caller on the pod’s own localhost is answered too', async (t) => {
  const running = await start(t, server(), {env: steal});
  t.regex(
    await ask('http://127.0.0.1/inside', 'gateway'),
    /^local 127\.0\.0\.1 \d+ at 127\.0\.0\.1 80 /,
  );
  t.regex(
    await ask(`http://${gatewayAddress}/inside`, 'gateway'),
    /^local 10\.244\.0\.10 \d+ at 10\.244\.0\.10 80 /,
  );
  await finish(running);
});

/** A client in another pod: says what comes, and passes its input on. Ends its side with its input. */
async function talk(): Promise<Running> {
  const script = `
import socket, sys, threading
s = socket.create_connection(("${gatewayAddress}", 80))
def read():
    try:
        while data := s.recv(65536):
            sys.stdout.write(data.decode()); sys.stdout.flush()
        print("end", flush=True)
    except OSError as error:
        print(type(error).__name__, flush=True)
t = threading.Thread(target=read); t.start()
print("connected", flush=True)
for line in sys.stdin.buffer:
    s.sendall(line)
s.shutdown(socket.SHUT_WR)
t.join()
`;
  return demo.start(demo.entering(await gateway.client(), ['python3', '-c', script]));
}

test.serial(
  'steal: bytes, half-closes and resets reach the other end; a server may speak first',
  async (t) => {
    const running = await start(t, ['python3', demo.program('listener.py'), '0.0.0.0', '80'], {
      env: steal,
    });
    const ended = await talk();
    await ended.said(/from 10\.244\.0\.11\n/);
    ended.child.stdin?.end('hello\n');
    const {stdout} = await ended.ended;
    t.is(stdout.replace('connected\n', ''), 'from 10.244.0.11\nhello\nbye\nend\n');
    const reset = await talk();
    await reset.said(/from/);
    reset.child.stdin?.write('!\n');
    await reset.said(/ConnectionResetError/);
    reset.child.kill('SIGKILL');
    const gone = await talk();
    await gone.said(/from/);
    gone.child.stdin?.write('unanswered\n');
    await gone.said(/unanswered/);
    gone.child.kill('SIGKILL'); // nothing is unread: its end is a FIN
    await finish(running);
  },
);

test.serial(
  'steal: the port is given back with the listener, and taken again with it',
  async (t) => {
    const running = await start(t, ['python3', demo.program('listener.py'), '0.0.0.0', '80'], {
      env: steal,
    });
    running.child.stdin?.write('close\n');
    await running.said(/closed\n/);
    await waitFor('the rules to go', async () => (await gateway.rules()) === '');
    t.regex(await ask(), /"pod":"gateway"/);
    running.child.stdin?.write('open\n');
    await waitFor('the port to be redirected', async () =>
      /80 timeout/.test(await gateway.rules()),
    );
    const again = await talk();
    await again.said(/from 10\.244\.0\.11\n/);
    again.child.kill('SIGKILL');
    await finish(running);
  },
);

test.serial('steal: connections that exist stay with the application', async (t) => {
  const early = await talk();
  await early.said(/connected/);
  const running = await start(t, server(), {env: steal});
  t.regex(await ask(), /^local/);
  early.child.stdin?.write('GET /early HTTP/1.1\r\nHost: x\r\n\r\n');
  await early.said(/"pod":"gateway".*"path":"\/early"/);
  await waitFor('it to be told of', () =>
    /1 connection to port 80 stood .* stays with the target .*flush_connections/.test(
      running.output.stderr,
    ),
  );
  early.child.kill('SIGKILL');
  await finish(running);
  t.pass();
});

test.serial('steal, flush_connections: connections that exist are reset', async (t) => {
  const early = await talk();
  await early.said(/connected/);
  const env = {...steal, MIRRORD_AGENT_STEALER_FLUSH_CONNECTIONS: 'true'};
  const running = await start(t, server(), {env});
  await early.said(/ConnectionResetError/);
  early.child.kill('SIGKILL');
  t.regex(await ask(), /^local/, 'the client that connects again');
  t.notRegex(await finish(running), /stood|not available/);
});

test.serial('a port of the program may stand for another of the target', async (t) => {
  const config = JSON.stringify({
    feature: {network: {incoming: {mode: 'steal', port_mapping: [[8080, 80]]}}},
  });
  const argv = ['python3', demo.program('incoming.py'), '8080', '0.0.0.0'];
  const file = `${demo.temporary}/mapping.json`;
  await demo.run(['sh', '-c', 'printf %s "$0" >"$1"', config, file]);
  const running = await start(t, argv, {flags: ['-f', file]});
  t.regex(await ask(), /^local 10\.244\.0\.11 \d+ at 10\.244\.0\.10 8080 /);
  await finish(running);
});

test.serial('a second session can not steal the same port, and says so', async (t) => {
  const running = await start(t, server(), {env: steal});
  const second = await demo.startExec(server(), {env: steal}).ended;
  t.not(second.status, 0);
  t.regex(second.stderr, /MIRRORD_PORT_TAKEN/);
  t.regex(await ask(), /^local/, 'the first has it still');
  await finish(running);
});

/** The agent of a session: its child beside the launcher. */
function agentPid({pid}: Running): number {
  const agents = allProcesses().filter(
    ({parent, command}) => parent === pid && command.includes('agent/main.ts'),
  );
  if (agents.length !== 1) throw new Error(`${agents.length} agents`);
  return agents[0]?.pid ?? 0;
}

/** How long it takes until the application answers, ms. */
async function untilAnswered(): Promise<number> {
  const startedAt = performance.now();
  await waitFor('the application to answer', async () => /"pod":"gateway"/.test(await ask()));
  return performance.now() - startedAt;
}

for (const [name, kill] of [
  ['mirrord', ({pid}: Running) => pid],
  ['the agent', agentPid],
] as const) {
  test.serial(
    `kill -9 of ${name}: the application is whole again, and what is left expires`,
    async (t) => {
      const running = await start(t, server(), {env: steal});
      t.regex(await ask(), /^local/);
      process.kill(kill(running), 'SIGKILL');
      t.log(`the application answers after ${Math.round(await untilAnswered())} ms`);
      await running.ended;
      await waitFor(
        'the redirect to be gone',
        async () => !/timeout/.test((await gateway.rules()).replace('flags timeout', '')),
      );
      const next = await start(t, server(), {env: steal});
      await finish(next);
      t.is(await gateway.rules(), '', 'the next agent has cleared away what was left');
    },
  );
}

for (const [name, end] of [
  ['ends', (running: Running) => running.child.stdin?.end()],
  ['is killed', ({pid}: Running) => process.kill(pid, 'SIGKILL')],
] as const) {
  test.serial(
    `when mirrord ${name}, a request of another client that passes through goes on, and then nothing is left`,
    async (t) => {
      const env = {...steal, MIRRORD_HTTP_HEADER_FILTER: '^x-who: me$'};
      const running = await start(t, server(), {env});
      const agent = processEntry(agentPid(running)) as ProcessEntry;
      const other = await talk();
      await other.said(/connected/);
      other.child.stdin?.write(
        'POST /slow HTTP/1.1\r\nHost: x\r\nContent-Length: 13\r\n\r\nfirst\n',
      );
      await waitFor('it to pass through the agent', async () => {
        const connections = await gateway.inTarget('cat', '/proc/self/net/tcp');
        // To the application from the agent, which has the pod's address: ESTABLISHED.
        return /: 0A00F40A:[0-9A-F]{4} 0A00F40A:0050 01 /.test(connections);
      });
      end(running);
      await running.ended;
      await waitFor(
        'the redirect to be gone',
        async () => !/\b80 timeout/.test(await gateway.rules()),
      );
      t.regex(await ask(), /"pod":"gateway"/);
      t.true(isRunning(agent), 'it still has something to pass on');

      const second = await start(t, server(), {env: steal});
      t.regex(await ask(), /^local/, 'another session is not disturbed by that');
      await finish(second);

      t.true(isRunning(agent));
      other.child.stdin?.write('second\n');
      const [answer] = await other.said(/HTTP.*"path":"\/slow".*end\n/s);
      t.regex(answer, /Connection: close/);
      other.child.kill('SIGKILL');
      await waitFor('the agent to go', () => !isRunning(agent));
      t.is(await gateway.rules(), '');
    },
  );
}

test.serial('a stopped mirrord does not keep the application from its clients', async (t) => {
  const running = await start(t, server(), {env: steal});
  running.child.kill('SIGSTOP');
  // The agent waits for a sign of the client before it gives a connection to the application.
  const answers = await Promise.all([
    gateway.byClient('curl', '-s', '-m', '15', `http://${gatewayAddress}/`),
  ]);
  t.regex(answers[0]?.stdout ?? '', /"pod":"gateway"/);
  running.child.kill('SIGCONT');
  await waitFor('the program to answer again', async () => {
    await delay(200);
    return /^local/.test(await ask());
  });
  await finish(running);
});
