/**
 * Run in namespaces of its own (`mesh-captured.test.ts`): a pod with a mesh's rules and a proxy, an application, and agents that are
 * processes, one of which mirrors by copies of packets; beside it, a client's network. Writes what everybody saw as JSON.
 */

import {spawn} from 'node:child_process';
import {once} from 'node:events';
import {createServer} from 'node:http';
import type {AddressInfo} from 'node:net';
import {setTimeout as delay} from 'node:timers/promises';
import {formatAddress} from '../../../../sockets/address.ts';
import {until} from '../../../helpers/until.ts';
import {AgentProcess} from '../peers/agent-process.ts';
import {meshes, overIpv6, SKIPPED} from './meshes.ts';
import {type Answer, describe} from './program.ts';
import {
  ask,
  asProxy,
  makeClientNetwork,
  PORT,
  patient,
  serveApplication,
  sh,
  startProxy,
} from './world.ts';

const [, , meshName = '', tables = '', family = '', scenario = ''] = process.argv;
const mesh = meshes[meshName];
if (mesh === undefined) throw new Error(`no mesh ${meshName}`);
const {proxy} = mesh;
const POD = family === '6' ? 'fd09::2' : '10.9.0.2';
/** After that it is told what is waited for, ms; the test gives up later. */
const PATIENCE_MS = 30_000;

const agentTables = (): number => sh('nft list tables').split('mirrord-').length - 1;

// ---- the pod, and a client's network ----

const {pid: elsewhere, prefix: client} = await makeClientNetwork();
sh(`ip link set lo up; ip link add eth0 type veth peer name client netns ${elsewhere}
  ${client} sh -ec 'ip addr add 10.9.0.1/24 dev client; ip addr add fd09::1/64 dev client nodad
    ip link set client up; ip link set lo up'
  ip addr add 10.9.0.2/24 dev eth0; ip addr add fd09::2/64 dev eth0 nodad
  ip link set eth0 up; ip addr add ::6/128 dev lo
  ip route add default via 10.9.0.1; ip -6 route add default via fd09::1`);

await serveApplication();

function loadMesh(): void {
  sh(`iptables-${tables}-restore --noflush`, mesh?.rules);
  sh(`ip6tables-${tables}-restore --noflush`, overIpv6(mesh?.rules ?? ''));
}

function unloadMesh(): void {
  const flush = '*nat\n:PREROUTING ACCEPT\n:OUTPUT ACCEPT\nCOMMIT\n*mangle\nCOMMIT\n';
  for (const tool of ['iptables', 'ip6tables']) sh(`${tool}-${tables}-restore`, flush);
}

for (const command of mesh.commands ?? []) {
  sh(command);
  if (command.startsWith('ip ')) {
    const options = command.replace('0.0.0.0/0', '::/0').replace(/^ip( -4)?/, 'ip -6');
    sh(options);
  }
}
await startProxy(proxy);

async function curl(
  path: string,
  {prefix = client, port = PORT, headers = [] as string[]} = {},
): Promise<Answer | string> {
  const host = family === '6' ? `[${POD}]` : POD;
  return await ask(prefix, `http://${host}:${port}${path}`, headers);
}

// ---- programs ----

/** A program that mirrors, and what it has got: `path proxied`. */
async function program() {
  const requests: string[] = [];
  const server = createServer(patient, (request, response) => {
    const {path, proxied} = describe('program', request);
    requests.push(`${path} ${proxied}`);
    response.end();
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const {port} = server.address() as AddressInfo;
  return {
    requests,
    port,
    async has(...wanted: string[]): Promise<void> {
      const timer = setTimeout(() => {
        process.stderr.write(`waiting for ${wanted.join()}; there are ${requests.join()}\n`);
      }, PATIENCE_MS);
      await until(() => wanted.every((path) => requests.some((one) => one.startsWith(`${path} `))));
      clearTimeout(timer);
    },
  };
}

const by = (agent: AgentProcess): string[] =>
  [...agent.log.matchAll(/"message":"subscribed".*"by":"([\w-]+)"/g)].map(([, name]) => name ?? '');

const scenarios: Record<string, () => Promise<unknown>> = {
  /** From everywhere, with and without a filter, while nobody steals and while somebody does. */
  async mirror() {
    loadMesh();
    const before = await curl('/before');
    const agent = await new AgentProcess().ready();
    const mirror = await program();
    const told: string[][] = [];
    for (const port of [PORT, SKIPPED]) {
      const subscribed = agent.subscribe({port, mode: 'mirror'}, mirror.port);
      await subscribed.first;
      told.push(subscribed.told);
    }
    const filtering = await program();
    const pattern = {source: '^x-mine: yes$', flags: 'i'};
    const filter = {join: 'any', conditions: [{kind: 'header', pattern}]} as const;
    await agent.subscribe({port: PORT, mode: 'mirror', filter}, filtering.port).first;
    const kept = connectOutside();
    await kept.ask('/kept');
    const answers = {
      before,
      outside: await curl('/outside'),
      mine: await curl('/mine', {headers: ['X-Mine: yes']}),
      skipped: await curl('/skipped', {port: SKIPPED}),
      inside: await curl('/inside', {prefix: 'env'}),
      fromProxy: await curl('/from-proxy', {prefix: `setpriv ${asProxy(proxy).join(' ')}`}),
      // The port is left out of the copies by now.
      again: await curl('/again'),
    };
    kept.end();
    await mirror.has('/kept', '/outside', '/mine', '/skipped', '/inside', '/from-proxy', '/again');
    await filtering.has('/mine');
    const [first] = agent.incoming;
    const peer = first && formatAddress(first.peer.address);
    const thief = await new AgentProcess().ready();
    const stolen = await program();
    for (const port of [PORT, SKIPPED]) await thief.subscribe({port}, stolen.port).first;
    await curl('/stolen');
    await curl('/stolen-skipped', {port: SKIPPED});
    await curl('/stolen-inside', {prefix: 'env'});
    const taken = ['/stolen', '/stolen-skipped', '/stolen-inside'];
    await Promise.all([mirror.has(...taken), stolen.has(...taken)]);
    await thief.end();
    await curl('/last');
    await mirror.has('/last');
    const seen = {
      answers,
      peer,
      told,
      by: by(agent),
      requests: mirror.requests.toSorted(),
      filtered: filtering.requests,
      stolen: stolen.requests.toSorted(),
      tables: agentTables(),
    };
    await agent.end();
    return seen;
  },

  /** The agent is killed under load. */
  async kill() {
    loadMesh();
    const agent = await new AgentProcess().ready();
    const mirror = await program();
    await agent.subscribe({port: PORT, mode: 'mirror'}, mirror.port).first;
    let isOver = false;
    const answered: string[] = [];
    const lane = async (): Promise<void> => {
      while (!isOver) {
        const answer = await curl('/load');
        answered.push(typeof answer === 'string' ? answer : answer.by);
      }
    };
    const standing = connectOutside();
    await standing.ask('/kept-before');
    const lanes = [lane(), lane(), lane()];
    await until(() => mirror.requests.length > 20);
    await agent.kill();
    const count = answered.length;
    await until(() => answered.length > count + 30);
    isOver = true;
    await Promise.all(lanes);
    await standing.ask('/kept-after');
    standing.end();
    return {answered: [...new Set(answered)], tables: agentTables()};
  },

  /** The mesh comes when the port is mirrored already, and goes again. */
  async late() {
    // Else the mesh's rules take what stands for new.
    sh(
      `nft 'table inet tracked { chain c { type filter hook input priority 0; ct state new accept; }; }'`,
    );
    const agent = await new AgentProcess().ready();
    const mirror = await program();
    await agent.subscribe({port: PORT, mode: 'mirror'}, mirror.port).first;
    await curl('/without');
    // A connection that stands while the mesh comes goes on past its proxy.
    const kept = connectOutside();
    await kept.ask('/kept-1');
    await mirror.has('/without', '/kept-1');
    loadMesh();
    await curl('/with-1');
    await curl('/with-2', {prefix: 'env'});
    await kept.ask('/kept-2');
    await mirror.has('/with-1', '/with-2', '/kept-2');
    kept.end();
    await delay(100);
    await curl('/with-3');
    await curl('/with-4');
    await mirror.has('/with-3', '/with-4');
    unloadMesh();
    // The first one that comes past the proxy shows that it has gone.
    const after = connectOutside();
    await after.ask('/after-1');
    // From the first request on that it says after it was noticed.
    const isSeen = (): boolean => mirror.requests.some((one) => one.startsWith('/after-2-'));
    for (let at = 0; !isSeen(); at++) {
      await after.ask(`/after-2-${at}`);
      await delay(50);
    }
    await curl('/after-3');
    await mirror.has('/after-3');
    after.end();
    const others = mirror.requests.filter((one) => !/^\/after-[12]/.test(one));
    const isLeftOut = agent.log.includes('left out, since');
    await agent.end();
    return {requests: [...others, '/after-2 0'].toSorted(), isLeftOut};
  },
};

/** A client that keeps its connection. */
function connectOutside() {
  const nc = spawn('nsenter', ['-n', '-t', `${elsewhere}`, 'nc', POD, `${PORT}`]);
  let heard = '';
  nc.stdout.on('data', (chunk: Buffer) => (heard += chunk.toString()));
  return {
    async ask(path: string): Promise<void> {
      nc.stdin.write(`GET ${path} HTTP/1.1\r\nhost: x\r\n\r\n`);
      await until(() => heard.includes(`"${path}"`));
    },
    end: () => nc.kill(),
  };
}

process.stdout.write(JSON.stringify(await scenarios[scenario]?.()));
process.exit();
