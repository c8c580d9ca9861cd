/**
 * The redirecting rules as text for iptables-restore(8), and what iptables-save(8) says of agents' rules. Pure.
 *
 * An agent has two chains of its own in the table `nat`. Each rule in them lives until a date; one that matches nothing
 * has the date alone, and tells an agent that redirects no port at the moment from one that is dead.
 */

import {
  IDLE_LIFETIME_SECONDS,
  LIFETIME_SECONDS,
  PASS_MARK,
  PROXY_MARK_MASK,
  PROXY_MARKS,
  type Redirection,
} from './rules.ts';

function chains(id: string): {incoming: string; local: string} {
  return {incoming: `MRDIN_${id}`, local: `MRDSTD_${id}`};
}

/** What leads to them: of what comes in, only what does not go through to somebody else. */
function jumps(id: string): readonly [string, string] {
  const {incoming, local} = chains(id);
  return [`PREROUTING -m addrtype --dst-type LOCAL -j ${incoming}`, `OUTPUT -o lo -j ${local}`];
}

/** xt_time reads UTC, and takes whole seconds. */
function dateText(atMs: number): string {
  return new Date(atMs).toISOString().slice(0, 19);
}

/** What an agent's rules stand among. */
export interface Neighbours {
  /** The jumps to the agent's chains are there. */
  readonly isInstalled: boolean;
  /**
   * Somebody lets go what is sent to `lo`, and no rule after that is asked: Istio's ambient mode, where it is what ztunnel
   * sends to the application. Else a mesh's own redirects must come first.
   */
  readonly acceptsLocal: boolean;
}

/** Fills the agent's chains and jumps to them, for iptables-restore --noflush, which commits all at once, or nothing. */
export function iptablesInstall(
  id: string,
  {ports, to}: Redirection,
  {isInstalled, acceptsLocal, nowMs}: Neighbours & {nowMs: number},
): string {
  const {incoming, local} = chains(id);
  const [fromOutside, onLoopback] = jumps(id);
  const all = [...ports];
  const seconds = all.length === 0 ? IDLE_LIFETIME_SECONDS : LIFETIME_SECONDS;
  const until = `-m time --datestop ${dateText(nowMs + seconds * 1000)}`;
  const rules = all.flatMap((port) => {
    const first = `-p tcp --syn --dport ${port} ${until}`;
    return [
      `-A ${incoming} ${first} -j REDIRECT --to-ports ${to}`,
      `-A ${local} ${first} -j DNAT --to-destination :${to}`,
    ];
  });
  return [
    '*nat',
    `:${incoming} - [0:0]`,
    `:${local} - [0:0]`,
    ...PROXY_MARKS.map(
      (mark) => `-A ${incoming} -m mark --mark ${mark}/${PROXY_MARK_MASK} -j RETURN`,
    ),
    `-A ${local} -m mark --mark ${PASS_MARK} -j RETURN`,
    // Matches nothing. While there is such a target, the kernel goes on with what was redirected (xt_REDIRECT).
    `-A ${local} -p tcp --dport 0 ${until} -j REDIRECT --to-ports 1`,
    ...rules,
    ...(isInstalled ? [`-D ${fromOutside}`, `-D ${onLoopback}`] : []),
    `-A ${fromOutside}`,
    `${acceptsLocal ? '-I' : '-A'} ${onLoopback}`,
    'COMMIT',
    '',
  ].join('\n');
}

/** Removes the chains and the jumps to them. */
export function iptablesRemove(id: string): string {
  const {incoming, local} = chains(id);
  return [
    '*nat',
    ...jumps(id).map((jump) => `-D ${jump}`),
    `-F ${incoming}`,
    `-F ${local}`,
    `-X ${incoming}`,
    `-X ${local}`,
    'COMMIT',
    '',
  ].join('\n');
}

/** An agent, as its rules tell. */
export interface ListedAgent {
  readonly id: string;
  /** What it redirects now. */
  readonly ports: readonly number[];
  /** Whether any of its rules still lives. */
  readonly isAlive: boolean;
}

/** Of the table `nat` as iptables-save writes it, the agents. `nowMs`: since 1970. */
export function listedAgents(text: string, nowMs: number): ListedAgent[] {
  const ids = [...text.matchAll(/^:MRDSTD_([0-9a-f]{8}) /gm)].map(([, id]) => id ?? '');
  return ids.map((id) => {
    const rules = [...text.matchAll(/^-A (\S+) .*--dport (\d+) .*--datestop (\S+)/gm)]
      .filter(([, chain]) => chain === `MRDSTD_${id}` || chain === `MRDIN_${id}`)
      // A date that can't be read is no reason to take somebody's rules away.
      .filter(([, , , date]) => !(Date.parse(`${date}Z`) < nowMs));
    const ports = new Set(rules.map(([, , port]) => Number(port)));
    ports.delete(0);
    return {id, ports: [...ports], isAlive: rules.length > 0};
  });
}

/** Of the same, what takes an agent's chains away and whatever jumps to them. */
export function iptablesClear(text: string, id: string): string {
  const own = Object.values(chains(id)).filter((chain) => text.includes(`:${chain} `));
  const lines = text.split('\n');
  const jumps = lines.filter((line) => own.some((chain) => line.endsWith(` -j ${chain}`)));
  return [
    '*nat',
    ...jumps.map((line) => line.replace(/^-A /, '-D ')),
    ...own.map((chain) => `-F ${chain}`),
    ...own.map((chain) => `-X ${chain}`),
    'COMMIT',
    '',
  ].join('\n');
}

/** Of the same, what an agent's rules stand among. */
export function neighbours(text: string, id: string): Neighbours {
  return {
    isInstalled: text.includes(` -j ${chains(id).incoming}\n`),
    acceptsLocal: /^-A (?!PREROUTING|INPUT|POSTROUTING).* -o lo .*-j ACCEPT$/m.test(text),
  };
}

/** Of the same, whether a service mesh has its rules there: Istio, Linkerd, Kuma. */
export function hasMesh(text: string): boolean {
  return /^:(ISTIO_|PROXY_INIT_|KUMA_MESH_)/m.test(text);
}
