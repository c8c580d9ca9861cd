/**
 * Pods with the same applications, the load generator's server and nginx, and how they are mirrored. Each is a network
 * namespace of an ordinary user's; beside it `mirrord port-forward -R -t process/PID` leads its ports to programs here, which
 * read what comes.
 *
 * The detour is what an agent makes without NET_RAW. An agent that enters another user namespace has all capabilities there. So
 * mirrord is started in the pod's, without this one.
 */

import {spawnSync} from 'node:child_process';
import {mkdirSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {setTimeout as delay} from 'node:timers/promises';
import {fileURLToPath} from 'node:url';
import {freePort} from '../../../test/helpers/ports.ts';
import {configureNginx, ports as http, type Ports, status} from '../incoming/nginx.ts';
import {BenchError} from '../network/error.ts';
import type {LoadPorts, LoadProcess} from '../network/load.ts';
import {mirrordPath, type Person} from '../network/person.ts';
import {type Processes, pidOf, until} from '../network/processes.ts';
import {descendants} from '../network/usage.ts';

import {type Mesh, openMesh} from './mesh.ts';

const sink = fileURLToPath(new URL('sink.ts', import.meta.url));
/** How long nothing comes when no more does, ms. */
const settleMs = 100;
const ofHttp = [http.http1, http.h2c];

const settings = {
  'no agent': {isMirrored: false},
  copies: {isMirrored: true},
  detour: {isMirrored: true, prefix: ['setpriv', '--bounding-set=-net_raw', '--inh-caps=-net_raw']},
  'filter, none fits': {isMirrored: true, filter: {header_filter: '^x-mine: yes$'}},
  'filter, half fit': {isMirrored: true, filter: {path_filter: '^/mine/'}},
} as const satisfies Record<string, Setting>;
interface Setting {
  readonly isMirrored: boolean;
  readonly filter?: object;
  readonly prefix?: readonly string[];
}
export type PodName = keyof typeof settings;
export const podNames = Object.keys(settings) as PodName[];
/** Those in which every byte is mirrored, or none. */
export const unfilteredNames = podNames.filter((name) => !('filter' in settings[name]));

export interface Pod {
  /** What begins a command that is to run in its network. */
  readonly enter: readonly string[];
  readonly ports: LoadPorts;
  /** A client of the load generator's, in its network. */
  readonly load: LoadProcess;
  /** The agent, if there is one. */
  readonly proxies: readonly number[];
  /** A mesh in it, from when that is first called. */
  mesh(): Promise<Mesh>;
  /** How many requests the program that mirrors has had so far, when no more come. */
  copied(): Promise<number>;
}

/** Asks nginx at one of its ports; each question is a request, too. */
function requestsOf(port: number): () => Promise<number> {
  let asked = 0;
  return async () => {
    let [now, before] = [0, -1];
    while (now !== before) {
      await delay(settleMs);
      before = now;
      const page = await (await fetch(`http://127.0.0.1:${port}${status}`)).text();
      now = Number(/^ \d+ \d+ (\d+) $/m.exec(page)?.[1]) - ++asked;
    }
    return now;
  };
}

/** Opens pods, all of which answer when it resolves. `load`: the load generator; `prefix`: what makes a command the person's. */
export async function openPods({
  person,
  processes,
  load,
  prefix,
}: {
  readonly person: Person;
  readonly processes: Processes;
  readonly load: string;
  readonly prefix: readonly string[];
}): Promise<ReadonlyMap<PodName, Pod>> {
  const pods = new Map<PodName, Pod>();

  /** Programs that mirror: returns where each of the pod's ports is to lead. */
  async function startPrograms(directory: string, {bulk, echo, short}: LoadPorts) {
    const node = [process.execPath, '--disable-warning=ExperimentalWarning'];
    const sinks = await processes.start('sink', [...node, sink, '3']).said<number[]>();
    const own = {http1: await freePort(), h2c: await freePort()};
    const ports: Ports = {...own, node: await freePort(), go: await freePort()};
    processes.start('nginx', configureNginx(join(directory, 'program'), 'program', ports));
    return {
      bytes: [bulk, echo, short].map((port, at) => `${port}:${sinks[at]}`),
      copied: requestsOf(own.http1),
      requests: ofHttp.map((port, at) => `${port}:${[own.http1, own.h2c][at]}`),
    };
  }

  async function mirror(
    name: PodName,
    {pid, enter, directory, ports}: Found,
  ): Promise<Pick<Pod, 'proxies' | 'copied'>> {
    const {filter, prefix: bounded}: Setting = settings[name];
    const {bytes, requests, copied} = await startPrograms(directory, ports);
    const http_filter = filter && {...filter, ports: ofHttp};
    const incoming = {mode: 'mirror', ...(http_filter && {http_filter})};
    const file = join(directory, 'mirrord.json');
    writeFileSync(file, JSON.stringify({target: `process/${pid}`, feature: {network: {incoming}}}));
    const forwards = filter === undefined ? [...bytes, ...requests] : requests;
    const argv = [
      mirrordPath,
      'port-forward',
      '-f',
      file,
      ...forwards.flatMap((one) => ['-R', one]),
    ];
    const inPod = ['nsenter', '--user', '--preserve-credentials', '-t', `${pid}`, '--'];
    const session = person.start(bounded === undefined ? argv : [...inPod, ...bounded, ...argv]);
    let said = '';
    for (const stream of [session.stdout, session.stderr]) {
      stream?.setEncoding('utf8').on('data', (text: string) => {
        said = (said + text).slice(-4_000);
      });
    }
    await until(`${name}: mirrord`, () => {
      if (session.exitCode !== null) throw new BenchError(`${name}: mirrord ended: ${said}`);
      return said.includes(`port ${http.h2c} of `);
    });
    const [command = '', ...args] = [...prefix, ...enter, 'nft', 'list', 'ruleset'];
    const rules = spawnSync(command, args, {encoding: 'utf8'}).stdout;
    if (rules.includes(`${http.http1} timeout`) !== (name === 'detour'))
      throw new BenchError(`${name}: the ports are not mirrored in this way`);
    return {proxies: descendants(session.pid ?? 0, 'agent/main.ts'), copied};
  }

  interface Found {
    readonly pid: number;
    readonly enter: readonly string[];
    readonly directory: string;
    readonly ports: LoadPorts;
  }

  for (const name of podNames) {
    const directory = join(person.directory, `pod-${pods.size}`);
    mkdirSync(directory, {mode: 0o755});
    const script = 'ip link set lo up; exec "$0" "$@"';
    const namespaces = ['unshare', '--user', '--map-root-user', '--net', '--'];
    const server = processes.start(name, [...namespaces, 'sh', '-c', script, load, 'serve']);
    const ports = await server.said<LoadPorts>();
    const pid = pidOf(server);
    const enter = ['nsenter', '--user', '--preserve-credentials', '--net', '-t', `${pid}`, '--'];
    const application = configureNginx(join(directory, 'application'), 'application');
    processes.start(`${name}: nginx`, [...enter, ...application]);
    const client = await processes.startClient(`${name}: client`, [...enter, load, 'client']);
    const {isMirrored} = settings[name];
    const mirrored = isMirrored
      ? await mirror(name, {pid, enter, directory, ports})
      : {proxies: [], copied: async () => 0};
    const prefixed = {enter, prefix, load, port: ports.short};
    let opened: Promise<Mesh> | undefined;
    const mesh = (): Promise<Mesh> => {
      opened ??= openMesh(prefixed, {directory, processes});
      return opened;
    };
    pods.set(name, {enter, ports, load: client, mesh, ...mirrored});
  }
  return pods;
}
