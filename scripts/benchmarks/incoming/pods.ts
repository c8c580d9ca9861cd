/**
 * Pods with the same applications, and what is done to their incoming traffic: each is a network namespace of an
 * ordinary user's, with nginx and applications in Node and Go; in one is haproxy, and beside most of the others
 * `mirrord exec -t process/PID`.
 */

import {type ChildProcess, execFileSync, spawnSync} from 'node:child_process';
import {once} from 'node:events';
import {mkdirSync, readFileSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {setTimeout as delay} from 'node:timers/promises';
import {fileURLToPath} from 'node:url';
import {BenchError} from '../network/error.ts';
import {mirrordPath, type Person} from '../network/person.ts';
import {until} from '../network/processes.ts';
import {descendants} from '../network/usage.ts';
import {configureHaproxy} from './haproxy.ts';
import {bodies, configureNginx, ports} from './nginx.ts';

const nodeApplication = fileURLToPath(new URL('application.ts', import.meta.url));
const goApplication = fileURLToPath(new URL('application.go', import.meta.url));

const header = {header_filter: '^x-mine: yes$'};
const path = {path_filter: '^/mine/'};
const filtered = (filter: object): object => ({
  mode: 'steal',
  http_filter: {...filter, ports: Object.values(ports)},
});

/** What `feature.network.incoming` is; undefined: there is no agent. */
const settings = {
  'no agent': undefined,
  haproxy: undefined,
  'agent, no subscription': 'off',
  'filter, none fits': filtered(header),
  'filter, half fit': filtered(path),
} as const;
export type PodName = keyof typeof settings;
export const podNames = Object.keys(settings) as PodName[];

export interface Pod {
  /** What begins a command that is to run in its network. */
  readonly enter: readonly string[];
  /** The agent, or haproxy. */
  readonly proxies: readonly number[];
}

/** Builds the application in Go. */
function buildGo(directory: string): string {
  const built = join(directory, 'application-go');
  try {
    execFileSync('go', ['build', '-buildvcs=false', '-o', built, goApplication], {
      cwd: '/', // in no module
      stdio: ['ignore', 'ignore', 'inherit'],
    });
  } catch {
    throw new BenchError("the application in Go can't be built");
  }
  return built;
}

/** Starts a program, and keeps what it complains about. */
function start(
  person: Person,
  name: string,
  argv: readonly string[],
): ChildProcess & {pid: number} {
  const child = person.start(argv);
  child.stdout?.resume();
  let complaint = '';
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    complaint = (complaint + text).slice(-2_000);
  });
  child.once('exit', (status, signal) => {
    if (signal === null && status !== 0)
      process.stderr.write(`bench: ${name} ended (${status}) ${complaint}\n`);
  });
  if (child.pid === undefined) throw new BenchError(`${name} does not start`);
  return Object.assign(child, {pid: child.pid});
}

/** Whether somebody listens on ports in a program's network. Throws a BenchError when the program has ended. */
function listens({pid, exitCode}: ChildProcess, wanted: readonly number[]): boolean {
  if (exitCode !== null) throw new BenchError('nginx does not run');
  const tables = ['tcp', 'tcp6'].map((name) => readFileSync(`/proc/${pid}/net/${name}`, 'latin1'));
  const isThere = (port: number): boolean => {
    const place = `:${port.toString(16).toUpperCase().padStart(4, '0')} `;
    const listening = new RegExp(`${place}0+:0000 0A`);
    return tables.some((table) => listening.test(table));
  };
  return wanted.every(isThere);
}

/** Starts the pods; all of them answer when this resolves. */
export async function openPods(
  person: Person,
  prefix: readonly string[],
): Promise<ReadonlyMap<PodName, Pod> & AsyncDisposable> {
  const pods = new Map<PodName, Pod>();
  const sessions: ChildProcess[] = [];
  const built = buildGo(person.directory);

  function enterAndRun(enter: readonly string[], argv: readonly string[], input = ''): string {
    const [command = '', ...args] = [...prefix, ...enter, ...argv];
    const {status, stdout, stderr} = spawnSync(command, args, {encoding: 'utf8', input});
    if (status !== 0) throw new BenchError(`${argv.join(' ')}: ${stderr}`);
    return stdout;
  }

  async function open(name: PodName): Promise<Pod> {
    const directory = join(person.directory, `pod-${pods.size}`);
    mkdirSync(directory, {mode: 0o755});
    const application = configureNginx(join(directory, 'application'), 'application');
    const script = 'ip link set lo up; exec "$0" "$@"';
    const namespaces = ['unshare', '--user', '--map-root-user', '--net', '--'];
    const nginx = start(person, name, [...namespaces, 'sh', '-c', script, ...application]);
    const {pid} = nginx;
    const enter = ['nsenter', '--user', '--preserve-credentials', '--net', '-t', `${pid}`, '--'];
    await until(`${name}: nginx`, () => listens(nginx, [ports.http1, ports.h2c]));
    const node = [process.execPath, '--disable-warning=ExperimentalWarning', nodeApplication];
    start(person, name, [...enter, ...node, `${ports.node}`, `${bodies.small}`]);
    start(person, name, [...enter, built, `${ports.go}`]);
    await until(`${name}: the applications`, () => listens(nginx, [ports.node, ports.go]));
    if (name === 'haproxy') {
      const {argv, rules, listeners} = configureHaproxy(directory);
      const haproxy = start(person, name, [...enter, ...argv]);
      await until(name, () => listens(nginx, listeners));
      enterAndRun(enter, ['nft', '-f', '-'], rules);
      return {enter, proxies: [haproxy.pid]};
    }
    const incoming = settings[name];
    if (incoming === undefined) return {enter, proxies: []};
    const config = {target: `process/${pid}`, feature: {network: {incoming}, fs: 'local'}};
    const file = join(directory, 'mirrord.json');
    writeFileSync(file, JSON.stringify(config), {mode: 0o644});
    const program = configureNginx(join(directory, 'program'), 'program');
    const argv = [mirrordPath, 'exec', '-f', file, '--', ...program];
    const session = start(person, `${name}: mirrord`, argv);
    sessions.push(session);
    const rules = (): string => enterAndRun(enter, ['nft', 'list', 'ruleset']);
    const isRedirected = (): boolean => {
      const now = rules();
      return Object.values(ports).every((port) => now.includes(`${port} timeout`));
    };
    const agents = (): number[] => descendants(session.pid, 'agent/main.ts');
    await until(`${name}: the agent`, () => agents().length > 0);
    if (incoming !== 'off') await until(`${name}: the rules`, isRedirected);
    return {enter, proxies: agents()};
  }

  const close = async (): Promise<void> => {
    for (const session of sessions) session.kill('SIGTERM');
    const ended = sessions.map((session) => session.exitCode ?? once(session, 'exit'));
    await Promise.race([Promise.all(ended), delay(5_000)]);
  };
  try {
    for (const name of podNames) pods.set(name, await open(name));
  } catch (error) {
    await close();
    throw error;
  }
  return Object.assign(pods, {[Symbol.asyncDispose]: close});
}
