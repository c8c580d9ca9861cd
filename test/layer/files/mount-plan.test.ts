import test from 'ava';
import {literalStart, type PlanInput, planMounts} from '../../../layer/files/mount-plan.ts';
import {type FileRules, filePolicy} from '../../../layer/files/policy.ts';

const none: FileRules = {
  mode: 'read',
  readWrite: [],
  readOnly: [],
  local: [],
  notFound: [],
  mapping: {},
};
const hostDirectories = [
  ...[
    '/usr',
    '/etc',
    '/etc/ssl',
    '/etc/ssl/certs',
    '/etc/myapp',
    '/home',
    '/home/ann',
    '/home/ann/.kube',
  ],
  ...['/var', '/var/tmp', '/work', '/work/shop', '/proc', '/root', '/root/.cache', '/tmp'],
];
const directory = (name: string) => ({name, kind: 'directory' as const});

function plan(rules: Partial<FileRules> = {}, around: Partial<PlanInput['around']> = {}) {
  const where = {home: '/home/ann', cwd: '/home/ann/shop', temporary: '/tmp', ...around};
  const all = {...none, ...rules};
  const made = planMounts({
    policy: filePolicy(all, where),
    rules: all,
    around: where,
    hostTop: [
      ...['usr', 'etc', 'home', 'var', 'work', 'proc', 'root', 'tmp'].map(directory),
      {name: 'bin', kind: 'link', target: 'usr/bin'},
    ],
    podTop: [
      ...['usr', 'etc', 'var', 'app', 'proc', 'root'].map(directory),
      {name: 'data', kind: 'link', target: 'mnt/data'},
      {name: '.dockerenv', kind: 'file'},
    ],
    isHostDirectory: (path) => hostDirectories.includes(path),
    isHostFile: (path) => path === '/etc/os-release',
    isHostLink: (path) => path === '/var/run',
    isWritable: (path) => path.startsWith('/home/ann'),
    hostDirectories: (path) =>
      hostDirectories
        .filter((each) => each.startsWith(`${path}/`) && !each.slice(path.length + 1).includes('/'))
        .map((each) => each.slice(path.length + 1)),
    ownDirectories: [],
    ownFiles: ['/etc/hosts', '/etc/resolv.conf'],
  });
  const shown = (what: string): string[] =>
    made.steps.flatMap((step) => ('show' in step && step.show === what ? [step.path] : [])).sort();
  return {...made, shown};
}

test("whole directories of this machine's are mounts; the pod's are served", (t) => {
  const {shown} = plan();
  t.deepEqual(shown('host'), ['/etc', '/home', '/proc', '/tmp', '/usr', '/var/tmp']);
  t.deepEqual(shown('fuse'), ['/.dockerenv', '/app', '/etc/ssl/certs', '/root', '/var', '/work']);
  t.false(plan({mode: 'write'}).shown('fuse').includes('/work'), 'which the pod has not');
  t.deepEqual(shown('empty'), ['/home/ann/.kube']);
});

test('links at the top lead where they lead at home, or in the pod', (t) => {
  const {steps} = plan();
  t.deepEqual(
    steps.filter((step) => 'link' in step),
    [
      {path: '/data', link: 'mnt/data'},
      {path: '/bin', link: 'usr/bin'},
    ],
  );
});

test('a working directory in a place of the pod’s is mounted into it, after it', (t) => {
  const {steps, scaffold} = plan({}, {cwd: '/work/shop'});
  const at = (path: string) => steps.findIndex((step) => step.path === path);
  t.true(at('/work') >= 0 && at('/work/shop') > at('/work'));
  t.true(scaffold.get('/work')?.has('shop'));
});

test('a home that is not in /home keeps its hidden directories', (t) => {
  const {shown} = plan({}, {home: '/root'});
  t.true(shown('host').includes('/root/.cache'));
  t.true(shown('fuse').includes('/root'));
});

test("a pattern that begins with a path makes that directory the pod's to decide", (t) => {
  t.true(
    plan({readOnly: ['^/etc/myapp/.*\\.conf$']})
      .shown('fuse')
      .includes('/etc/myapp'),
  );
  t.true(
    plan({readOnly: ['/etc/myapp']})
      .shown('fuse')
      .includes('/etc/myapp'),
  );
});

test('a place that this machine has not gets room in its directory, if that is not the program’s', (t) => {
  const {steps, optional} = plan({readOnly: ['^/etc/other/']});
  const at = (path: string) => steps.findIndex((step) => step.path === path);
  t.deepEqual(steps[at('/etc/other')], {show: 'fuse', path: '/etc/other'});
  t.deepEqual(
    steps.find((step) => 'thaw' in step),
    {thaw: ['other'], path: '/etc'},
  );
  t.deepEqual(optional, ['/etc/other']);
  t.true(
    plan({readOnly: ['^/home/ann/data/']})
      .shown('fuse')
      .includes('/home/ann'),
  );
});

test('a link of ours on the way to what is mounted in the target gives way to its directory', (t) => {
  const mounted = ['/var/run/secrets/kubernetes.io/serviceaccount'];
  const {steps, optional} = plan({mounted, mode: 'localwithoverrides'});
  t.deepEqual(
    steps.filter(({path}) => path.startsWith('/var')),
    [
      {show: 'host', path: '/var'},
      {thaw: ['run'], path: '/var'},
      {show: 'host', path: '/var/run'},
      {thaw: ['secrets'], path: '/var/run'},
      {show: 'fuse', path: '/var/run/secrets'},
    ],
  );
  t.true(optional.includes('/var/run/secrets'));
});

test('directories on the way to what a pattern names are asked for, where they are not the pod’s anyway', (t) => {
  const mounted = ['/var/run/secrets/kubernetes.io/serviceaccount'];
  const {ways} = plan({mounted, mode: 'localwithoverrides'});
  t.deepEqual(ways, ['/var/run/secrets', '/var/run/secrets/kubernetes.io']);
  t.deepEqual(plan({mounted}).ways, []);
  t.deepEqual(plan({readOnly: ['^/etc/other/deep/']}).ways, ['/etc/other', '/etc/other/deep']);
});

test('a pattern names what is in a directory that only the pod has', (t) => {
  const local = {mode: 'localwithoverrides'} as const;
  t.false(plan(local).shown('fuse').includes('/app'));
  const {shown, scaffold} = plan({...local, mounted: ['/app/config.json']});
  t.true(shown('fuse').includes('/app'));
  t.true(scaffold.has('/app'));
});

test('a file is shown by itself', (t) => {
  const {shown, steps} = plan({readOnly: ['^/etc/os-release$']});
  t.true(shown('fuse').includes('/etc/os-release'));
  t.false(steps.some((step) => 'thaw' in step));
});

test('one that names no directory is told', (t) => {
  t.deepEqual(plan({readOnly: ['\\.pem$', '^/app']}).vague, ['\\.pem$']);
});

test("the kernel's directories are never the pod's", (t) => {
  const {shown} = plan({readWrite: ['^/proc', '^/'], mode: 'write'});
  t.true(shown('host').includes('/proc'));
});

test('what a pattern begins with', (t) => {
  t.is(literalStart('^/etc/my\\.app/x?y'), '/etc/my.app/');
  t.is(literalStart('/data/(a|b)'), '/data/');
  t.is(literalStart('^/etc/my.app/.*'), '/etc/my.app/');
  t.is(literalStart('^/data$'), '/data');
  t.is(literalStart('secret'), undefined);
  t.is(literalStart('.*/etc'), undefined);
});
