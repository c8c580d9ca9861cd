import {execFileSync} from 'node:child_process';
import {chmodSync, mkdtempSync, rmSync, writeFileSync} from 'node:fs';
import os from 'node:os';
import {join} from 'node:path';
import {fileURLToPath} from 'node:url';
import test from 'ava';
import {needing, programs} from '../helpers/needs.ts';

type Shell = 'bash' | 'zsh' | 'fish';

const mirrord = fileURLToPath(new URL('../../bin/mirrord', import.meta.url));
const directory = mkdtempSync(join(os.tmpdir(), 'mirrord-completions-'));
const env = {
  ...process.env,
  PATH: `${directory}:/usr/sbin:/usr/bin:/sbin:/bin`,
  HOME: directory,
  TERM: 'dumb',
};
test.after.always(() => rmSync(directory, {recursive: true}));

// Stands for the command that is completed, which is asked for targets.
writeFileSync(join(directory, 'mirrord'), `#!/bin/sh\necho '["demo/gateway","demo/orders-0"]'\n`);
chmodSync(join(directory, 'mirrord'), 0o755);

/** Writes a shell's script to a file. */
function scriptFor(shell: Shell): string {
  const path = join(directory, `mirrord.${shell}`);
  writeFileSync(path, execFileSync(mirrord, ['completions', shell]));
  return path;
}

function run(shell: Shell, args: readonly string[]): string {
  const stdio = ['ignore', 'pipe', 'ignore'] as const;
  return execFileSync(shell, args, {env, stdio: [...stdio], encoding: 'utf8', timeout: 60_000});
}

/** What a shell offers for a line, the cursor being at its end. */
const complete: Readonly<Record<Shell, (script: string, line: string) => string[]>> = {
  bash(script, line) {
    const ask = `. "$0"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _mirrord; printf '%s\\n' "\${COMPREPLY[@]}"`;
    return run('bash', ['--norc', '-c', ask, script, ...line.split(' ')])
      .trim()
      .split('\n');
  },
  fish(script, line) {
    const ask = `source ${script}; complete -C '${line}'`;
    const offers = run('fish', ['--no-config', '-c', ask]).trim().split('\n');
    return offers.map((offer) => offer.split('\t')[0] ?? '');
  },
  // zsh completes only at a terminal: it gets one, and what it makes of the line is read from there.
  zsh(script, line) {
    const ask = `
      zmodload zsh/zpty
      zpty shell zsh -f -i
      zpty -w shell 'PROMPT="> "; autoload -U compinit; compinit -u -D; source ${script}; echo READY$((1+1))'
      zpty -r shell output '*READY2*'
      zpty -w -n shell "$0"$'\\t'
      zpty -w shell $'\\C-a\\C-kecho END$((1+1))'
      zpty -r shell output '*END2*'
      print -r -- "$output"
      zpty -d shell`;
    return run('zsh', ['-f', '-c', ask, line]).split(/[^!-~]+/);
  },
};

const offers = test.macro({
  exec(t, shell: Shell, lines: Readonly<Record<string, readonly string[]>>) {
    const script = scriptFor(shell);
    for (const [line, expected] of Object.entries(lines)) {
      const found = complete[shell](script, line);
      for (const word of expected) t.true(found.includes(word), `${line} → ${found.join(' ')}`);
    }
  },
  title: (_, shell) => `${shell} completes commands, options, values, targets and programs`,
});

needing(test, programs('bash'))(offers, 'bash', {
  'mirrord ': ['exec', 'ls', 'demo', 'completions'],
  'mirrord --': ['--version', '--help'],
  'mirrord demo ': ['up', 'down', 'status'],
  'mirrord demo up --': ['--json'],
  'mirrord exec --no': ['--no-tun'],
  'mirrord exec -t ': ['demo/gateway', 'demo/orders-0'],
  'mirrord exec --target demo/g': ['demo/gateway'],
  // bash takes the = for a word of its own.
  'mirrord exec --target = demo/g': ['demo/gateway'],
  'mirrord exec --target =': ['demo/gateway'],
  'mirrord exec --target = demo/gateway -- mkfif': ['mkfifo'],
  'mirrord exec -t demo/gateway mkfif': ['mkfifo'],
  'mirrord exec -t demo/gateway -- mkfif': ['mkfifo'],
  'mirrord exec -t demo/gateway -- ls /etc/host': ['/etc/hosts'],
  'mirrord ls -t rep': ['replicaset'],
  'mirrord completions ': ['bash', 'zsh', 'fish'],
});

needing(test, programs('fish'))(offers, 'fish', {
  'mirrord ': ['exec', 'ls', 'demo', 'completions'],
  'mirrord demo ': ['up', 'down', 'status'],
  'mirrord demo up --': ['--json'],
  'mirrord exec --no': ['--no-tun'],
  'mirrord exec -t ': ['demo/gateway', 'demo/orders-0'],
  'mirrord exec --target=demo/g': ['--target=demo/gateway'],
  'mirrord exec -t demo/gateway mkfif': ['mkfifo'],
  'mirrord exec --target=demo/gateway -- mkfif': ['mkfifo'],
  'mirrord ls -t rep': ['replicaset'],
  'mirrord completions ': ['bash', 'zsh', 'fish'],
});

needing(test, programs('zsh'))(offers, 'zsh', {
  'mirrord demo sta': ['status'],
  'mirrord exec --no-t': ['--no-tun'],
  'mirrord exec -t demo/g': ['demo/gateway'],
  'mirrord exec --target demo/o': ['demo/orders-0'],
  'mirrord exec --target=demo/o': ['--target=demo/orders-0'],
  'mirrord exec -t demo/gateway -- mkfif': ['mkfifo'],
  'mirrord ls -t rep': ['replicaset'],
  'mirrord completions b': ['bash'],
});

test('an unknown shell is refused, with those that there are', (t) => {
  const error = t.throws(() => execFileSync(mirrord, ['completions', 'bsh'], {stdio: 'pipe'}));
  t.regex(String(error?.message), /bash, zsh, fish/);
});
