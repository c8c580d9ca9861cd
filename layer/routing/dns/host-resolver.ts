/**
 * Answers DNS queries from this machine: as a program outside of the sandbox would have it.
 *
 * Theory of operation. Addresses are asked of the system's resolver (getaddrinfo), so that whatever the
 * machine has set up holds: its hosts file, a VPN's split DNS, mDNS. It asks for both families at once, which
 * also tells a name without addresses of one family (NODATA) from none (NXDOMAIN); queries for one name that
 * come together share it. All other types are forwarded, as they came, to the machine's own name servers.
 *
 * Limits: queries under way, and time. One that takes too long is answered by SERVFAIL, which a resolver
 * takes as a reason to go on. A look-up can't be called off: it keeps its place until it ends.
 */

import {createSocket} from 'node:dgram';
import {type LookupAddress, lookup} from 'node:dns';
import {readFile} from 'node:fs/promises';
import {connect, isIPv6} from 'node:net';
import type {Answer} from 'dns-packet';
import {parseResolvConf} from '../search-domains.ts';
import {emitFrame, FrameReader} from './frames.ts';
import {emitAnswer, parseQuery, type Query, rcode, renameAnswer, renameQuery} from './message.ts';

/** Queries under way; more are answered by SERVFAIL. */
const queryLimit = 256;
/** How long a query may take, milliseconds: a resolver asks again after 5 s. */
const answerTimeoutMs = 4_500;
/** How long a name server may take before the next one is asked, milliseconds. */
const serverTimeoutMs = 1_500;
/** As resolv.conf(5) has it. */
const serverLimit = 3;
/** What we don't know of an answer of the system's, seconds. */
const ttl = 5;

export type Transport = 'udp' | 'tcp';

export interface HostResolver {
  /**
   * Answers a query as if it had asked for `name`. Undefined for what is no query.
   */
  answer(message: Uint8Array, name: string, transport: Transport): Promise<Uint8Array | undefined>;
  readonly counters: {
    readonly looked: number;
    readonly forwarded: number;
    readonly failed: number;
    /** Over the limit. */
    readonly refused: number;
  };
}

export interface HostResolverOptions {
  /** The machine's own name servers; of its resolv.conf by default. */
  servers?: () => Promise<readonly string[]>;
  /** Where they listen; 53. */
  port?: number;
}

/** What the system knows of a name: its addresses, or that there is no such name. */
type Found = {addresses: LookupAddress[]} | {code: number};

/** Error codes of getaddrinfo(3) that say that there is nothing, as Node spells them. */
const nothing = new Set(['ENOTFOUND', 'ENODATA', 'EAI_NODATA', 'EAI_ADDRFAMILY']);

/** Names that getaddrinfo would take for an address, or can't be asked for. */
function isAskable(name: string): boolean {
  return /^[\x21-\x7e]{1,253}$/.test(name) && !/^[\d.]+$/.test(name) && !name.includes(':');
}

function lookUp(name: string): Promise<Found> {
  return new Promise((resolve) => {
    lookup(name, {all: true, order: 'verbatim'}, (error, addresses) => {
      if (error === null) resolve({addresses});
      else resolve({code: nothing.has(error.code ?? '') ? rcode.NXDOMAIN : rcode.SERVFAIL});
    });
  });
}

async function hostNameServers(): Promise<string[]> {
  const text = await readFile('/etc/resolv.conf', 'utf8').catch(() => '');
  return parseResolvConf(text).nameServers.slice(0, serverLimit);
}

interface ServerPort {
  server: string;
  port: number;
}

/** Asks one name server. Rejects when it can't be reached or takes too long. */
function askByUdp({server, port}: ServerPort, query: Uint8Array): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    const socket = createSocket(isIPv6(server) ? 'udp6' : 'udp4');
    const timer = setTimeout(() => end(new Error('no answer')), serverTimeoutMs);
    const end = (result: Error | Uint8Array): void => {
      clearTimeout(timer);
      socket
        .removeAllListeners()
        .on('error', () => undefined)
        .close();
      if (result instanceof Error) reject(result);
      else resolve(result);
    };
    socket.on('error', end);
    socket.on('message', (message) => {
      if (message.subarray(0, 2).equals(query.subarray(0, 2))) end(message);
    });
    socket.connect(port, server, () => socket.send(query));
  });
}

function askByTcp({server, port}: ServerPort, query: Uint8Array): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    const reader = new FrameReader();
    const socket = connect({host: server, port, timeout: serverTimeoutMs});
    const fail = (error = new Error('no answer')): void => {
      socket.destroy();
      reject(error);
    };
    socket
      .on('error', fail)
      .on('timeout', () => fail())
      .on('close', () => fail());
    socket.on('data', (chunk) => {
      const [answer] = reader.push(chunk);
      if (answer === undefined) return;
      resolve(answer);
      socket.destroy();
    });
    socket.write(emitFrame(query));
  });
}

function addressAnswer(query: Query, found: Found, transport: Transport): Buffer {
  if ('code' in found) return emitAnswer(query, found.code, {transport});
  const {name, type} = query.question;
  const family = type === 'A' ? 4 : 6;
  const wanted = found.addresses.filter((each) => each.family === family);
  const answers = wanted.map(
    // A link-local address's scope means something to the program only if it came without.
    ({address}): Answer => ({
      type: type as 'A' | 'AAAA',
      name,
      ttl,
      data: address.replace(/%.*/, ''),
    }),
  );
  return emitAnswer(query, rcode.NOERROR, {answers, transport});
}

class SystemResolver implements HostResolver {
  readonly counters = {looked: 0, forwarded: 0, failed: 0, refused: 0};
  readonly #servers: () => Promise<readonly string[]>;
  readonly #port: number;
  readonly #lookUps = new Map<string, Promise<Found>>();
  #underWay = 0;

  constructor({servers = hostNameServers, port = 53}: HostResolverOptions) {
    this.#servers = servers;
    this.#port = port;
  }

  async answer(
    message: Uint8Array,
    name: string,
    transport: Transport,
  ): Promise<Uint8Array | undefined> {
    const query = parseQuery(message);
    if (query === undefined) return undefined;
    const failure = (): Buffer => emitAnswer(query, rcode.SERVFAIL, {transport});
    if (this.#underWay >= queryLimit) {
      this.counters.refused++;
      return failure();
    }
    this.#underWay++;
    const work = this.#resolve(query, message, name, transport).finally(() => this.#underWay--);
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<undefined>((resolve) => {
      timer = setTimeout(() => resolve(undefined), answerTimeoutMs);
    });
    const answer = await Promise.race([work.catch(() => undefined), late]);
    clearTimeout(timer);
    if (answer === undefined) this.counters.failed++;
    return answer ?? failure();
  }

  /** Undefined when nobody answers. */
  async #resolve(
    query: Query,
    message: Uint8Array,
    name: string,
    transport: Transport,
  ): Promise<Uint8Array | undefined> {
    const {type, class: group} = query.question;
    if (group === 'IN' && (type === 'A' || type === 'AAAA')) {
      if (!isAskable(name)) return emitAnswer(query, rcode.NXDOMAIN, {transport});
      return addressAnswer(query, await this.#lookUp(name), transport);
    }
    this.counters.forwarded++;
    if (name === query.name) return await this.#forward(message, transport);
    const answer = await this.#forward(renameQuery(query, name), transport);
    return answer === undefined ? undefined : renameAnswer(answer, query);
  }

  async #forward(query: Uint8Array, transport: Transport): Promise<Uint8Array | undefined> {
    const ask = transport === 'udp' ? askByUdp : askByTcp;
    for (const server of await this.#servers()) {
      try {
        return await ask({server, port: this.#port}, query);
      } catch {
        // The next one may know.
      }
    }
    return undefined;
  }

  #lookUp(name: string): Promise<Found> {
    const running = this.#lookUps.get(name);
    if (running !== undefined) return running;
    this.counters.looked++;
    const started = lookUp(name).finally(() => this.#lookUps.delete(name));
    this.#lookUps.set(name, started);
    return started;
  }
}

/** Makes a resolver by this machine's own means. */
export function createHostResolver(options: HostResolverOptions = {}): HostResolver {
  return new SystemResolver(options);
}
