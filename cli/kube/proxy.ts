/**
 * Which proxy the environment names for a server: HTTPS_PROXY, HTTP_PROXY and NO_PROXY, read as Go reads
 * them (golang.org/x/net/http/httpproxy), since kubectl does.
 */

import net from 'node:net';

function read(env: NodeJS.ProcessEnv, name: string): string | undefined {
  const value = env[name.toUpperCase()] || env[name];
  return value === undefined || value === '' ? undefined : value;
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || (net.isIPv4(host) && host.startsWith('127.'));
}

function inSubnet(host: string, entry: string): boolean {
  const [network = '', length = ''] = entry.split('/');
  const family = net.isIP(network);
  if (family === 0 || net.isIP(host) !== family || !/^\d{1,3}$/.test(length)) return false;
  const list = new net.BlockList();
  try {
    list.addSubnet(network, Number(length), family === 4 ? 'ipv4' : 'ipv6');
  } catch {
    return false; // a prefix longer than an address
  }
  return list.check(host, family === 4 ? 'ipv4' : 'ipv6');
}

/** `host`, `.host`, `*.host`, an address, a subnet, each but the last also with `:port`. */
function excludes(entry: string, host: string, port: string): boolean {
  if (entry === '*') return true;
  if (entry.includes('/')) return inSubnet(host, entry);
  const [, bracketed] = /^\[(.*)\](?::\d+)?$/.exec(entry) ?? [];
  const [, plain = '', wanted] =
    net.isIPv6(entry) || bracketed !== undefined
      ? [entry, bracketed ?? entry, /\]:(\d+)$/.exec(entry)?.[1]]
      : (/^(.*?)(?::(\d+))?$/.exec(entry) ?? []);
  if (plain === '' || (wanted !== undefined && wanted !== port)) return false;
  if (net.isIP(host) !== 0 || net.isIP(plain) !== 0) return host === plain;
  const name = plain.replace(/^\*\./, '.');
  // ".example.com" is its subdomains only; "example.com" is itself and these.
  return name.startsWith('.') ? host.endsWith(name) : host === name || host.endsWith(`.${name}`);
}

/** The proxy for a server's URL; `undefined` for none. Loopback is never asked for by a proxy. */
export function proxyFromEnvironment(
  server: string,
  env: NodeJS.ProcessEnv = process.env,
): string | undefined {
  const url = new URL(server);
  const isSecure = url.protocol === 'https:';
  const proxy = read(env, isSecure ? 'https_proxy' : 'http_proxy');
  if (proxy === undefined) return undefined;
  const host = url.hostname.replace(/^\[|\]$/g, '').toLowerCase();
  const port = url.port || (isSecure ? '443' : '80');
  if (isLoopback(host)) return undefined;
  const exceptions = (read(env, 'no_proxy') ?? '').toLowerCase().split(',');
  if (exceptions.some((entry) => excludes(entry.trim(), host, port))) return undefined;
  return proxy.includes('://') ? proxy : `http://${proxy}`;
}
