/**
 * The rules that redirect ports of the pod to the agent, as text for the tools that load them. Pure.
 *
 * Two hooks of NAT: `prerouting`, for whoever comes from outside, and `output` on `lo`, for callers inside the
 * pod. The agent's own connections to the application carry a mark and pass. Ours come after everybody
 * else's rules at the hook (priority -90, or the end of the chain): what a service mesh takes for its proxy, it takes
 * first, and the proxy's own connection to the application, on `lo`, is ours. What the mesh leaves alone, `prerouting`
 * gets. On `lo` the address stays, and only the port changes: a proxy that speaks for its client (Istio's ztunnel, Envoy
 * with TPROXY) has the client's address, to which nothing from 127.0.0.1 can be answered. A packet that a mesh has given to
 * its proxy by TPROXY still has its destination at `prerouting`, and a mark that tells. What only goes through, to an address
 * that is not the pod's, is left alone: a target with the node's network sees what is forwarded to other pods.
 *
 * NAT decides at the first packet of a connection, so those that exist stay where they are. But where nobody has
 * tracked connections before us, the kernel begins with our rules, and takes the next packet of each that exists for a
 * first one (nf_conntrack_tcp_loose). So only a SYN is redirected.
 *
 * All of it expires, for the day that we hang, or are killed where the kernel does not take the table away with us. In
 * nftables the ports are elements of a map, with a time to live. Rules of iptables live until a date, which the kernel compares
 * with its clock (xt_time).
 */

/** What the agent's own connections carry, so that they are not redirected. As mirrord's. */
export const PASS_MARK = 0x2000;
/**
 * How long the kernel redirects to an agent that does not refresh it, s: so that, with what a client's repeated SYN
 * and a date of whole seconds add, the application is whole within 10 s.
 */
export const LIFETIME_SECONDS = 8;
/** How long one that redirects nothing, but still passes on what it has, is known to live: it sends nobody anywhere. */
export const IDLE_LIFETIME_SECONDS = 150;

const PRIORITY = -90;

/** What Istio marks packets with: its proxy's own or for it, and for ztunnel (istio-iptables, istio-cni). */
export const PROXY_MARKS = [0x539, 0x111] as const;
export const PROXY_MARK_MASK = 0xfff;

/** The ports of the pod that are redirected, and where to. */
export interface Redirection {
  readonly ports: Iterable<number>;
  readonly to: number;
}

/** The name of an agent's table; `id` is 8 hexadecimal digits. */
export function tableName(id: string): string {
  return `mirrord-${id}`;
}

/** Of text by nft, the names of tables of agents. */
export function agentTables(text: string): string[] {
  return [...text.matchAll(/^\s*table inet (mirrord-[0-9a-f]{8})\b/gm)].map(
    ([, name]) => name ?? '',
  );
}

/** Of a map as nft lists it, the ports that are redirected now; undefined: nothing in it lives any more. */
export function listedPorts(text: string): number[] | undefined {
  const ports = [...text.matchAll(/(\d+) timeout /g)].map(([, port]) => Number(port));
  return ports.length === 0 ? undefined : ports.filter((port) => port !== 0);
}

/** Port 0 is nobody's: it tells an agent that redirects nothing at the moment from one that is dead. */
function elements({ports, to}: Redirection): string {
  const all = [[0, 1], ...[...ports].map((port) => [port, to])];
  const seconds = all.length === 1 ? IDLE_LIFETIME_SECONDS : LIFETIME_SECONDS;
  return all.map(([port, at]) => `${port} timeout ${seconds}s : ${at}`).join(', ');
}

/** Makes the table, in one transaction, whether it is there or not. */
export function nftInstall(table: string, redirection: Redirection): string {
  return [`table inet ${table}`, `delete table inet ${table}`, nftTable(table, redirection)].join(
    '\n',
  );
}

/** The same for an nft that stays (`nft-keeper.ts`), on one line; the table must not be there. */
export function nftOwn(table: string, redirection: Redirection): string {
  return nftLine(nftTable(table, redirection, 'flags owner'));
}

/** A script as one line, which is one transaction. */
export function nftLine(script: string): string {
  return script.trim().replaceAll('\n', ' ; ');
}

function nftTable(table: string, redirection: Redirection, flags = ''): string {
  const first = 'tcp flags & (fin | syn | rst | ack) == syn';
  return [
    `table inet ${table} {`,
    ...(flags === '' ? [] : [`  ${flags}`]),
    `  map ports { type inet_service : inet_service; flags timeout; }`,
    '  chain prerouting {',
    `    type nat hook prerouting priority ${PRIORITY}; policy accept;`,
    `    meta mark & ${PROXY_MARK_MASK} { ${PROXY_MARKS.join(', ')} } accept`,
    `    ${first} fib daddr type local redirect to :tcp dport map @ports`,
    '  }',
    '  chain output {',
    `    type nat hook output priority ${PRIORITY}; policy accept;`,
    `    meta mark ${PASS_MARK} accept`,
    `    oif lo ${first} dnat to :tcp dport map @ports`,
    '  }',
    '}',
    nftRefresh(table, redirection),
  ].join('\n');
}

/** Makes the map hold exactly these ports, for another while; the table must be there. */
export function nftRefresh(table: string, redirection: Redirection): string {
  return `${nftWithdraw(table)}\nadd element inet ${table} ports { ${elements(redirection)} }\n`;
}

/** Makes the map hold nothing. */
export function nftWithdraw(table: string): string {
  return `flush map inet ${table} ports`;
}

/** Removes the table, whether it is there or not. */
export function nftRemove(table: string): string {
  return `table inet ${table}\ndelete table inet ${table}\n`;
}
