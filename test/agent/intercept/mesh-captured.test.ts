/** Mirroring by copies of packets among the rules of service meshes, in a pod of network namespaces. */

import {execFile} from 'node:child_process';
import {fileURLToPath} from 'node:url';
import {promisify} from 'node:util';
import test from 'ava';
import {needing, programs, root} from '../../helpers/needs.ts';
import {meshes} from './mesh/meshes.ts';
import type {Answer} from './mesh/program.ts';

const program = fileURLToPath(new URL('mesh/captured.ts', import.meta.url));
// Several users in one network namespace; a pod at a time.
const needs = programs('nft', 'nc', 'iptables-legacy-save', 'ip6tables-legacy-save', 'setpriv');
const here = needing(test, needs, root()).serial;

/** Runs a scenario of `captured.ts`; returns what it saw. */
async function run<Seen>(...args: string[]): Promise<Seen> {
  const node = [process.execPath, '--disable-warning=ExperimentalWarning', program];
  const argv = ['-nmpf', '--mount-proc', '--kill-child', ...node, ...args];
  const options = {timeout: 60_000, killSignal: 'SIGKILL'} as const;
  const {stdout} = await promisify(execFile)('unshare', argv, options);
  return JSON.parse(stdout) as Seen;
}

interface Expected {
  /** Where the mesh's proxy comes from, by family. */
  readonly peer: readonly [string, string];
  /** Whether the mesh takes a call of its proxy's to its own pod, and a port that is to be left alone. */
  readonly takesOwnCalls: boolean;
  readonly takesAllPorts: boolean;
}

const envoy = {peer: ['127.0.0.6', '::6'], takesOwnCalls: true, takesAllPorts: false} as const;
const expected: Readonly<Record<string, Expected>> = {
  'Istio, sidecar': envoy,
  'Istio, sidecar with TPROXY': envoy,
  'Istio, ambient': {peer: ['10.9.0.1', 'fd09::1'], takesOwnCalls: false, takesAllPorts: true},
  Linkerd: {...envoy, peer: ['10.9.0.2', 'fd09::2'], takesOwnCalls: false},
  Kuma: {...envoy, peer: ['127.0.0.1', '::1']},
};

for (const mesh of Object.keys(meshes)) {
  for (const [family, tables] of [
    ['4', 'nft'],
    ['4', 'legacy'],
    ['6', 'nft'],
  ] as const) {
    here(
      `${mesh} (IPv${family}, iptables-${tables}): what the application gets is copied once`,
      async (t) => {
        const at = family === '4' ? 0 : 1;
        const {peer: peers, takesOwnCalls, takesAllPorts} = expected[mesh] as Expected;
        const outside = ['10.9.0.1', 'fd09::1'][at] ?? '';
        const inside = ['10.9.0.2', 'fd09::2'][at] ?? '';
        const peer = peers[at] ?? '';
        const answer = (path: string, proxied: number, from: string): Answer => ({
          ...{by: 'application', path, proxied},
          peer: from,
        });
        const own = takesOwnCalls ? 1 : 0;
        const skipped = takesAllPorts ? 1 : 0;
        const seen = await run<{answers: unknown; peer: string}>(mesh, tables, family, 'mirror');
        t.deepEqual(
          {
            ...seen,
            peer: new URL(`http://${family === '4' ? seen.peer : `[${seen.peer}]`}`).hostname,
          },
          {
            answers: {
              before: answer('/before', 1, peer),
              outside: answer('/outside', 1, peer),
              mine: answer('/mine', 1, peer),
              skipped: answer('/skipped', skipped, takesAllPorts ? peer : outside),
              inside: answer('/inside', 0, inside),
              fromProxy: answer('/from-proxy', own, takesOwnCalls ? peer : inside),
              again: answer('/again', 1, peer),
            },
            peer: family === '4' ? peer : `[${peer}]`,
            told: [['active'], ['active']],
            by: ['capture', 'capture', 'capture', 'nftables', 'nftables'],
            requests: [
              '/again 1',
              `/from-proxy ${own}`,
              '/inside 0',
              '/kept 1',
              '/last 1',
              '/mine 1',
              '/outside 1',
              `/skipped ${skipped}`,
              '/stolen 1',
              '/stolen-inside 0',
              `/stolen-skipped ${skipped}`,
            ],
            filtered: ['/mine 1'],
            stolen: ['/stolen 1', '/stolen-inside 0', `/stolen-skipped ${skipped}`],
            tables: 0,
          } as unknown as typeof seen,
        );
      },
    );
  }
}

for (const [mesh, tables, family] of [
  ['Istio, sidecar', 'nft', '4'],
  ['Istio, ambient', 'nft', '4'],
  ['Linkerd', 'legacy', '6'],
] as const) {
  here(`${mesh} (IPv${family}): an agent is killed under load, and nothing breaks`, async (t) => {
    t.deepEqual(await run(mesh, tables, family, 'kill'), {answered: ['application'], tables: 0});
  });

  here(`${mesh} (IPv${family}): it may come and go while a port is mirrored`, async (t) => {
    t.deepEqual(await run(mesh, tables, family, 'late'), {
      requests: [
        '/after-2 0',
        '/after-3 0',
        '/kept-1 0',
        '/kept-2 0',
        '/with-1 1',
        '/with-2 0',
        '/with-3 1',
        '/with-4 1',
        '/without 0',
      ],
      isLeftOut: true,
    });
  });
}
