import ava from 'ava';
import {clusterTest, useCluster} from '../helpers/cluster.ts';
import {useClusterWorld} from '../helpers/cluster-world.ts';
import {waitFor} from '../helpers/e2e.ts';
import {signal} from '../helpers/processes.ts';

const test = clusterTest(ava);
const cluster = useCluster(test);
const world = useClusterWorld(test, cluster);
const server = () => cluster.status().components.find(({name}) => name === 'kube-apiserver');

/** Answers each line with itself, through the pod; a line a tenth of a second, until it is told to end. */
const client = `
  exec 3<>/dev/tcp/127.0.0.1/7
  echo up
  for ((i = 0; i < 100000; i++)); do
    echo "$i" >&3
    read -r line <&3 || { echo "lost at $i"; exit 3; }
    [ "$line" = "$i" ] || { echo "wrong: $line, not $i"; exit 4; }
    echo "line $i"
    read -r -t 0.1 && break
  done
  echo "all $i"
`;

for (const [kind, more] of [
  ['a Job', []],
  ['an ephemeral container', ['--ephemeral-container']],
] as const) {
  test.serial(
    `by ${kind}: the API server is killed and comes back; a connection of the program goes on`,
    async (t) => {
      t.timeout(180_000);
      const running = world.startExec(['bash', '-c', client], {
        target: 'pod/ledger/container/ledger',
        flags: ['-n', 'demo', ...more],
      });
      await running.said(/line 3/);
      const before = server()?.pid;
      signal({pid: before}, 'SIGKILL');
      await waitFor('another API server', () => {
        const now = server()?.pid;
        return now !== undefined && now !== before;
      });
      const said = Number(/line (\d+)\n$/.exec(running.output.stdout)?.[1] ?? 0);
      await running.said(new RegExp(`line ${said + 20}\n`));
      running.child.stdin?.write('enough\n');
      const {status, stdout} = await running.ended;
      t.is(status, 0);
      t.regex(stdout, /all \d+\n$/);
    },
  );
}
