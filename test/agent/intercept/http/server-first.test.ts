/** Servers that speak first, Debian's own, behind a filter of HTTP: SSH, SMTP, MySQL. */

import {type ChildProcess, execFile, spawn} from 'node:child_process';
import {once} from 'node:events';
import {mkdtempSync, readFileSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {promisify} from 'node:util';
import test, {type ExecutionContext} from 'ava';
import {needing, programs, python, pythonModule, systemPath} from '../../../helpers/needs.ts';
import {freePort, isListening} from '../../../helpers/ports.ts';
import {NOBODY, relay, subscription, wantsHeader} from './world.ts';

const run = promisify(execFile);
const env = {...process.env, PATH: systemPath};
const withSsh = needing(test, programs('sshd', 'ssh-keygen', 'ssh-keyscan'));
const withMail = needing(test, programs('curl'), pythonModule('aiosmtpd'));
const withMariadb = needing(test, programs('mariadbd', 'mariadb'));

function scratch(t: ExecutionContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'mirrord-server-first-'));
  t.teardown(() => rmSync(directory, {recursive: true, force: true}));
  return directory;
}

/** Starts a server that ends with the test; resolves to its port behind a filter when it listens. */
async function behindFilter(
  t: ExecutionContext,
  start: (port: number) => readonly string[],
): Promise<{readonly port: number; readonly child: ChildProcess}> {
  const at = await freePort();
  const [file = '', ...args] = start(at);
  const child = spawn(file, args, {env, stdio: ['ignore', 'pipe', 'pipe']});
  let said = '';
  child.stderr.on('data', (text) => (said += text));
  t.teardown(async () => {
    child.kill('SIGKILL');
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
  });
  while (!(await isListening(at))) {
    if (child.exitCode !== null) throw new Error(`${file} has ended: ${said}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  const mine = subscription(NOBODY, {filter: wantsHeader('^x-user: me$')});
  return {port: (await relay(t, at, [mine])).port, child};
}

withSsh('sshd: keys are exchanged', async (t) => {
  const directory = scratch(t);
  const key = join(directory, 'key');
  await run('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', key], {env});
  const config = join(directory, 'config');
  writeFileSync(config, `HostKey ${key}\nPidFile none\nUsePAM no\n`);
  // Root's wants a directory in /run, which is there where it is a service.
  const place = 'mount -t tmpfs tmpfs /run && mkdir /run/sshd && exec "$0" "$@"';
  const inPlace = process.getuid?.() === 0 ? ['unshare', '-m', 'sh', '-ec', place] : [];
  const {port} = await behindFilter(t, (at) => [
    ...[...inPlace, '/usr/sbin/sshd', '-D', '-e', '-f', config],
    ...['-o', `ListenAddress=127.0.0.1:${at}`],
  ]);
  const asked = ['-t', 'ed25519', '-p', String(port), '127.0.0.1'];
  const {stdout} = await run('ssh-keyscan', asked, {env});

  const [, own = ''] = readFileSync(`${key}.pub`, 'utf8').split(' ');
  t.is(stdout.trim().split(' ')[2], own);
});

withMail('SMTP: a mail arrives as it was sent', async (t) => {
  const file = join(scratch(t), 'mail');
  writeFileSync(file, 'Subject: hello\r\n\r\n.a dot\r\nthe end\r\n');
  const handler = ['-c', 'aiosmtpd.handlers.Debugging', 'stdout'];
  const {port, child} = await behindFilter(t, (at) => [
    ...[python, '-u', '-m', 'aiosmtpd', '-n', '-l', `127.0.0.1:${at}`],
    ...handler,
  ]);
  let heard = '';
  child.stdout?.setEncoding('utf8').on('data', (text) => (heard += text));
  const mail = ['--mail-from', 'a@example.org', '--mail-rcpt', 'b@example.org', '-T', file];
  await run('curl', ['-sS', `smtp://127.0.0.1:${port}`, ...mail], {env});
  while (!heard.includes('END MESSAGE')) await new Promise((resolve) => setTimeout(resolve, 10));
  t.true(heard.includes('Subject: hello\n'));
  t.true(heard.includes('\n.a dot\nthe end\n'));
});

withMariadb('MySQL: a query is answered', async (t) => {
  const directory = scratch(t);
  const own = process.getuid?.() === 0 ? ['--user=root'] : [];
  const {port} = await behindFilter(t, (at) => [
    ...['/usr/sbin/mariadbd', '--no-defaults', `--datadir=${directory}`, '--skip-grant-tables'],
    ...['--bind-address=127.0.0.1', `--port=${at}`, `--socket=${directory}/socket`],
    ...['--innodb-buffer-pool-size=8M', '--innodb-log-file-size=4M', ...own],
  ]);
  const asked = ['--no-defaults', '-h127.0.0.1', `-P${port}`, '-N', '-e', 'select 6 * 7'];
  t.is((await run('mariadb', asked, {env})).stdout.trim(), '42');
});
