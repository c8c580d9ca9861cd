import {readFileSync} from 'node:fs';
import {join} from 'node:path';
import test from 'ava';
import {useDemo} from '../helpers/e2e.ts';
import {useSession} from '../helpers/session.ts';

const demo = useDemo(test, {programs: ['identity.c']});
const local = {
  'spring.profiles.active': 'dev',
  'BASH_FUNC_f%%': '() { echo; }',
  GREETING: 'local',
  MY_OWN: 'stays',
  JAVA_HOME: '/local/java',
  EMPTY: '',
};
const session = useSession(test, demo, {env: local});

const tellEnvironment = ['python3', demo.program('client.py'), 'environment'];
type Environment = Record<string, string>;

test.serial("the pod's variables win over local ones, which otherwise stay", async (t) => {
  const pod = await demo.pod('gateway');
  const seen = JSON.parse(await session.exec(tellEnvironment)) as Environment;
  t.is(pod.env['GREETING'], 'hello from the gateway');
  t.is(seen['GREETING'], pod.env['GREETING']);
  t.is(seen['FEATURE_FLAGS'], pod.env['FEATURE_FLAGS']);
  t.is(seen['MY_OWN'], 'stays');
  t.is(seen['EMPTY'], '');
  // A shell would have dropped the one, and added the other.
  t.is(seen['spring.profiles.active'], 'dev');
  t.is(seen['BASH_FUNC_f%%'], '() { echo; }');
  t.is(seen['PWD'], undefined);
});

test.serial("variables about tools and directories are never the pod's", async (t) => {
  const pod = await demo.pod('gateway');
  const own = {...local, PATH: `${demo.directory}:/usr/bin:/bin`};
  const seen = JSON.parse(await demo.exec(tellEnvironment, {env: own})) as Environment;
  t.truthy(pod.env['PATH']);
  t.truthy(pod.env['HOME']);
  t.is(seen['PATH'], own.PATH);
  t.is(seen['HOME'], `${demo.directory}/home`);
  t.is(seen['JAVA_HOME'], '/local/java');
});

test.serial("the agent's token doesn't reach the program", async (t) => {
  const seen = JSON.parse(await session.exec(tellEnvironment)) as Environment;
  t.deepEqual(
    Object.keys(seen).filter((name) => /TOKEN/.test(name)),
    [],
  );
});

test.serial("without a TUN the environment is the pod's, and the network is local", async (t) => {
  const look = 'hostname; readlink /proc/self/ns/net';
  const script = ['sh', '-c', `echo $GREETING; ${look}`];
  const outside = (await demo.run(['sh', '-c', look])).stdout;
  t.is(
    await demo.exec(script, {flags: ['--no-tun'], env: local}),
    `hello from the gateway\n${outside}`,
  );
});

test.serial(
  'a static program has its own uid, no capability, the name of the pod and port 80',
  async (t) => {
    const own = (await demo.run(['id', '-u'])).stdout.trim();
    t.is(
      await demo.exec([demo.program('identity')]),
      `uid=${own} euid=${own} host=gateway\nCapPrm:\t0000000000000000\nCapEff:\t0000000000000000\nbind80=0\n`,
    );
  },
);

/** Calls a program, "$@", in a way that leaves it something. */
const callers = {
  'descriptors, also of a pipe':
    'exec 200>/dev/null; { "$@" 3>&1 11</dev/null 2>/dev/null; } | cat',
  'standard streams that are closed': '"$@" <&- >&-',
  'limits, a mask, a session and signals that are ignored':
    'ulimit -Sn 300; ulimit -c 0; umask 027; exec nohup setsid nice -n 3 "$@"',
};

for (const [what, caller] of Object.entries(callers)) {
  test.serial(`a program has of its caller what it would have outside: ${what}`, async (t) => {
    const seen = async (name: string, ...mirrord: string[]): Promise<unknown> => {
      const file = join(demo.temporary, name);
      const program = ['python3', demo.program('inherited.py'), file];
      const {status, stderr} = await demo.run(['bash', '-c', caller, 'sh', ...mirrord, ...program]);
      t.is(status, 0, stderr);
      return JSON.parse(readFileSync(file, 'utf8'));
    };
    const outside = await seen('outside');
    t.deepEqual(
      await seen('inside', demo.mirrordPath, 'exec', '-t', 'demo/gateway', '--'),
      outside,
    );
  });
}

test.serial('who reads from a pipe of the program waits for nobody else', async (t) => {
  // The program gives its end up and waits for what is written once the reader has seen that.
  const script = 'mkfifo "$0"; "$@" 5>&1 >/dev/null 2>&1 | { cat; echo closed >"$0"; }; rm "$0"';
  const fifo = join(demo.temporary, 'fifo');
  const program = ['sh', '-c', 'exec 5>&-; exec timeout 20 cat "$0" >&2', fifo];
  const mirrord = [demo.mirrordPath, 'exec', '-t', 'demo/gateway', '--', ...program];
  t.is((await demo.run(['bash', '-c', `set -o pipefail; ${script}`, fifo, ...mirrord])).status, 0);
});

test.serial('make in the program works beside the one that called it', async (t) => {
  const inner = `all: a b c\na b c:\n\t@echo $@\n`;
  const outer = `top:\n\t+@${demo.mirrordPath} exec -t demo/gateway -- make -f inner\n`;
  const script = `cd "$TMPDIR" && printf '${inner}' >inner && printf '${outer}' >outer && make -j3 -f outer`;
  const {stdout, stderr} = await demo.run(['sh', '-c', script]);
  t.notRegex(stderr, /jobserver/);
  t.deepEqual(stdout.match(/^[abc]$/gm)?.sort(), ['a', 'b', 'c']);
});

test.serial('user, group and the owners of files are as outside', async (t) => {
  const look = ['sh', '-c', 'id -un; id -gn; stat -c "%U %G" "$0"', demo.runtime];
  t.is(await session.exec(look), (await demo.run(look)).stdout);
});

test.serial('a file that the program makes belongs to the user outside', async (t) => {
  const path = `${demo.directory}/home/made`;
  await session.exec(['sh', '-c', 'echo content > "$0"', path]);
  const look = ['sh', '-c', 'cat "$0"; stat -c %u "$0"', path];
  t.is((await demo.run(look)).stdout, `content\n${(await demo.run(['id', '-u'])).stdout}`);
});

for (const file of ['/etc/resolv.conf', '/etc/hosts', '/etc/hostname']) {
  test.serial(`${file} is the pod's`, async (t) => {
    const inPod = await demo.mirrord(['demo', 'enter', 'gateway', 'cat', file]);
    t.is(inPod.status, 0, inPod.stderr);
    // mirrord adds a line for this machine to the hosts.
    t.true((await session.exec(['cat', file])).startsWith(inPod.stdout));
    t.not((await demo.run(['cat', file])).stdout, inPod.stdout);
  });
}

test.serial("hostname -i gives the pod's addresses", async (t) => {
  const {addresses} = await demo.pod('gateway');
  t.regex(await session.exec(['hostname', '-i']), new RegExp(addresses.v4));
});

test.serial("eth0 has the pod's addresses and MTU, and lo is up", async (t) => {
  const {addresses} = await demo.pod('gateway');
  const links = JSON.parse(await session.exec(['ip', '-j', 'addr'])) as {
    ifname: string;
    mtu: number;
    addr_info: {local: string}[];
  }[];
  const eth0 = links.find(({ifname}) => ifname === 'eth0');
  const inPod = JSON.parse(
    (await demo.inPod(await demo.pod('gateway'), ['ip', '-j', 'addr', 'show', 'eth0'])).stdout,
  ) as {mtu: number}[];
  const own = eth0?.addr_info.map(({local}) => local).filter((each) => !each.startsWith('fe80'));
  t.deepEqual(own?.sort(), [addresses.v4, addresses.v6].sort());
  t.is(eth0?.mtu, inPod[0]?.mtu);
  const lo = links.find(({ifname}) => ifname === 'lo')?.addr_info.map((each) => each.local);
  t.deepEqual(lo, ['127.0.0.1', '::1']);
});

test.serial('a setuid program of root gains nothing', async (t) => {
  const {status, stdout, stderr} = await session.run(['su', '-c', 'id -u'], '\n');
  t.not(status, 0);
  t.notRegex(stdout + stderr, /^0$/m);
});

test.serial('a program can neither change its network nor enter the pod', async (t) => {
  const {pid} = await demo.pod('gateway');
  for (const attempt of [
    'ip link set eth0 down',
    'ip addr add 10.9.9.9/24 dev eth0',
    'nft list ruleset',
    'hostname other',
    'mount -t tmpfs none /tmp',
    `nsenter -t ${pid} -n true`,
  ]) {
    const {status, stderr} = await session.run(['sh', '-c', attempt]);
    t.not(status, 0, attempt);
    t.regex(stderr, /permitted|denied|must be|superuser/, attempt);
  }
});
