import {existsSync} from 'node:fs';
import test from 'ava';
import {World} from '../helpers/e2e.ts';

// Each case takes something away in namespaces of its own, where the user is root but not omnipotent.
const world = new World();

test.before(() => world.open([]));
test.after.always(() => world.close());

const onItself = `exec "$MIRRORD" exec -t process/$$ -- sh -c 'id -u; grep CapEff /proc/self/status'`;

function without(unshare: readonly string[], script: string) {
  return world.run(['unshare', ...unshare, 'sh', '-c', script], {
    env: {MIRRORD: world.mirrordPath},
  });
}

test('without /dev/net/tun there is one line with the cause and one with the remedy', async (t) => {
  const {status, stdout, stderr} = await without(
    ['-Urm'],
    `mount -t tmpfs none /dev/net; ${onItself}`,
  );
  t.is(status, 1);
  t.is(stdout, '');
  t.regex(
    stderr,
    /^mirrord: there is no \/dev\/net\/tun .*\[MIRRORD_TUN_UNAVAILABLE\]\n {2}→ .*modprobe tun.*$/m,
  );
});

test('with no user namespace left the limit is named', async (t) => {
  const script = `echo 0 >/proc/sys/user/max_user_namespaces
    exec setpriv --bounding-set=-all sh -c 'sleep 60 >&- 2>&- & "$MIRRORD" exec -t process/$! -- id; s=$?; kill $!; exit $s'`;
  const {status, stderr} = await without(['-Ur'], script);
  t.is(status, 1);
  t.regex(
    stderr,
    /max_user_namespaces is 0.*\[MIRRORD_USERNS_DENIED\]\n {2}→ sudo sysctl user\.max_user_namespaces/,
  );
});

test('without nft the program runs, and one warning says what it lacks', async (t) => {
  const hide = existsSync('/usr/sbin/nft') ? 'mount -t tmpfs none /usr/sbin' : 'true';
  const {status, stderr} = await without(['-Urm'], `${hide}; ${onItself}`);
  t.is(status, 0);
  t.regex(stderr, /^mirrord: nft is not installed.*apt-get install nftables\)\n$/m);
});

test("in a container's user namespace root gets what a container's root has", async (t) => {
  const {status, stdout} = await without(['-Ur'], onItself);
  t.is(status, 0);
  t.is(stdout, '0\nCapEff:\t00000000a80425fb\n');
});
