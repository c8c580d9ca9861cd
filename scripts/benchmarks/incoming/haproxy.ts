/**
 * haproxy in the agent's place, with the same filter and the same change of the answers: what a proxy that was made
 * for this costs. Connections come to it by a rule like the agent's.
 */

import {writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {ports} from './nginx.ts';

/** Its own connections come from here, so that the rule lets them go. */
const source = '127.0.0.2';
/** Where it takes what goes to a port. */
const listenerOf = (port: number): number => port + 1_000;

/** Writes a configuration; returns the arguments, and the rules that lead to it, for nft -f. */
export function configureHaproxy(directory: string): {
  argv: string[];
  rules: string;
  listeners: number[];
} {
  const file = join(directory, 'haproxy.cfg');
  const all = Object.values(ports);
  const sections = all.map((port) => {
    const protocol = port === ports.h2c ? ' proto h2' : '';
    return `frontend f${port}
  bind 127.0.0.1:${listenerOf(port)}${protocol}
  acl mine req.fhdr(x-mine) -m reg -i ^yes$
  use_backend b${port} if mine
  use_backend a${port} unless mine
backend a${port}
  http-response set-header Cache-Control "no-cache, no-store, must-revalidate"
  server application 127.0.0.1:${port}${protocol}
backend b${port}
  server program 127.0.0.1:${port}${protocol}
`;
  });
  writeFileSync(
    file,
    `global
  nbthread 1
defaults
  mode http
  maxconn 256
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  source ${source}
${sections.join('')}`,
  );
  const targets = all.map((port) => `${port} : ${listenerOf(port)}`).join(', ');
  const rules = `table ip bench {
  map ports { type inet_service : inet_service; elements = { ${targets} } }
  chain out {
    type nat hook output priority -100
    oif lo ip saddr != ${source} meta l4proto tcp redirect to :tcp dport map @ports
  }
}
`;
  return {argv: ['haproxy', '-db', '-q', '-f', file], rules, listeners: all.map(listenerOf)};
}
