import {execFileSync} from 'node:child_process';
import {createHash} from 'node:crypto';
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import test, {type ExecutionContext} from 'ava';
import {type Image, writeImage} from '../../scripts/lib/oci-image.ts';

interface Descriptor {
  digest: string;
  size: number;
}

function scratch(t: ExecutionContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'mirrord-image-'));
  t.teardown(() => rmSync(directory, {recursive: true}));
  return directory;
}

/** A tree with what a tree can have. `age` changes only what an image must not depend on. */
function makeTree(directory: string, age: number): string {
  const tree = join(directory, `tree-${age}`);
  const names = age === 0 ? ['b', 'a', 'A'] : ['A', 'a', 'b'];
  mkdirSync(join(tree, 'deep/er'), {recursive: true});
  for (const name of names) writeFileSync(join(tree, name), `content of ${name}\n`);
  writeFileSync(join(tree, 'deep/er/program'), Buffer.alloc(1500, 0xa5));
  chmodSync(join(tree, 'deep/er/program'), 0o700 + age);
  symlinkSync('../a', join(tree, 'deep/link'));
  utimesSync(join(tree, 'a'), age, age);
  return tree;
}

function imageOf(tree: string): Image {
  return {
    name: 'registry.example/some/name:7',
    layers: [
      [{path: '/app', source: tree}],
      [
        {path: '/etc/motd', content: 'hello\n'},
        {path: '/tmp', directory: true, mode: 0o1777},
        {path: '/bin', link: 'usr/bin'},
      ],
    ],
    config: {Cmd: ['/app/deep/er/program'], Env: ['A=1']},
    architecture: 'arm64',
  };
}

function unpack(file: string, directory: string): (path: string) => Buffer {
  mkdirSync(directory);
  execFileSync('tar', ['-xf', file, '-C', directory]);
  return (path) => readFileSync(join(directory, path));
}

test('the image is the same, whenever and from whichever checkout it is made', (t) => {
  const directory = scratch(t);
  const [one, two] = [0, 1].map((age) => {
    const file = join(directory, `${age}.tar`);
    const digest = writeImage(imageOf(makeTree(directory, age)), file);
    return {digest, bytes: readFileSync(file)};
  });
  t.is(one?.digest, two?.digest);
  t.true(one?.bytes.equals(two?.bytes ?? Buffer.alloc(0)));
});

test('blobs are named by their content; the index leads to the config and the layers', (t) => {
  const directory = scratch(t);
  const file = join(directory, 'image.tar');
  const digest = writeImage(imageOf(makeTree(directory, 0)), file);
  const read = unpack(file, join(directory, 'layout'));
  const blob = ({digest, size}: Descriptor): Buffer => {
    const bytes = read(`blobs/${digest.replace(':', '/')}`);
    t.is(`sha256:${createHash('sha256').update(bytes).digest('hex')}`, digest);
    t.is(bytes.length, size);
    return bytes;
  };
  t.deepEqual(JSON.parse(String(read('oci-layout'))), {imageLayoutVersion: '1.0.0'});
  const {manifests} = JSON.parse(String(read('index.json')));
  t.is(manifests.length, 1);
  t.is(manifests[0].digest, digest);
  t.is(manifests[0].annotations['io.containerd.image.name'], 'registry.example/some/name:7');
  t.is(manifests[0].annotations['org.opencontainers.image.ref.name'], '7');
  const manifest = JSON.parse(String(blob(manifests[0])));
  const config = JSON.parse(String(blob(manifest.config)));
  t.like(config, {architecture: 'arm64', os: 'linux'});
  t.deepEqual(config.config, {Env: ['A=1'], Cmd: ['/app/deep/er/program']});
  t.deepEqual(
    config.rootfs.diff_ids,
    manifest.layers.map((layer: Descriptor) => layer.digest),
  );
  t.is(manifest.layers.length, 2);
  manifest.layers.forEach(blob);
});

test('layers have what they are made of, owned by root, parents first', (t) => {
  const directory = scratch(t);
  const file = join(directory, 'image.tar');
  const image = imageOf(makeTree(directory, 0));
  writeImage(image, file);
  const read = unpack(file, join(directory, 'layout'));
  const {manifests} = JSON.parse(String(read('index.json')));
  const path = (digest: string): string => `blobs/${digest.replace(':', '/')}`;
  const {layers} = JSON.parse(String(read(path(manifests[0].digest))));
  const list = (digest: string): string[] =>
    execFileSync('tar', ['-tvf', join(directory, 'layout', path(digest)), '--numeric-owner'], {
      encoding: 'utf8',
      env: {TZ: 'UTC', LC_ALL: 'C'},
    })
      .trimEnd()
      .split('\n')
      .map((line) => line.replace(/\s+/g, ' '));
  const at = '1970-01-01 00:00';
  t.deepEqual(list(layers[0].digest), [
    `drwxr-xr-x 0/0 0 ${at} app/`,
    `-rw-r--r-- 0/0 13 ${at} app/A`,
    `-rw-r--r-- 0/0 13 ${at} app/a`,
    `-rw-r--r-- 0/0 13 ${at} app/b`,
    `drwxr-xr-x 0/0 0 ${at} app/deep/`,
    `drwxr-xr-x 0/0 0 ${at} app/deep/er/`,
    `-rwxr-xr-x 0/0 1500 ${at} app/deep/er/program`,
    `lrwxrwxrwx 0/0 0 ${at} app/deep/link -> ../a`,
  ]);
  t.deepEqual(list(layers[1].digest), [
    `lrwxrwxrwx 0/0 0 ${at} bin -> usr/bin`,
    `drwxr-xr-x 0/0 0 ${at} etc/`,
    `-rw-r--r-- 0/0 6 ${at} etc/motd`,
    `drwxrwxrwt 0/0 0 ${at} tmp/`,
  ]);
  const layer = unpack(join(directory, 'layout', path(layers[0].digest)), join(directory, 'root'));
  t.deepEqual(layer('app/deep/er/program'), Buffer.alloc(1500, 0xa5));
});

test('long paths are kept; those that tar has no room for are an error', (t) => {
  const directory = scratch(t);
  const file = join(directory, 'image.tar');
  const long = `${'d'.repeat(80)}/${'e'.repeat(70)}/${'f'.repeat(90)}`;
  const make = (path: string) => writeImage({name: 'a:1', layers: [[{path, content: 'x'}]]}, file);
  make(`/${long}`);
  const read = unpack(file, join(directory, 'layout'));
  const {manifests} = JSON.parse(String(read('index.json')));
  const manifest = read(`blobs/${manifests[0].digest.replace(':', '/')}`);
  const [layer] = JSON.parse(String(manifest)).layers;
  const path = join(directory, 'layout/blobs', layer.digest.replace(':', '/'));
  t.regex(execFileSync('tar', ['-tf', path], {encoding: 'utf8'}), new RegExp(`^${long}$`, 'm'));
  t.throws(() => make(`/${'g'.repeat(101)}`), {instanceOf: RangeError});
});
