import {execFileSync} from 'node:child_process';
import {fileURLToPath} from 'node:url';
import test from 'ava';
import {useDemo} from '../helpers/e2e.ts';
import {needing, programs} from '../helpers/needs.ts';

const world = useDemo(test);

/** Runs a script in a directory of the pod's that may be written to; returns what it says. */
async function inDirectory(script: string): Promise<string> {
  const whole = `set -e; mkdir /app/work; trap 'rm -rf /app/work' EXIT; cd /app/work\n${script}`;
  return await world.exec(['bash', '-c', whole], {flags: ['--fs-mode', 'write']});
}

const tree = `mkdir -p tree/a/b; for i in $(seq 100); do head -c $((i * 100)) /dev/urandom > tree/a/b/$i; done
  ln -s b tree/a/link; ln tree/a/b/1 tree/hard; chmod 640 tree/a/b/2`;

test.serial('git: a repository, its history, a clone, and nothing is broken', async (t) => {
  const said = await inDirectory(`
    export HOME=$PWD GIT_AUTHOR_DATE='2026-01-01T00:00:00Z' GIT_COMMITTER_DATE='2026-01-01T00:00:00Z'
    git config --global user.email a@b; git config --global user.name a; git config --global init.defaultBranch main
    ${tree}; cd tree; git init -q; git add -A; git commit -qm one
    echo changed > a/b/1; git status --porcelain; git stash -q; git stash pop -q; git commit -qam two
    git gc -q; git fsck --full --no-dangling; git clone -q . ../clone; cd ../clone; git log --format=%s; git status --porcelain`);
  t.is(said, ' M a/b/1\n M hard\ntwo\none\n');
});

test.serial('sqlite: a rollback journal and a write-ahead log, by two processes', async (t) => {
  const script = `
import multiprocessing, sqlite3
def fill(mode, who):
    db = sqlite3.connect(f'{mode}.db', timeout=60)
    for i in range(100):
        with db: db.execute('insert into t values (?, ?)', (who, 'x' * i))
for mode in ('delete', 'wal'):
    db = sqlite3.connect(f'{mode}.db')
    print(db.execute(f'pragma journal_mode={mode}').fetchone()[0])
    db.execute('create table t(who, text)')
    both = [multiprocessing.Process(target=fill, args=(mode, who)) for who in (1, 2)]
    for one in both: one.start()
    for one in both: one.join()
    print(db.execute('select count(*) from t').fetchone()[0], db.execute('pragma integrity_check').fetchone()[0])`;
  const said = await inDirectory(`cat > fill <<'END'\n${script}\nEND\npython3 fill`);
  t.is(said, 'delete\n200 ok\nwal\n200 ok\n');
});

test.serial('tar, rsync, cp and diff: trees come through as they are', async (t) => {
  const said = await inDirectory(`
    ${tree}; tar czf tree.tgz tree; mkdir out; tar xzf tree.tgz -C out
    diff -r tree out/tree; stat -c %h out/tree/hard; stat -c %a out/tree/a/b/2; readlink out/tree/a/link
    rsync -aH tree/ synced/; rsync -aHin --delete tree/ synced/; cp -a tree copied; diff -r tree copied
    mv copied moved; rm -r moved synced; ls`);
  t.is(said, '2\n640\nb\nout\ntree\ntree.tgz\n');
});

test.serial('vim, python and node: edit, import and watch over what is there', async (t) => {
  const said = await inDirectory(`
    printf 'one\\ntwo\\n' > text
    vim -N -u NONE -i NONE -es -c 'set backup backupcopy=no' -c '%s/two/three/' -c wq text; cat text 'text~'
    mkdir package; echo 'answer = 42' > package/__init__.pyw; mv package/__init__.pyw package/module
    python3 -c "
import importlib.machinery, importlib.util, mmap, shutil
loader = importlib.machinery.SourceFileLoader('m', 'package/module')
m = importlib.util.module_from_spec(importlib.util.spec_from_loader('m', loader)); loader.exec_module(m)
shutil.copytree('package', 'copy'); print(m.answer)
with open('copy/module', 'r+b') as f, mmap.mmap(f.fileno(), 0) as mapped: mapped[0:1] = b'A'
print(open('copy/module').read(), end='')"
    node -e "
const fs = require('fs'); fs.cpSync('package', 'other', {recursive: true});
fs.appendFileSync('other/module', 'more\\n'); console.log(fs.readFileSync('other/module', 'utf8').trim());
fs.rmSync('other', {recursive: true}); console.log(fs.readdirSync('.').join())"`);
  t.is(said, 'one\nthree\none\ntwo\n42\nAnswer = 42\nanswer = 42\nmore\ncopy,package,text,text~\n');
});

const withMusl = needing(test, programs('musl-gcc'));
for (const [how, flags] of [
  ['statically', ['-static']],
  ['dynamically', []],
] as const) {
  withMusl.serial(
    `a program of musl, linked ${how}: stdio, opendir, mmap, links and glob`,
    async (t) => {
      const source = fileURLToPath(new URL('programs/reader.c', import.meta.url));
      const reader = world.program(`reader-${how}`);
      execFileSync('musl-gcc', [
        ...flags,
        '-O1',
        '-Wall',
        '-Wextra',
        '-Werror',
        source,
        '-o',
        reader,
      ]);
      const said = await inDirectory(`
      printf 'one\\ntwo\\nend\\n' > text; seq 100000 > large; ln -s ../work/text link; ${reader} /app/work 2>&1`);
      const lines = [
        'opendir: large link text',
        'stdio: one two end, at last end',
        'mmap: 100000 lines',
        'readlink: ../work/text, realpath: /app/work/text',
        'glob: 2',
        'none: No such file or directory',
      ];
      t.is(said, `${lines.join('\n')}\n`);
    },
  );
}
