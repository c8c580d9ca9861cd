/**
 * The images that every test cluster has, made of what is on this machine:
 *
 *   mirrord.test/pause:1     what holds a pod's namespaces
 *   mirrord.test/coredns:1   the cluster's name server
 *   mirrord.test/workload:1  what the tests' pods run: the servers of the embedded demo (cli/demo/servers) on
 *                            Node, a redis, and a shell with some tools
 */

import {existsSync, realpathSync} from 'node:fs';
import {basename, dirname, join} from 'node:path';
import {fileURLToPath} from 'node:url';
import {type Image, type LayerEntry, writeImage} from '../../../scripts/lib/oci-image.ts';
import {output} from './process.ts';

const pauseSource = fileURLToPath(new URL('images/pause.c', import.meta.url));
const servers = fileURLToPath(new URL('../../../cli/demo/servers', import.meta.url));
/** The one library that the servers need. */
const websocketLibrary = dirname(fileURLToPath(import.meta.resolve('ws')));

/** Programs of this machine that the workload image has. */
const tools = [
  ...[
    'sh',
    'cat',
    'ls',
    'env',
    'id',
    'sleep',
    'hostname',
    'readlink',
    'stat',
    'head',
    'mkdir',
    'rm',
  ],
  ...['sort', 'wc', 'kill', 'tar', 'curl', 'dig', 'redis-server', 'redis-cli'],
];

/** Where the machine keeps a program. */
function programPath(name: string): string {
  const directory = ['/usr/bin', '/bin', '/usr/sbin', '/sbin'].find((each) =>
    existsSync(join(each, name)),
  );
  if (directory === undefined) throw new Error(`this machine has no ${name}`);
  return join(directory, name);
}

/** The shared libraries and the loader of programs, at the paths where those look for them. */
async function librariesOf(programs: readonly string[]): Promise<LayerEntry[]> {
  const listing = await output('ldd', programs);
  const paths = [...listing.matchAll(/(?:=> |^\s+)(\/\S+) \(0x/gm)].map((match) => match[1] ?? '');
  return [...new Set(paths)].map((path) => ({path, source: realpathSync(path)}));
}

async function workload(): Promise<Image> {
  const programs = tools.map(programPath);
  const node: LayerEntry = {path: '/usr/bin/node', source: process.execPath};
  const system: LayerEntry[] = [
    ...programs.map((path) => ({path: `/usr/bin/${basename(path)}`, source: realpathSync(path)})),
    {path: '/bin', link: 'usr/bin'},
    {path: '/tmp', directory: true, mode: 0o1777},
    {path: '/root', directory: true, mode: 0o700},
    {path: '/etc/passwd', content: 'root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/:/bin/sh\n'},
    {path: '/etc/group', content: 'root:x:0:\napp:x:1000:\n'},
    {path: '/etc/nsswitch.conf', content: 'hosts: files dns\n'},
    {path: '/etc/os-release', content: 'NAME="mirrord test workload"\nID=mirrord-test\n'},
    ...(await librariesOf([...programs, process.execPath])),
  ];
  const app: LayerEntry[] = [
    {path: '/app/servers', source: servers},
    {path: '/app/node_modules/ws', source: websocketLibrary},
    {path: '/app/package.json', content: '{"type": "module"}\n'},
  ];
  return {
    name: 'mirrord.test/workload:1',
    layers: [system, [node], app],
    config: {Cmd: ['/bin/sh'], WorkingDir: '/app'},
  };
}

/** Writes the images into `directory`, one tar each. `programs` is where the cluster's programs are. */
export async function writeImages(directory: string, programs: string): Promise<void> {
  const pause = join(directory, 'pause');
  await output('cc', [
    '-static',
    '-Os',
    '-Wall',
    '-Wextra',
    '-Werror',
    '-s',
    pauseSource,
    '-o',
    pause,
  ]);
  const images: Record<string, Image> = {
    pause: {
      name: 'mirrord.test/pause:1',
      layers: [[{path: '/pause', source: pause}]],
      config: {Entrypoint: ['/pause']},
    },
    coredns: {
      name: 'mirrord.test/coredns:1',
      layers: [[{path: '/coredns', source: join(programs, 'coredns')}]],
      config: {Entrypoint: ['/coredns']},
    },
    workload: await workload(),
  };
  for (const [name, image] of Object.entries(images)) {
    writeImage(image, join(directory, `${name}.tar`));
  }
}
