import test from 'ava';
import {useDemo} from '../helpers/e2e.ts';
import {useSession} from '../helpers/session.ts';

const demo = useDemo(test, {programs: ['connect.c']});
const session = useSession(test, demo);

/** Runs the C program in a sandbox and in the pod itself; both must say the same. */
const same = test.macro(async (t, targets: string[][], expected: string[]) => {
  const argv = [demo.program('connect'), ...targets.flat()];
  const [inside, inPod] = await Promise.all([
    session.exec(argv),
    demo.inPod(await demo.pod('gateway'), argv),
  ]);
  t.is(inside, inPod.stdout);
  t.deepEqual(inside.trim().split('\n'), expected);
});

function v4(host: number, how = 'tcp', port = 80): string[] {
  return [how, `10.244.0.${host}`, `${port}`];
}

function v6(host: number, how = 'tcp', port = 80): string[] {
  return [how, `fd00:10:244::${host}`, `${port}`];
}

test.serial(
  'a connection to an open port succeeds',
  same,
  [v4(13, 'tcp', 7), v6(13, 'tcp', 7)],
  ['ok', 'ok'],
);

test.serial(
  'a connection to a closed port of a pod is refused',
  same,
  [v4(13, 'tcp', 9), v6(13, 'tcp', 9)],
  ['ECONNREFUSED', 'ECONNREFUSED'],
);

test.serial(
  'a connection to a service without pods is refused',
  same,
  [['tcp', '10.96.0.25', '80']],
  ['ECONNREFUSED'],
);

test.serial(
  'a host that is unreachable is EHOSTUNREACH',
  same,
  [v4(251), v6(251)],
  ['EHOSTUNREACH', 'EHOSTUNREACH'],
);

test.serial(
  'a prohibited host is EHOSTUNREACH over IPv4 and EACCES over IPv6',
  same,
  [v4(252), v6(252)],
  ['EHOSTUNREACH', 'EACCES'],
);

test.serial(
  'a network that is unreachable is ENETUNREACH',
  same,
  [v4(253), v6(253)],
  ['ENETUNREACH', 'ENETUNREACH'],
);

test.serial(
  'a host that never answers is ETIMEDOUT',
  same,
  [v4(250), v6(250)],
  ['ETIMEDOUT', 'ETIMEDOUT'],
);

test.serial(
  'an address where nobody is, on the link of the pod, is EHOSTUNREACH',
  same,
  [v4(77, 'patient'), v6(77, 'patient')],
  ['EHOSTUNREACH', 'EHOSTUNREACH'],
);

test.serial(
  'a closed UDP port is ECONNREFUSED for a connected socket',
  same,
  [v4(13, 'udp', 9), v6(13, 'udp', 9)],
  ['ECONNREFUSED', 'ECONNREFUSED'],
);

test.serial(
  'a prohibited host is the same errno for a connected UDP socket',
  same,
  [v4(252, 'udp'), v6(252, 'udp')],
  ['EHOSTUNREACH', 'EACCES'],
);

test.serial(
  'a closed port of localhost is refused',
  same,
  [
    ['tcp', '127.0.0.1', '9'],
    ['tcp', '::1', '9'],
    ['udp', '127.0.0.1', '9'],
  ],
  ['ECONNREFUSED', 'ECONNREFUSED', 'ECONNREFUSED'],
);
