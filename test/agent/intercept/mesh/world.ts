/** What the pods of `pod.ts` and `captured.ts` have in common: the mesh's proxy, an application, and a client in a network of its own. */

import {type ChildProcess, execFile, execFileSync, spawn} from 'node:child_process';
import {once} from 'node:events';
import {readFileSync} from 'node:fs';
import {createServer} from 'node:http';
import {createInterface} from 'node:readline';
import {fileURLToPath} from 'node:url';
import {promisify} from 'node:util';
import {type Mesh, SKIPPED} from './meshes.ts';
import {type Answer, describe} from './program.ts';

export const PORT = 8_080;
/** Nobody ends a connection because this machine is slow. */
export const patient = {keepAliveTimeout: 0} as const;

export const sh = (script: string, input = ''): string =>
  execFileSync('sh', ['-ec', script], {input, encoding: 'utf8'});

/** A process that lives as long as this one does; resolves with its first line. */
export async function start(
  file: string,
  args: readonly string[],
  onLine: (line: string) => void = () => undefined,
): Promise<ChildProcess> {
  const child = spawn(file, args, {stdio: ['ignore', 'pipe', 'inherit'], cwd: '/'});
  const lines = createInterface(child.stdout as NonNullable<ChildProcess['stdout']>);
  await once(lines, 'line');
  lines.on('line', onLine);
  return child;
}

/** Makes a network for a client; returns what runs a command there. */
export async function makeClientNetwork(): Promise<{pid: number; prefix: string}> {
  const {pid = 0} = await start('unshare', ['-n', 'sh', '-c', 'echo; exec sleep infinity']);
  return {pid, prefix: `nsenter -n -t ${pid}`};
}

/** Has the application listen at the port that the mesh takes, and at one that it leaves out. */
export async function serveApplication(): Promise<void> {
  for (const port of [PORT, SKIPPED]) {
    const server = createServer(patient, (request, response) => {
      const peer = request.socket.remoteAddress?.replace('::ffff:', '') ?? '';
      response.end(JSON.stringify({...describe('application', request), peer}));
    }).listen(port, '::');
    await once(server, 'listening');
  }
}

/** What has setpriv run a program as the proxy's user. */
export const asProxy = ({uid}: Mesh['proxy']): string[] => [
  `--reuid=${uid}`,
  `--regid=${uid}`,
  '--clear-groups',
];

/** Starts the mesh's proxy. */
export async function startProxy(
  proxy: Mesh['proxy'],
  onLine?: (line: string) => void,
): Promise<void> {
  const script = readFileSync(fileURLToPath(new URL('proxy.py', import.meta.url)), 'utf8');
  const argv = [
    ...asProxy(proxy),
    ...['--inh-caps=+net_admin,+net_raw', '--ambient-caps=+net_admin,+net_raw'],
    ...['/usr/bin/python3', '-c', script, JSON.stringify(proxy)],
  ];
  await start('setpriv', argv, onLine);
}

/** Who answers, or what curl says; `prefix` runs it. */
export async function ask(
  prefix: string,
  url: string,
  headers: readonly string[] = [],
): Promise<Answer | string> {
  const [file = '', ...args] = `${prefix} curl -gsS --max-time 20 ${url}`.split(' ');
  const more = headers.flatMap((header) => ['-H', header]);
  try {
    const {stdout} = await promisify(execFile)(file, [...args, ...more]);
    return JSON.parse(stdout) as Answer;
  } catch (error) {
    return String((error as {stderr?: string}).stderr ?? error);
  }
}
