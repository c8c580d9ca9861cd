/**
 * Names as a resolver completes them: the program asks for `orders`, its resolver for
 * `orders.default.svc.cluster.local`. Pure; all names are in lower case and without a final dot.
 */

/** What of resolv.conf(5) matters here. */
export interface ResolverConfig {
  /** Addresses as they are written, a link-local one with its scope. */
  readonly nameServers: readonly string[];
  readonly searchDomains: readonly string[];
}

/** Reads the text of a resolv.conf. Of several lines with search domains the last one counts. */
export function parseResolvConf(text: string): ResolverConfig {
  const nameServers: string[] = [];
  let searchDomains: string[] = [];
  for (const line of text.split('\n')) {
    const [keyword, ...values] = line
      .replace(/[#;].*/, '')
      .trim()
      .split(/\s+/);
    const [first] = values;
    if (first === undefined) continue;
    if (keyword === 'nameserver') nameServers.push(first);
    if (keyword === 'search') searchDomains = values.map(plainName);
    if (keyword === 'domain') searchDomains = [plainName(first)];
  }
  return {nameServers, searchDomains: searchDomains.filter((domain) => domain !== '')};
}

/** A name as we compare it: in lower case, without the final dot. */
export function plainName(name: string): string {
  return name.toLowerCase().replace(/\.$/, '');
}

/** All names that a resolver may ask for when a program wants `name`. */
export function withSearchDomains(name: string, searchDomains: readonly string[]): string[] {
  return [name, ...searchDomains.map((domain) => `${name}.${domain}`)];
}

/** Whether a name is in one of the domains. */
export function isUnder(name: string, domains: readonly string[]): boolean {
  return domains.some((domain) => name.endsWith(`.${domain}`));
}
