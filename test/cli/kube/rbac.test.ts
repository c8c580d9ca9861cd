import {execFileSync} from 'node:child_process';
import {readFileSync} from 'node:fs';
import {fileURLToPath} from 'node:url';
import test from 'ava';
import {leastRoles, rbacModes} from '../../../cli/kube/rbac.ts';

const repository = new URL('../../../', import.meta.url);
const mirrord = fileURLToPath(new URL('bin/mirrord', repository));

test('the documentation has the role that mirrord rbac prints', (t) => {
  const args = ['rbac', '-n', 'shop', '--group', 'developers'];
  const printed = execFileSync(mirrord, args, {encoding: 'utf8'});
  const indented = printed.replace(/^(?=.)/gm, '    ');
  const text = readFileSync(new URL('docs/kubernetes.md', repository), 'utf8');
  t.true(text.includes(indented));
});

test('no role may change more than what is made for the agent', (t) => {
  const changing = rbacModes.flatMap((mode) =>
    leastRoles(mode, 'a', 'b').flatMap(({rules}) =>
      rules.flatMap(({resources, verbs}) =>
        verbs
          .filter((verb) => !['get', 'list', 'watch'].includes(verb))
          .map((verb) => `${verb} ${resources}`),
      ),
    ),
  );
  t.deepEqual([...new Set(changing)].sort(), [
    'create jobs',
    'create pods/portforward',
    'delete jobs',
    'update pods/ephemeralcontainers',
  ]);
});
