/**
 * The addresses of a name, as a program in the pod would find them: its hosts file, then its name servers, through the
 * agent, completed by its search domains.
 */

import {isIP} from 'node:net';
import type {IpAddress} from '../../netstack/types.ts';
import type {Mux} from '../../tunnel/mux.ts';
import type {TargetInfo} from '../../tunnel/target.ts';
import {addressBytes} from '../address.ts';
import {readAddresses} from '../routing/dns/message.ts';
import {parseHosts} from '../routing/names.ts';
import {parseResolvConf, plainName} from '../routing/search-domains.ts';
import {askNameServer, type Question} from './name-server.ts';

const dnsPort = 53;
/** As the resolver of a program has it. */
const serverLimit = 3;

/** Names to ask for, in order, as resolv.conf(5) has it: those with few dots are first completed. */
export function candidates(name: string, resolvConf: string): string[] {
  const plain = plainName(name);
  const {searchDomains} = parseResolvConf(resolvConf);
  if (name.endsWith('.')) return [plain];
  const dotsWanted = Number(/^\s*options\s.*\bndots:(\d+)/m.exec(resolvConf)?.[1] ?? 1);
  const completed = searchDomains.map((domain) => `${plain}.${domain}`);
  const isLong = plain.split('.').length - 1 >= dotsWanted;
  return isLong ? [plain, ...completed] : [...completed, plain];
}

/** The addresses that the first name server which answers knows. */
async function lookUp(
  mux: Mux,
  servers: readonly string[],
  question: Question,
): Promise<IpAddress[]> {
  for (const server of servers.filter((each) => isIP(each) > 0).slice(0, serverLimit)) {
    const answer = await askNameServer(
      mux,
      {address: addressBytes(server), port: dnsPort},
      question,
    );
    if (answer === undefined) continue;
    return readAddresses(answer)
      .filter(({names}) => names.includes(question.name))
      .map(({address}) => addressBytes(address));
  }
  return [];
}

/** Returns the addresses, IPv4 first; none for a name that the pod doesn't know. */
export async function resolveAtPod(
  mux: Mux,
  {files}: Pick<TargetInfo, 'files'>,
  name: string,
): Promise<IpAddress[]> {
  if (isIP(name) > 0) return [addressBytes(name)];
  const [hosts, resolvConf] = ['/etc/hosts', '/etc/resolv.conf'].map((path) =>
    Buffer.from(files[path] ?? []).toString(),
  ) as [string, string];
  const known = parseHosts(hosts).filter(({names}) => names.includes(plainName(name)));
  if (known.length > 0) return known.map(({address}) => addressBytes(address));
  if (plainName(name) === 'localhost') return ['127.0.0.1', '::1'].map(addressBytes);
  const {nameServers} = parseResolvConf(resolvConf);
  for (const candidate of candidates(name, resolvConf)) {
    const found = await Promise.all(
      (['A', 'AAAA'] as const).map((type) => lookUp(mux, nameServers, {name: candidate, type})),
    );
    if (found.flat().length > 0) return found.flat();
  }
  return [];
}
