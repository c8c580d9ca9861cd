import {existsSync, readFileSync} from 'node:fs';
import test from 'ava';
import {useDemo} from '../helpers/e2e.ts';
import {needing, root} from '../helpers/needs.ts';

const asRoot = needing(test, root());
const demo = useDemo(asRoot, {programs: ['identity.c'], asRoot: true});

asRoot.serial("root keeps a container's capabilities, and no more", async (t) => {
  t.is(
    await demo.exec([demo.program('identity')]),
    'uid=0 euid=0 host=gateway\nCapPrm:\t00000000a80425fb\nCapEff:\t00000000a80425fb\nbind80=0\n',
  );
});

asRoot.serial('root reaches a service and the loopback of the pod', async (t) => {
  t.regex(
    await demo.exec(['curl', '-sS', '--fail', 'http://orders/']),
    /"client":"10\.244\.0\.10"/,
  );
  t.regex(await demo.exec(['curl', '-sS', '--fail', 'http://127.0.0.1:9000/']), /"admin":true/);
});

asRoot.serial('root has no IPv6 where it is switched off', async (t) => {
  const script =
    'import socket\ntry: socket.socket(socket.AF_INET6)\nexcept OSError as e: print(e.errno)';
  const env = {MIRRORD_ENABLE_IPV6: 'false'};
  t.is(await demo.exec(['python3', '-c', script], {env}), '97\n');
});

asRoot.serial("root finds a unix socket of the pod's; nothing of it is left", async (t) => {
  const directory = `/run/mirrord-e2e-root-${process.pid}`;
  const path = `${directory}/x.sock`;
  const source = readFileSync(demo.program('unix.py'), 'utf8');
  const python = ['/usr/bin/python3', '-c', source, 'serve', 'stream', path];
  const server = demo.start(demo.entering(await demo.pod('gateway'), python, '--mount'));
  t.teardown(() => void server.child.kill('SIGKILL'));
  await server.said(/listening/);
  const output = await demo.exec(
    ['python3', demo.program('unix.py'), 'talk', 'stream', path, '1000000'],
    {env: {MIRRORD_OUTGOING_REMOTE_UNIX_STREAMS: `^${directory}/`}},
  );
  t.is(output, 'True True\n');
  t.false(existsSync(directory));
});

asRoot.serial('root can change neither the network of the sandbox nor mounts', async (t) => {
  for (const attempt of ['ip link set eth0 down', 'nft list ruleset', 'mount -t tmpfs none /tmp']) {
    const {status, stderr} = await demo.startExec(['sh', '-c', attempt]).ended;
    t.not(status, 0, attempt);
    t.regex(stderr, /permitted|denied|must be/, attempt);
  }
});
