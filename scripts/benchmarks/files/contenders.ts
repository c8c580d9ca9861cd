/**
 * The ways to a directory at the far end of a link that are compared, each with a program that uses files
 * (probe.c) where a person's would be:
 *
 *   mirrord        a session in which the directory is the pod's, to read and write
 *   sshfs          sshfs as Debian has it, with what it does by itself, and an sshd of our own
 *
 * Both connections lead over the same link. `direct` is the directory without anything between: the target itself, which
 * has it in memory, so that no disk is measured.
 */

import {execFileSync} from 'node:child_process';
import {chownSync, mkdirSync, rmSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {ordinaryUser} from '../../../test/helpers/user.ts';
import {BenchError} from '../network/error.ts';
import {type Ends, farHost, openEnds} from '../network/far-end.ts';
import type {LoadProcess} from '../network/load.ts';
import type {Person} from '../network/person.ts';
import {Processes, pidOf, until} from '../network/processes.ts';

export const contenderNames = ['direct', 'mirrord', 'sshfs'] as const;
export type ContenderName = (typeof contenderNames)[number];

export interface Contender {
  readonly probe: LoadProcess;
  /** The directory as the probe has it. */
  readonly directory: string;
}

export interface Contenders extends AsyncDisposable {
  readonly all: ReadonlyMap<ContenderName, Contender>;
}

const sshPort = '2222';
/** A question that any probe answers. */
const nothing = 'run true';

/** Where Debian has what is no command of an ordinary user's. */
export const sshd = '/usr/sbin/sshd';
const sftpServer = '/usr/lib/openssh/sftp-server';

interface Tools {
  readonly probe: string;
  readonly link: string;
}

/** Opens a link whose round trip takes this long, and all contenders on it. */
export async function openContenders(
  person: Person,
  {probe, link}: Tools,
  roundTripMs: number,
): Promise<Contenders> {
  const processes = new Processes(person);
  const directory = personalDirectory(person, 'data');
  const dispose = (): Promise<void> => processes[Symbol.asyncDispose]();
  try {
    const ends = await openEnds(processes, link, roundTripMs);
    const script = 'mount -t tmpfs tmpfs "$1" && exec "$0"';
    const argv = ['unshare', '--mount', '--', 'sh', '-c', script, probe, directory];
    const target = await processes.startClient('direct', [...ends.there, ...argv], nothing);
    const place = {probe, directory, target: pidOf(target)};
    const all = new Map<ContenderName, Contender>([
      ['direct', {probe: target, directory}],
      ['mirrord', await openMirrord(processes, ends, place)],
      ['sshfs', await openSshfs(person, processes, ends, place)],
    ]);
    return {all, [Symbol.asyncDispose]: dispose};
  } catch (error) {
    await dispose();
    throw error;
  }
}

function personalDirectory(person: Person, name: string): string {
  const path = join(person.directory, name);
  const {uid, gid} = ordinaryUser();
  mkdirSync(path, {recursive: true});
  chownSync(path, uid, gid);
  return path;
}

/** The directory that is served, by the process that has it. */
interface Served {
  readonly probe: string;
  readonly directory: string;
  readonly target: number;
}

async function openMirrord(
  processes: Processes,
  ends: Ends,
  {probe, directory, target}: Served,
): Promise<Contender> {
  const {token} = await ends.startAgent(target);
  const lists = {readOnly: [], local: [], notFound: [], mapping: {}};
  const files = {
    rules: {mode: 'localwithoverrides', readWrite: [`^${directory}`], ...lists},
    firstBytes: 128_000, // the default of feature.fs.readonly_file_buffer
    around: {home: '/', cwd: '/', temporary: '/tmp'},
  };
  const argv = ends.session(token, [JSON.stringify({files}), probe]);
  return {probe: await processes.startClient('mirrord', argv, nothing), directory};
}

async function openSshfs(
  person: Person,
  processes: Processes,
  ends: Ends,
  {probe, directory, target}: Served,
): Promise<Contender> {
  const {uid, gid} = ordinaryUser();
  const at = (name: string): string => join(person.directory, name);
  const user = execFileSync('id', ['-un', String(uid)], {encoding: 'utf8'}).trim();
  for (const name of ['host-key', 'key']) {
    rmSync(at(name), {force: true});
    execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', at(name)]);
    chownSync(at(name), uid, gid);
  }
  const server = {
    ListenAddress: `${farHost}:${sshPort}`,
    HostKey: at('host-key'),
    AuthorizedKeysFile: at('key.pub'),
    PidFile: 'none',
    UsePAM: 'no',
    StrictModes: 'no',
    PasswordAuthentication: 'no',
    Subsystem: `sftp ${sftpServer}`,
  };
  const lines = Object.entries(server).map((pair) => `${pair.join(' ')}\n`);
  writeFileSync(at('sshd_config'), lines.join(''), {mode: 0o644});
  // sshd takes who is root for the machine's: in a namespace below the link's it is the person.
  // Its sessions outlive it, and a link that is gone tells them nothing: they end with their process namespace.
  const ownProcesses = ['--pid', '--fork', '--kill-child'];
  const asPerson = [
    'unshare',
    '--user',
    `--map-user=${uid}`,
    `--map-group=${gid}`,
    ...ownProcesses,
    '--',
  ];
  const atTarget = ['nsenter', '-t', String(target), '-U', '-n', '-m', '--preserve-credentials'];
  const daemon = processes.start('sshd', [
    ...[...atTarget, '--', ...asPerson],
    ...[sshd, '-D', '-e', '-f', at('sshd_config')],
  ]);
  let said = '';
  daemon.child.stderr?.on('data', (text: string) => {
    said += text;
  });
  await until('sshd to listen', () => {
    if (daemon.child.exitCode !== null) throw new BenchError(`sshd does not start: ${said}`);
    return said.includes('Server listening');
  });
  const mountPoint = personalDirectory(person, 'sshfs');
  const client = {
    port: sshPort,
    IdentityFile: at('key'),
    UserKnownHostsFile: '/dev/null',
    StrictHostKeyChecking: 'no',
    LogLevel: 'ERROR',
    idmap: 'user',
  };
  const options = Object.entries(client).flatMap(([name, value]) => ['-o', `${name}=${value}`]);
  // Of a mount namespace and a process namespace of its own nothing stays.
  const script = 'd=$1 p=$2; shift 2; sshfs -F /dev/null "$@" "$d" && "$p"; umount "$d"';
  const alone = ['unshare', '--mount', '--pid', '--fork', '--kill-child', '--'];
  const argv = [
    ...[...ends.here, ...alone, 'sh', '-c', script, 'sh', mountPoint, probe],
    ...[...options, `${user}@${farHost}:${directory}`],
  ];
  return {probe: await processes.startClient('sshfs', argv, nothing), directory: mountPoint};
}
