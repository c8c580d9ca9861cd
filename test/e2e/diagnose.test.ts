import {existsSync} from 'node:fs';
import test from 'ava';
import {World, waitFor} from '../helpers/e2e.ts';

// Each case takes something away in namespaces of its own, where the user is root but not omnipotent.
const world = new World();

test.before(() => world.open([]));
test.after.always(() => world.close());

interface Diagnosis {
  ok: boolean;
  kernel: string;
  checks: {name: string; ok: boolean; required: boolean; found: string; remedy?: string}[];
}

async function diagnose(unshare: readonly string[] = [], before = ':') {
  const script = `${before} && exec ${world.mirrordPath} diagnose --json`;
  const shell = ['sh', '-c', script];
  const argv = unshare.length === 0 ? shell : ['unshare', ...unshare, ...shell];
  const {status, stdout, stderr} = await world.run(argv);
  const diagnosis = JSON.parse(stdout) as Diagnosis;
  const missing = diagnosis.checks.filter(({ok}) => !ok).map(({name}) => name);
  const find = (wanted: string) => diagnosis.checks.find(({name}) => name === wanted);
  return {status, stderr, diagnosis, missing, find};
}

test('an ordinary user gets a line for each thing, and status 0 where programs can run', async (t) => {
  const {status, stdout} = await world.mirrord(['diagnose']);
  t.is(status, 0, stdout);
  for (const name of ['user namespaces', 'apparmor', 'tun', 'nft', 'fuse']) {
    t.regex(stdout, new RegExp(`^[✔✘] ${name} `, 'm'));
  }
  t.regex(stdout, /^Linux /);
});

test('diagnose leaves no process behind', async (t) => {
  const {status} = await world.mirrord(['diagnose']);
  t.is(status, 0);
  const launchers = '^[^ ]*/launcher serve 3 -- true$';
  await waitFor('the launchers to end', async () => {
    const {stdout} = await world.run(['sh', '-c', `pgrep -u "$(id -u)" -f '${launchers}'`]);
    return stdout === '';
  });
});

test('without /dev/net/tun that is what is missing, and the status is 1', async (t) => {
  const {status, diagnosis, missing, find} = await diagnose(
    ['-Urm'],
    'mount -t tmpfs none /dev/net',
  );
  t.is(status, 1);
  t.false(diagnosis.ok);
  t.true(missing.includes('tun'));
  t.is(find('user namespaces')?.ok, true);
  t.is(find('mounts')?.ok, true);
  t.regex(find('tun')?.found ?? '', /^there is no \/dev\/net\/tun/);
  t.regex(find('tun')?.remedy ?? '', /modprobe tun.*--device/);
});

test('without nft programs can run: only its rows are missing, and the status is 0', async (t) => {
  const hide = existsSync('/usr/sbin/nft') ? 'mount -t tmpfs none /usr/sbin' : ':';
  const {status, diagnosis, missing, find} = await diagnose(['-Urm'], hide);
  t.is(status, 0);
  t.true(diagnosis.ok);
  t.deepEqual(missing, ['nft', 'nft socket and tproxy']);
  t.is(find('nft')?.found, 'nft is not installed');
  t.regex(find('nft')?.remedy ?? '', /apt-get install nftables/);
});

test('without /dev/fuse only that is missing', async (t) => {
  const hide =
    'mkdir /mnt/dev && mount --rbind /dev /mnt/dev && mount -t tmpfs none /dev && mkdir /dev/net && touch /dev/net/tun /dev/null && mount --bind /mnt/dev/net/tun /dev/net/tun && mount --bind /mnt/dev/null /dev/null';
  const {status, missing, find} = await diagnose(['-Urm'], `mount -t tmpfs none /mnt && ${hide}`);
  t.is(status, 0);
  t.deepEqual(missing, ['fuse']);
  t.regex(find('fuse')?.found ?? '', /\/dev\/fuse/);
});

test('with no user namespace left the limit and the setting are named', async (t) => {
  const limit = 'echo 0 >/proc/sys/user/max_user_namespaces';
  const {status, find} = await diagnose(
    ['-Ur'],
    `${limit}; exec setpriv --bounding-set=-all ${world.mirrordPath} diagnose --json`,
  );
  t.is(status, 1);
  t.regex(find('user namespaces')?.found ?? '', /max_user_namespaces is 0/);
  t.regex(find('user namespaces')?.remedy ?? '', /sysctl user\.max_user_namespaces/);
});

test('for people, what is missing has its cost and its remedy below it', async (t) => {
  const script = `mount -t tmpfs none /dev/net; exec ${world.mirrordPath} diagnose`;
  const {status, stdout} = await world.run(['unshare', '-Urm', 'sh', '-c', script]);
  t.is(status, 1);
  t.regex(
    stdout,
    /^✘ tun +there is no \/dev\/net\/tun.*\n +costs everything.*\n +→ sudo modprobe tun/m,
  );
  t.regex(stdout, /mirrord can not run programs here\.\n$/);
});
