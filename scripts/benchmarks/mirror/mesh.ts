/**
 * A mesh in a pod of the benchmark's: a client's network beside it, whose connections rules lead to a proxy (haproxy), as Linkerd's and Istio's
 * do; it connects on to the application from 127.0.0.6.
 */

import {execFileSync} from 'node:child_process';
import {writeFileSync} from 'node:fs';
import {join} from 'node:path';
import type {LoadProcess} from '../network/load.ts';
import {type Processes, pidOf} from '../network/processes.ts';

const pod = '10.9.0.2';
const inbound = 15_006;
const rules = `table ip mesh {
  chain prerouting { type nat hook prerouting priority -100; iif eth0 meta l4proto tcp redirect to :${inbound}; }
}`;

export interface Mesh {
  /** Where clients find the pod. */
  readonly host: string;
  /** A client of the load generator's, outside. */
  readonly client: LoadProcess;
}

function proxy(port: number): string {
  return `global
  nbthread 1
defaults
  mode tcp
  timeout connect 5s
  timeout client 60s
  timeout server 60s
listen inbound
  bind 0.0.0.0:${inbound}
  server application 127.0.0.1:${port} source 127.0.0.6
`;
}

/** Opens one. `enter`: what begins a command that is to run in the pod's namespaces, `port`: the application's. */
export async function openMesh(
  {
    enter,
    prefix,
    load,
    port,
  }: {enter: readonly string[]; prefix: readonly string[]; load: string; port: number},
  {directory, processes}: {directory: string; processes: Processes},
): Promise<Mesh> {
  const run = (script: string): void => {
    const [file = '', ...args] = [...prefix, ...enter, 'sh', '-ec', script];
    execFileSync(file, args);
  };
  const outside = [
    'unshare',
    '--net',
    '--',
    'sh',
    '-c',
    'ip link set lo up; exec "$0" client',
    load,
  ];
  const client = await processes.startClient('client outside', [...enter, ...outside]);
  const there = `nsenter --net -t ${pidOf(client)} sh -ec`;
  run(`ip link add eth0 type veth peer name client netns ${pidOf(client)}
    ${there} 'ip addr add 10.9.0.1/24 dev client; ip link set client up'
    ip addr add ${pod}/24 dev eth0; ip link set eth0 up`);
  run(`nft '${rules}'`);
  const file = join(directory, 'mesh.cfg');
  writeFileSync(file, proxy(port));
  processes.start('proxy', [...enter, 'haproxy', '-db', '-q', '-f', file]);
  return {host: pod, client};
}
