/**
 * Run in namespaces of its own (`mesh.test.ts`): a pod with a mesh's rules and a proxy, an application, and an agent whose
 * clients steal and mirror its ports; beside it, a client's network. Writes what everybody saw as JSON.
 */

import {spawn} from 'node:child_process';
import {once} from 'node:events';
import {setTimeout as delay} from 'node:timers/promises';
import {findBackends} from '../../../../agent/intercept/backends.ts';
import {relayRedirected} from '../../../../agent/intercept/http/relay.ts';
import {Interceptor} from '../../../../agent/intercept/interceptor.ts';
import {makeLog} from '../../../../agent/log.ts';
import type {InterceptParams} from '../../../../tunnel/intercept.ts';
import {meshes, SKIPPED} from './meshes.ts';
import {type Answer, Program} from './program.ts';
import {ask, asProxy, makeClientNetwork, PORT, serveApplication, sh, startProxy} from './world.ts';

const [, , meshName = '', tables = '', tool = ''] = process.argv;
const mesh = meshes[meshName];
if (mesh === undefined) throw new Error(`no mesh ${meshName}`);
const {proxy} = mesh;
const POD = '10.9.0.2';

/** Everything that is loaded; not what counts packets, nor the chains that iptables makes for everybody, while empty. */
function ruleset(): string {
  return sh(
    'for s in iptables-legacy-save ip6tables-legacy-save "nft -s list ruleset"; do $s; done',
  )
    .replaceAll(/^#.*$|\[\d+:\d+\]/gm, '')
    .replaceAll(/^\*\w+\n(:[A-Z]+ ACCEPT ?\n)+COMMIT\n/gm, '')
    .replaceAll(/^\n?\tchain [A-Z]+ \{\n\t\ttype .*\n\t\}\n/gm, '')
    .replaceAll(/^table ip6? \w+ \{\n\n?\}\n/gm, '')
    .replaceAll(/\n+/g, '\n')
    .trim();
}

// ---- the pod, and a client's network ----

sh('ip link set lo up; ip link add eth0 type veth peer name client');
const {pid: elsewhere, prefix: client} = await makeClientNetwork();
sh(`ip link set client netns ${elsewhere}
  ${client} sh -ec 'ip addr add 10.9.0.1/24 dev client; ip link set client up; ip link set lo up'
  ip addr add ${POD}/24 dev eth0; ip link set eth0 up; ip route add default via 10.9.0.1`);

await serveApplication();

sh(`iptables-${tables}-restore --noflush`, mesh.rules);
for (const command of mesh.commands ?? []) sh(command);
const seenByProxy: string[] = [];
await startProxy(proxy, (line) => seenByProxy.push(line));

async function curl(
  path: string,
  {prefix = client, port = PORT, headers = [] as string[]} = {},
): Promise<Answer | string> {
  return await ask(prefix, `http://${POD}:${port}${path}`, headers);
}

// ---- what happens ----

const before = ruleset();
const first = await curl('/first');
const log = makeLog('error', (line) => process.stderr.write(line));
const backends = findBackends('0123abcd').filter(({name}) => name.startsWith(tool));
const interceptor = new Interceptor({id: '0123abcd', log, backends, relayHttp: relayRedirected});
const told: string[] = [];

/** Subscribes, and resolves with the end of it when connections come. */
async function subscribe(to: Program, params: Partial<InterceptParams>): Promise<() => void> {
  const active = Promise.withResolvers<void>();
  const all: InterceptParams = {
    id: 1,
    port: PORT,
    mode: 'steal',
    onConcurrentSteal: 'abort',
    ...params,
  };
  const end = interceptor.subscribe(all, to, (event) => {
    if (event.event !== 'active') told.push(JSON.stringify(event));
    active.resolve();
  });
  await active.promise;
  return end;
}

// A client that keeps its connection: what the proxy makes of it is cut, and nothing of the client's own.
const keep = `import socket, sys
s = socket.create_connection(("${POD}", ${PORT}))
s.sendall(b"GET /kept HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
s.recv(1)
print("kept", flush=True)
sys.stdin.read()`;
const keeper = spawn('nsenter', ['-n', '-t', `${elsewhere}`, 'python3', '-c', keep]);
await once(keeper.stdout, 'data');

const program = await new Program('program').ready();
let end = await subscribe(program, {flushConnections: true});
while (interceptor.counters.cut === 0) await delay(5);
const {cut} = interceptor.counters;
keeper.kill();
const stolen = await curl('/stolen');
const fromProxy = await curl('/from-proxy', {prefix: `setpriv ${asProxy(proxy).join(' ')}`});
const fromInside = await curl('/from-inside', {prefix: 'env'});
program.isListening = false;
const refused = await curl('/refused');
program.isListening = true;
end();

end = await subscribe(program, {
  filter: {
    join: 'any',
    conditions: [{kind: 'header', pattern: {source: 'X-Mine: yes', flags: 'i'}}],
  },
});
const mine = await curl('/mine', {headers: ['X-Mine: yes']});
const theirs = await curl('/theirs');
end();

end = await subscribe(program, {mode: 'mirror'});
const mirrored = await curl('/mirrored');
end();

end = await subscribe(program, {port: SKIPPED});
const skipped = await curl('/skipped', {port: SKIPPED});
end();

await interceptor.withdraw();
await interceptor.linger();
interceptor.close();
const last = await curl('/last');
process.stdout.write(
  JSON.stringify({
    told,
    cut,
    answers: {first, stolen, fromProxy, fromInside, refused, mine, theirs, mirrored, skipped, last},
    requests: program.requests.map(({path}) => path),
    seenByProxy,
    before,
    after: ruleset(),
  }),
);
process.exit();
