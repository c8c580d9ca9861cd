/**
 * The name server of the cluster as a function: query in, answer out. No I/O; `dns-server.ts` has the
 * sockets.
 *
 * It is authoritative for the cluster's domain and knows nobody to ask for other names, which therefore
 * don't exist. In the domain, a name that exists without records of the type asked for is NODATA, one
 * that doesn't exist is NXDOMAIN, and both carry the SOA, which says how long a resolver may remember it
 * (RFC 2308). Over UDP an answer too long for the client is sent empty, with TC set, so that it asks
 * again over TCP.
 */

import {
  type Answer,
  AUTHORITATIVE_ANSWER,
  type DecodedPacket,
  decode,
  encode,
  type Packet,
  type Question,
  RECURSION_AVAILABLE,
  RECURSION_DESIRED,
  TRUNCATED_RESPONSE,
} from 'dns-packet';
import {domain} from './addressing.ts';
import type {RecordSet, Zone} from './zone.ts';

/** Seconds for which answers may be remembered (CoreDNS's default for Kubernetes). */
const ttl = 5;
/** An answer fits in this without EDNS (RFC 1035, section 4.2.1), bytes. */
const plainLimit = 512;
/** The longest UDP answer, whatever the client offers: never fragmented (DNS Flag Day 2020), bytes. */
const udpLimit = 1_232;
/** Where the flags hold the kind of query; 0 is the ordinary one. */
const opcodeMask = 15 << 11;
/** A chain of aliases is followed so far. */
const aliasLimit = 8;

const rcode = {NOERROR: 0, FORMERR: 1, NXDOMAIN: 3, NOTIMP: 4, REFUSED: 5, BADVERS: 16} as const;

export interface QueryContext {
  zone: Zone;
  transport: 'udp' | 'tcp';
  /** Counts the queries: address sets are rotated by it, which spreads clients over headless services. */
  turn: number;
}

interface Response {
  code: number;
  isAuthoritative: boolean;
  answers: Answer[];
  authorities: Answer[];
  additionals: Answer[];
}

function response(code: number, isAuthoritative = false): Response {
  return {code, isAuthoritative, answers: [], authorities: [], additionals: []};
}

const soa: Answer = {
  type: 'SOA',
  name: domain,
  ttl,
  data: {
    mname: `ns.dns.${domain}`,
    rname: `hostmaster.${domain}`,
    serial: 1,
    refresh: 7_200,
    retry: 1_800,
    expire: 86_400,
    minimum: ttl,
  },
};

function rotate<T>(items: readonly T[], turn: number): T[] {
  const start = items.length === 0 ? 0 : turn % items.length;
  return [...items.slice(start), ...items.slice(0, start)];
}

/** The records of one type in a set, under the name as it was asked for. */
function recordsOf(set: RecordSet, type: string, name: string, turn: number): Answer[] {
  switch (type) {
    case 'A':
      return rotate(set.a, turn).map((data) => ({type: 'A', name, ttl, data}));
    case 'AAAA':
      return rotate(set.aaaa, turn).map((data) => ({type: 'AAAA', name, ttl, data}));
    case 'SRV':
      return set.srv.map((data) => ({type: 'SRV', name, ttl, data}));
    case 'PTR':
      return set.ptr.map((data) => ({type: 'PTR', name, ttl, data}));
    default:
      return [];
  }
}

/** The addresses of the targets that an answer names, so that nobody has to ask again. */
function additionalsFor(zone: Zone, answers: readonly Answer[], turn: number): Answer[] {
  return answers.flatMap((answer) => {
    if (answer.type !== 'SRV') return [];
    const set = zone.get(answer.data.target);
    if (set === undefined) return [];
    return ['A', 'AAAA'].flatMap((type) => recordsOf(set, type, answer.data.target, turn));
  });
}

function isOurs(name: string): boolean {
  return name === domain || name.endsWith(`.${domain}`);
}

function lookUp(question: Question, {zone, turn}: QueryContext): Response {
  const answers: Answer[] = [];
  let name = question.name;
  for (let hops = 0; hops < aliasLimit; hops++) {
    const key = name.toLowerCase();
    const set = zone.get(key);
    if (set === undefined) {
      // An alias of a foreign name is answered as it is: the client may know whom to ask.
      const code = answers.length > 0 && !isOurs(key) ? rcode.NOERROR : rcode.NXDOMAIN;
      const authorities = isOurs(key) ? [soa] : [];
      return {...response(code, isOurs(key) || answers.length > 0), answers, authorities};
    }
    if (set.cname === undefined || question.type === 'CNAME') {
      if (set.cname !== undefined) answers.push({type: 'CNAME', name, ttl, data: set.cname});
      else answers.push(...recordsOf(set, question.type, name, turn));
      break;
    }
    answers.push({type: 'CNAME', name, ttl, data: set.cname});
    name = set.cname;
  }
  const isEmpty = !answers.some(({type}) => type === question.type);
  return {
    ...response(rcode.NOERROR, true),
    answers,
    authorities: isEmpty ? [soa] : [],
    additionals: additionalsFor(zone, answers, turn),
  };
}

function respond(query: DecodedPacket, context: QueryContext): Response {
  const [question, ...more] = query.questions ?? [];
  if (((query.flags ?? 0) & opcodeMask) !== 0) return response(rcode.NOTIMP);
  if (question === undefined || more.length > 0) return response(rcode.FORMERR);
  if (question.class !== 'IN') return response(rcode.REFUSED);
  return lookUp(question, context);
}

function toPacket(query: DecodedPacket, result: Response): Packet {
  const edns = query.additionals?.find(({type}) => type === 'OPT');
  return {
    type: 'response',
    id: query.id ?? 0,
    flags:
      // The low four bits are the code's; what exceeds them goes into OPT (RFC 6891, section 6.1.3).
      (result.code & 15) |
      (result.isAuthoritative ? AUTHORITATIVE_ANSWER : 0) |
      RECURSION_AVAILABLE |
      ((query.flags ?? 0) & (RECURSION_DESIRED | opcodeMask)),
    questions: query.questions ?? [],
    answers: result.answers,
    authorities: result.authorities,
    additionals: [
      ...result.additionals,
      ...(edns === undefined
        ? []
        : [
            {
              type: 'OPT' as const,
              name: '.',
              udpPayloadSize: udpLimit,
              extendedRcode: result.code >> 4,
              ednsVersion: 0,
              flags: 0,
              flag_do: false,
              options: [],
            },
          ]),
    ],
  };
}

/** How long an answer the client takes, bytes. */
function limitFor(query: DecodedPacket, transport: 'udp' | 'tcp'): number {
  if (transport === 'tcp') return 65_535;
  const edns = query.additionals?.find((record) => record.type === 'OPT');
  const offered = edns?.type === 'OPT' ? edns.udpPayloadSize : 0;
  return Math.min(Math.max(offered, plainLimit), udpLimit);
}

/**
 * Answers one query. Returns undefined for what is none (malformed, or itself an answer), which the
 * caller drops and counts: to answer it would invite loops.
 */
export function answerQuery(message: Uint8Array, context: QueryContext): Buffer | undefined {
  try {
    const query = decode(Buffer.from(message));
    if (query.type !== 'query') return undefined;
    const edns = query.additionals?.find((record) => record.type === 'OPT');
    const isNewer = edns?.type === 'OPT' && edns.ednsVersion > 0;
    const result = isNewer ? response(rcode.BADVERS) : respond(query, context);
    const whole = encode(toPacket(query, result));
    if (whole.length <= limitFor(query, context.transport)) return whole;
    const empty = toPacket(query, response(result.code, result.isAuthoritative));
    return encode({...empty, flags: (empty.flags ?? 0) | TRUNCATED_RESPONSE});
  } catch {
    // dns-packet throws plain errors for whatever it can't parse, or couldn't write back.
    return undefined;
  }
}
