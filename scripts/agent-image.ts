/** Writes the agent's image: what `scripts/lib/agent-root` collects, as `agent/Dockerfile` has it. */

import {execFileSync} from 'node:child_process';
import {mkdtempSync, readFileSync, rmSync, statSync} from 'node:fs';
import {homedir, tmpdir} from 'node:os';
import {join} from 'node:path';
import {fileURLToPath} from 'node:url';
import {parseArgs} from 'node:util';
import {writeImage} from './lib/oci-image.ts';

const collect = fileURLToPath(new URL('lib/agent-root', import.meta.url));
const {version} = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as {
  version?: string;
};

function readArguments(): {output: string; tag: string} {
  try {
    return parseArgs({
      options: {
        output: {type: 'string', default: 'agent-image.tar'},
        tag: {type: 'string', default: `mirrord.test/agent:${version ?? 'dev'}`},
      },
    }).values;
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\nsee: scripts/agent-image --help\n`);
    process.exit(64);
  }
}

const {output, tag} = readArguments();

const directory = mkdtempSync(join(tmpdir(), 'mirrord-agent-image-'));
try {
  const cache = process.env['XDG_CACHE_HOME'] || join(homedir(), '.cache');
  execFileSync(collect, [directory, join(cache, 'mirrord-agent-image')], {stdio: 'inherit'});
  const layer = (name: string) => [{path: '/', source: join(directory, name)}];
  const digest = writeImage(
    {
      name: tag,
      layers: [
        [...layer('system'), {path: '/tmp', directory: true, mode: 0o1777}],
        layer('node'),
        layer('agent'),
      ],
      config: {
        Entrypoint: [
          '/usr/bin/node',
          '--disable-warning=ExperimentalWarning',
          '--max-semi-space-size=1',
          '--expose-gc',
          '/mirrord/agent/main.ts',
        ],
        WorkingDir: '/',
        User: '65532:65532',
      },
    },
    output,
  );
  const mebibytes = (statSync(output).size / 1024 ** 2).toFixed(0);
  console.log(`${tag} ${digest} in ${output}, ${mebibytes} MiB`);
} finally {
  rmSync(directory, {recursive: true, force: true});
}
