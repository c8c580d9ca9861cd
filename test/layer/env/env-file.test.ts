import {mkdtempSync, rmSync, writeFileSync} from 'node:fs';
import os from 'node:os';
import {join} from 'node:path';
import test from 'ava';
import {readEnvFile} from '../../../layer/env/env-file.ts';

const directory = mkdtempSync(join(os.tmpdir(), 'mirrord-env-'));
test.after.always(() => rmSync(directory, {recursive: true}));

function read(content: string) {
  const path = join(directory, 'file.env');
  writeFileSync(path, content);
  return {...readEnvFile(path)};
}

test('comments, quotes, exports and lines within quotes are understood', (t) => {
  const content = `# a comment
A=1
export B = two words # and a comment
C="a # b"
D='$A \\n'
E="x
y"
F=
`;
  t.deepEqual(read(content), {A: '1', B: 'two words', C: 'a # b', D: '$A \\n', E: 'x\ny', F: ''});
});

test('a file from Windows is read as any other', (t) => {
  t.deepEqual(read('\uFEFFA=1\r\nB="2"\r\n'), {A: '1', B: '2'});
});

test('a file that is not there is named', (t) => {
  const path = join(directory, 'nowhere.env');
  const error = t.throws(() => readEnvFile(path), {code: 'MIRRORD_ENV_FILE_UNREADABLE'});
  t.true(error?.message.includes(path));
});
