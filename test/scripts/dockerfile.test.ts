import {execFileSync, spawnSync} from 'node:child_process';
import {cpSync, existsSync, mkdtempSync, readFileSync, rmSync, symlinkSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {dirname, join} from 'node:path';
import {fileURLToPath} from 'node:url';
import test, {type ExecutionContext} from 'ava';

const repository = fileURLToPath(new URL('../..', import.meta.url));
const dockerfile = readFileSync(join(repository, 'agent/Dockerfile'), 'utf8');
const ignored = readFileSync(join(repository, 'agent/Dockerfile.dockerignore'), 'utf8');

/** What COPY takes from the checkout: all but the last word of each, which is the place. */
const copied = [...dockerfile.matchAll(/^COPY (?!--from)(.+) \S+$/gm)].flatMap(([, sources = '']) =>
  sources.split(' '),
);

/** A checkout of what the builder is sent and copies, with this one's packages. */
function stage(t: ExecutionContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'mirrord-stage-'));
  t.teardown(() => rmSync(directory, {recursive: true}));
  for (const path of copied) {
    cpSync(join(repository, path), join(directory, path), {recursive: true});
  }
  symlinkSync(join(repository, 'node_modules'), join(directory, 'node_modules'));
  return directory;
}

test('the builder is sent what it copies, and nothing else', (t) => {
  const [all, ...sent] = ignored.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  t.is(all, '*');
  t.deepEqual(sent.map((line) => line.replace(/^!/, '')).sort(), [...copied].sort());
  for (const path of copied) t.true(existsSync(join(repository, path)), path);
});

test('of what is copied the native code is built, and the agent starts', (t) => {
  const directory = stage(t);
  execFileSync('scripts/build-native', {cwd: directory, stdio: 'pipe'});
  const [, argv = '[]'] = /^ENTRYPOINT (.+)$/m.exec(dockerfile) ?? [];
  const [, ...args] = JSON.parse(argv) as string[];
  const main = args.pop() ?? '';
  t.is(dirname(dirname(main)), '/mirrord');
  const {status, stderr} = spawnSync(
    process.execPath,
    [...args, join(directory, main.replace('/mirrord/', '')), '--targetless'],
    {encoding: 'utf8', env: {}},
  );
  t.regex(stderr, /MIRRORD_AGENT_USAGE/);
  t.is(status, 2);
});
