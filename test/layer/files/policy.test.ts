import test from 'ava';
import {type FileRules, filePolicy} from '../../../layer/files/policy.ts';

const around = {
  home: '/home/ann',
  cwd: '/work/shop',
  executable: '/srv/tools/server',
  temporary: '/scratch/tmp',
};
const none: FileRules = {
  mode: 'read',
  readWrite: [],
  readOnly: [],
  local: [],
  notFound: [],
  mapping: {},
};
const policyOf = (rules: Partial<FileRules> = {}) => filePolicy({...none, ...rules}, around);
/** Where a path is read and written. */
const places = (path: string, rules: Partial<FileRules> = {}): string => {
  const policy = policyOf(rules);
  const mapped = policy.map(path);
  return `${policy.decide(mapped, 'read').place} ${policy.decide(mapped, 'write').place}`;
};

const decided = test.macro({
  exec: (t, expected: string, paths: readonly string[], rules: Partial<FileRules> = {}) => {
    for (const path of paths) t.is(places(path, rules), expected, path);
  },
  title: (title = '') => title,
});

test("read: what no rule names is the pod's to read and ours to write", decided, 'remote local', [
  '/app/config.json',
  '/data',
  '/mnt/x',
  '/var/run/secrets/kubernetes.io/serviceaccount/token',
  '/work/other',
  '/home2',
]);

test("write: what no rule names is the pod's", decided, 'remote remote', ['/app/x', '/data/y'], {
  mode: 'write',
});

test(
  'localwithoverrides: what no rule names is ours',
  decided,
  'local local',
  ['/app/x', '/data'],
  {
    mode: 'localwithoverrides',
  },
);

test('local: nothing is asked', decided, 'local local', ['/app/x', '/etc/hosts', '/secret'], {
  mode: 'local',
  notFound: ['secret'],
  readWrite: ['app'],
});

test("mirrord's local directories are ours, with all that is in them", decided, 'local local', [
  ...['/proc', '/proc/1/stat', '/sys/x', '/lib', '/etc', '/etc/myapp', '/usr/bin/env', '/home/x/y'],
  ...[
    '/bin',
    '/sbin/ip',
    '/dev/null',
    '/opt/x',
    '/tmp',
    '/var/tmp/x',
    '/snap/x',
    '/run/x',
    '/nix/x',
  ],
  ...['/', '/work/shop', '/work/shop/src', '/srv/tools/server', '/scratch/tmp/x', '/lib64/ld.so.2'],
]);

test("mirrord's local names are ours wherever they are", decided, 'local local', [
  ...['/app/x.so', '/app/x.sh', '/app/x.rb', '/app/x.d', '/app/x.pyc', '/app/x.py', '/app/x.jar'],
  ...['/app/x.class', '/app/x.js', '/app/x.pth', '/app/x.plist', '/app/x.pdb', '/app/X.DLL'],
  ...['/app/pyvenv.cfg', '/app/.asdf/x', '/app/clr-1-pipe-2', '/app/lib/jvm.cfg'],
  ...['/app/package.json', '/app/.yarnrc', '/app/.yarnrc.yml', '/app/node_modules/x/y'],
  ...['/app/.tool-versions'],
]);

test('a suffix counts at the end only', decided, 'remote local', ['/app/x.so.1', '/app/x.json']);

test('what is hidden in the home directory is ours', (t) => {
  const policy = filePolicy(none, {...around, home: '/root'});
  t.is(policy.decide('/root/.cache/x', 'read').place, 'local');
  t.is(policy.decide('/root/notes', 'read').place, 'remote');
});

test("the pod's resolver files and certificates are read there", decided, 'remote local', [
  '/etc/resolv.conf',
  '/etc/hosts',
  '/etc/hostname',
  '/etc/ssl/certs',
  '/etc/ssl/certs/ca-certificates.crt',
]);

test('credentials for other clusters are not found', decided, 'not-found not-found', [
  '/home/ann/.kube',
  '/home/ann/.kube/config',
  '/home/ann/.azure/x',
  '/home/ann/.config/gcloud/credentials.db',
]);

test('read_only and read_write bring credentials back', (t) => {
  t.is(places('/home/ann/.kube/config', {readOnly: ['\\.kube']}), 'remote local');
  t.is(places('/home/ann/.kube/config', {readWrite: ['\\.kube']}), 'remote remote');
});

test('the lists are asked in order: not_found, read_write, read_only, local', (t) => {
  const all = {notFound: ['a'], readWrite: ['b'], readOnly: ['c'], local: ['d']};
  t.is(places('/abcd', all), 'not-found not-found');
  t.is(places('/bcd', all), 'remote remote');
  t.is(places('/cd', all), 'remote local');
  t.is(places('/d', all), 'local local');
  t.is(places('/D', {...all, mode: 'write'}), 'local local');
});

test("a list of the configuration goes before mirrord's", (t) => {
  t.is(places('/etc/myapp/x', {readOnly: ['^/etc/myapp']}), 'remote local');
  t.is(places('/etc/hosts', {local: ['^/etc/hosts$']}), 'local local');
  t.is(places('/ETC/MyApp', {readOnly: ['^/etc/myapp']}), 'remote local');
});

test('without a target everything is local but what is named', (t) => {
  t.is(places('/app/x', {isTargetless: true}), 'local local');
  t.is(places('/app/x', {isTargetless: true, mode: 'write'}), 'local local');
  t.is(places('/app/x', {isTargetless: true, readOnly: ['^/app']}), 'remote local');
  t.is(policyOf({isTargetless: true, mode: 'local'}).mode, 'local');
});

test("what is mounted into the target's container is read there, after `local`", (t) => {
  const mounted = ['/etc/gateway', '/data', '/home/ann/.kube'];
  t.is(places('/etc/gateway/key', {mounted}), 'remote local');
  t.is(places('/etc/gateway', {mounted}), 'remote local');
  t.is(places('/etc/gateway2', {mounted}), 'local local');
  t.is(places('/data/x.js', {mounted, mode: 'localwithoverrides'}), 'remote local');
  t.is(places('/data/x', {mounted, mode: 'write'}), 'remote remote', 'the mode says');
  t.is(places('/etc/gateway/key', {mounted, mode: 'write'}), 'remote local');
  t.is(places('/home/ann/.kube/config', {mounted}), 'remote not-found');
  t.is(places('/etc/gateway/key', {mounted, local: ['^/etc/gateway']}), 'local local');
  t.is(places('/etc/gateway/key', {mounted, notFound: ['key$']}), 'not-found not-found');
  t.is(places('/data/x', {mounted, mode: 'local'}), 'local local');
});

test('a path is mapped before it is asked about; the first key counts', (t) => {
  const mapping = {'^/home/ann/data/(.*)$': '/data/$1', '^/home/ann': '/nowhere'};
  t.is(policyOf({mapping}).map('/home/ann/data/x/y'), '/data/x/y');
  t.is(places('/home/ann/data/x', {mapping}), 'remote local');
});

test("a mapping's replacement is written as Rust has it", (t) => {
  const map = (key: string, value: string, path: string) =>
    policyOf({mapping: {[key]: value}}).map(path);
  t.is(map('^/(?P<who>[^/]+)/x', '/y/\u0024{who}/z', '/ann/x'), '/y/ann/z');
  t.is(map('^/([a-z]+)', '/\u0024{1}s', '/dog/x'), '/dogs/x');
  t.is(map('^/([a-z]+)', '/$1s', '/dog/x'), '/x', 'the longest name, which there is not');
  t.is(map('^/a', '/$$', '/a/b'), '/$/b');
  t.is(map('^/a', '/c/..', '/a/b'), '/b');
  t.is(map('^/DOG', '/cat', '/dog'), '/dog', 'asked without case, replaced with it');
});

test('a decision names its rule', (t) => {
  t.is(policyOf().decide('/app/x', 'read').rule, 'feature.fs.mode: read');
  t.is(policyOf({local: ['^/a']}).decide('/app/x', 'read').rule, 'feature.fs.local: ^/a');
  t.regex(policyOf().decide('/etc/hosts', 'read').rule, /^mirrord's remote list: /);
});

test('a pattern that is none is told by its key', (t) => {
  const error = t.throws(() => policyOf({readOnly: ['(']}));
  t.is((error as {code?: string} | undefined)?.code, 'MIRRORD_FILE_PATTERN_INVALID');
  t.regex(error?.message ?? '', /feature\.fs\.read_only/);
});
