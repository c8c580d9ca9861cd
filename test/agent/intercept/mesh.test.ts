/** Stealing, mirroring and passing on among the rules of service meshes, in a pod of network namespaces. */

import {execFile} from 'node:child_process';
import {fileURLToPath} from 'node:url';
import {promisify} from 'node:util';
import test from 'ava';
import {needing, programs, root} from '../../helpers/needs.ts';
import {meshes} from './mesh/meshes.ts';
import type {Answer} from './mesh/program.ts';

interface Seen {
  told: string[];
  cut: number;
  answers: Record<string, Answer | string>;
  requests: string[];
  seenByProxy: string[];
  before: string;
  after: string;
}

const program = fileURLToPath(new URL('mesh/pod.ts', import.meta.url));
// Several users in one network namespace; a pod at a time.
const here = needing(test, programs('nft', 'iptables-legacy-save', 'setpriv'), root()).serial;

async function run(mesh: string, tables: string, tool: string): Promise<Seen> {
  const node = [process.execPath, '--disable-warning=ExperimentalWarning', program];
  const argv = ['-nmpf', '--mount-proc', '--kill-child', ...node, mesh, tables, tool];
  const {stdout} = await promisify(execFile)('unshare', argv, {timeout: 120_000});
  return JSON.parse(stdout) as Seen;
}

interface Expected {
  /** What the application sees as its peer. */
  readonly peer: string;
  /** The same of what the agent has passed on. */
  readonly passedPeer: string;
  /** Whether the mesh takes a call of its proxy's to its own pod, and a port that is to be left alone. */
  readonly takesOwnCalls: boolean;
  readonly takesAllPorts: boolean;
}

const envoy = {
  peer: '127.0.0.6',
  passedPeer: '127.0.0.6',
  takesOwnCalls: true,
  takesAllPorts: false,
};
const expected: Readonly<Record<string, Expected>> = {
  'Istio, sidecar': envoy,
  'Istio, sidecar with TPROXY': envoy,
  'Istio, ambient': {
    peer: '10.9.0.1',
    passedPeer: '10.9.0.2',
    takesOwnCalls: false,
    takesAllPorts: true,
  },
  Linkerd: {...envoy, peer: '10.9.0.2', passedPeer: '10.9.0.2', takesOwnCalls: false},
  Kuma: {...envoy, peer: '127.0.0.1', passedPeer: '127.0.0.1'},
};

for (const mesh of Object.keys(meshes)) {
  for (const tables of ['nft', 'legacy']) {
    for (const tool of ['nftables', 'iptables']) {
      here(
        `${mesh} (iptables-${tables}), by ${tool}: everything comes once, and after the proxy`,
        async (t) => {
          const seen = await run(mesh, tables, tool);
          const {peer, passedPeer, takesOwnCalls, takesAllPorts} = expected[mesh] as Expected;
          const application = (path: string, from: string): Answer => ({
            by: 'application',
            path,
            proxied: 1,
            peer: from,
          });
          const ours = (path: string, proxied = 1): Answer => ({by: 'program', path, proxied});
          t.deepEqual(seen.told, [], 'the self-test has passed');
          t.is(seen.cut, 1, 'the application’s connection, not its client’s with the proxy');
          t.deepEqual(seen.answers, {
            first: application('/first', peer),
            stolen: ours('/stolen'),
            fromProxy: ours('/from-proxy', takesOwnCalls ? 1 : 0),
            fromInside: ours('/from-inside', 0),
            refused: application('/refused', passedPeer),
            mine: ours('/mine'),
            theirs: application('/theirs', passedPeer),
            mirrored: application('/mirrored', passedPeer),
            skipped: ours('/skipped', takesAllPorts ? 1 : 0),
            last: application('/last', peer),
          });
          const paths = [
            '/stolen',
            '/from-proxy',
            '/from-inside',
            '/mine',
            '/mirrored',
            '/skipped',
          ];
          t.deepEqual(seen.requests, paths, 'the program has each once, and nothing else');
          const answered = Object.values(seen.answers).filter(
            (answer): answer is Answer => typeof answer === 'object' && answer.proxied > 0,
          );
          t.deepEqual(
            seen.seenByProxy,
            [{path: '/kept'}, ...answered].map(
              ({path}) => `connection 10.9.0.2 ${path === '/skipped' ? 9_090 : 8_080}`,
            ),
            'the proxy has what it should, once, and nothing of ours',
          );
          t.true(seen.before.length > 0);
          t.is(
            seen.after,
            seen.before,
            'the mesh’s rules are as they were, and nothing of ours is left',
          );
        },
      );
    }
  }
}
