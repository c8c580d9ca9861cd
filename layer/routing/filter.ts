/**
 * The filters of outgoing traffic and of names: which destinations a rule is about. Pure.
 *
 *     [any|tcp|udp://][name|address|address/length][:port]
 *
 * Port 0 or none is any port; 0.0.0.0, [::] or nothing is any host; IPv6 addresses are in brackets where a
 * port follows. Names fit exactly, in any case of letters. A DNS filter has no protocol.
 */

import {isIP} from 'node:net';

/** What hosts a filter is about. */
export type FilterHost =
  | {kind: 'any'}
  | {kind: 'name'; name: string}
  | {kind: 'address'; address: string}
  | {kind: 'subnet'; address: string; length: number};

/** One filter. */
export interface Filter {
  protocol: 'any' | 'tcp' | 'udp';
  host: FilterHost;
  /** 0: any port. */
  port: number;
}

/** A filter, or why the text is none, as the end of a sentence. */
export type Parsed<T> = {value: T; problem?: never} | {value?: never; problem: string};

/** A label as people use it in names: mirrord takes underscores and any place for hyphens. */
const name = /^[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*\.?$/i;

const bad = (problem: string): {problem: string} => ({problem});

function parseHost(text: string): Parsed<FilterHost> {
  const inner = text.startsWith('[') && text.endsWith(']') ? text.slice(1, -1) : text;
  if (inner !== text && isIP(inner.split('/')[0] ?? '') !== 6) {
    return bad(`${text} is not an IPv6 address in brackets`);
  }
  if (inner === '' || inner === '0.0.0.0' || inner === '::') return {value: {kind: 'any'}};
  const [address = '', length, ...rest] = inner.split('/');
  const family = isIP(address);
  if (length !== undefined) {
    const longest = family === 4 ? 32 : 128;
    const valid = family !== 0 && rest.length === 0 && /^\d{1,3}$/.test(length);
    if (!valid || Number(length) > longest) return bad(`${inner} is not a subnet`);
    return {value: {kind: 'subnet', address, length: Number(length)}};
  }
  if (family !== 0) return {value: {kind: 'address', address}};
  if (/^[\d.]+$/.test(inner)) return bad(`${inner} is not an address`);
  if (inner.length > 253 || !name.test(inner))
    return bad(`${inner} is neither a name nor an address`);
  return {value: {kind: 'name', name: inner.toLowerCase().replace(/\.$/, '')}};
}

/** Takes host and port apart; an IPv6 address without brackets has no port. */
function splitPort(text: string): {host: string; port: string | undefined} {
  const bracketed = /^(\[[^\]]*\](?:\/\d+)?)(?::(.*))?$/s.exec(text);
  if (bracketed !== null) return {host: bracketed[1] ?? '', port: bracketed[2]};
  if (isIP(text.split('/')[0] ?? '') === 6) return {host: text, port: undefined};
  const colon = text.indexOf(':');
  if (colon === -1) return {host: text, port: undefined};
  return {host: text.slice(0, colon), port: text.slice(colon + 1)};
}

function parseHostAndPort(text: string): Parsed<{host: FilterHost; port: number}> {
  const {host: hostText, port: portText} = splitPort(text);
  // A subnet's length may stand behind the bracket as well as in it.
  const host = parseHost(hostText.replace(/^\[([^\]]*)\]\/(\d+)$/, '[$1/$2]'));
  if (host.problem !== undefined) return bad(host.problem);
  if (portText === undefined) return {value: {host: host.value, port: 0}};
  if (!/^\d{1,5}$/.test(portText) || Number(portText) > 65_535) {
    return bad(`${JSON.stringify(portText)} is not a port`);
  }
  return {value: {host: host.value, port: Number(portText)}};
}

/** Parses a filter of `feature.network.outgoing`. */
export function parseOutgoingFilter(text: string): Parsed<Filter> {
  const [, scheme, rest = ''] = /^(?:(.*?):\/\/)?(.*)$/s.exec(text.trim()) ?? [];
  const protocol = (scheme ?? 'any').toLowerCase();
  if (protocol !== 'any' && protocol !== 'tcp' && protocol !== 'udp') {
    return bad(`the protocol ${protocol} is not any, tcp or udp`);
  }
  if (rest === '' && scheme === undefined) return bad('it is empty');
  const parsed = parseHostAndPort(rest);
  return parsed.problem === undefined ? {value: {protocol, ...parsed.value}} : parsed;
}

/** Parses a filter of `feature.network.dns`: as for outgoing traffic, without a protocol. */
export function parseDnsFilter(text: string): Parsed<Omit<Filter, 'protocol'>> {
  const rest = text.trim();
  if (rest.includes('://')) return bad('names have no protocol');
  return rest === '' ? bad('it is empty') : parseHostAndPort(rest);
}
