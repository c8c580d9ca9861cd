import {writeFileSync} from 'node:fs';
import {join} from 'node:path';
import ava from 'ava';
import {clusterTest, useCluster} from '../helpers/cluster.ts';
import {useClusterWorld} from '../helpers/cluster-world.ts';

const test = clusterTest(ava);
const cluster = useCluster(test);
const world = useClusterWorld(test, cluster);

const kinds = [
  ['a Job', []],
  ['an ephemeral container', ['--ephemeral-container']],
] as const;

for (const [kind, more] of kinds) {
  const flags = ['-n', 'demo', ...more];
  const target = 'deployment/gateway';

  test.serial(
    `by ${kind}: ConfigMap, Secret, downward API and token are read in the pod`,
    async (t) => {
      const config = join(world.temporary, 'files.json');
      const fs = {mode: 'read', read_only: ['^/etc/gateway/', '^/etc/podinfo/']};
      writeFileSync(config, JSON.stringify({feature: {fs}}));
      const script = [
        'cat /app/config.json /etc/gateway/api-key',
        'readlink /etc/gateway/api-key',
        'cat /etc/podinfo/labels',
        'head -c 2 /var/run/secrets/kubernetes.io/serviceaccount/token',
      ].join('; ');
      const seen = await world.exec(['sh', '-c', script], {
        target,
        flags: [...flags, '-f', config],
      });
      t.regex(seen, /hello from the gateway/, 'subPath');
      t.regex(seen, /not-a-secret/);
      t.regex(seen, /\.\.data\/api-key/);
      t.regex(seen, /app="gateway"/);
      t.regex(seen, /ey$/);
    },
  );

  test.serial(`by ${kind}: what is written to an emptyDir is there`, async (t) => {
    const path = `/var/log/gateway/${kind.replaceAll(' ', '-')}`;
    const written = [...flags, '--fs-mode', 'write'];
    await world.exec(['sh', '-c', `echo written > ${path}`], {target, flags: written});
    const read = [...flags, '--fs-mode', 'read'];
    t.is(await world.exec(['cat', path], {target, flags: read}), 'written\n');
    await world.exec(['rm', path], {target, flags: written});
  });
}
