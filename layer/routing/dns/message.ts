/**
 * DNS messages, as far as routing looks at them. Pure.
 *
 * They come from programs and name servers that may send anything: what isn't understood is undefined.
 */

import {
  type Answer,
  type DecodedPacket,
  decode,
  encode,
  type Packet,
  type Question,
  RECURSION_AVAILABLE,
  RECURSION_DESIRED,
  TRUNCATED_RESPONSE,
} from 'dns-packet';
import {addressBytes, addressText} from '../../address.ts';
import {plainName} from '../search-domains.ts';

/** A UDP answer fits in this without EDNS (RFC 1035, section 4.2.1), bytes. */
const plainLimit = 512;
/** A chain of aliases is followed so far. */
const aliasLimit = 16;
/** Where the flags hold the kind of query; 0 is the ordinary one. */
const opcodeMask = 15 << 11;

export const rcode = {NOERROR: 0, SERVFAIL: 2, NXDOMAIN: 3} as const;

/** A query with one question. */
export interface Query {
  readonly packet: DecodedPacket;
  readonly question: Question;
  /** The question's name, in lower case and without the final dot. */
  readonly name: string;
}

/** An address in text form with the names that lead to it: the one asked for first, then its aliases. */
export interface AnsweredAddress {
  readonly address: string;
  readonly names: readonly string[];
}

function decodeSafely(message: Uint8Array): DecodedPacket | undefined {
  try {
    return decode(Buffer.from(message.buffer, message.byteOffset, message.byteLength));
  } catch {
    return undefined; // dns-packet throws plain errors for whatever it can't parse
  }
}

/** Reads an ordinary query. */
export function parseQuery(message: Uint8Array): Query | undefined {
  const packet = decodeSafely(message);
  const [question, ...others] = packet?.questions ?? [];
  if (packet?.type !== 'query' || ((packet.flags ?? 0) & opcodeMask) !== 0) return undefined;
  if (question === undefined || others.length > 0) return undefined;
  return {packet, question, name: plainName(question.name)};
}

/** The names that lead from the question to an address, by the answer's aliases. */
function aliasChain(asked: string, answers: readonly Answer[]): string[] {
  const chain = [asked];
  const next = new Map(
    answers.flatMap((answer) =>
      answer.type === 'CNAME' ? [[plainName(answer.name), plainName(answer.data)] as const] : [],
    ),
  );
  for (let name = next.get(asked); name !== undefined; name = next.get(name)) {
    if (chain.includes(name) || chain.length > aliasLimit) break;
    chain.push(name);
  }
  return chain;
}

/** Reads the addresses of an answer, additional ones (of SRV targets) included; none of anything else. */
export function readAddresses(message: Uint8Array): AnsweredAddress[] {
  const packet = decodeSafely(message);
  const asked = packet?.questions?.[0]?.name;
  if (packet?.type !== 'response' || asked === undefined) return [];
  const answers = packet.answers ?? [];
  const chain = aliasChain(plainName(asked), answers);
  return [...answers, ...(packet.additionals ?? [])].flatMap((answer) => {
    if (answer.type !== 'A' && answer.type !== 'AAAA') return [];
    const owner = plainName(answer.name);
    const names = chain.includes(owner) ? chain : [owner];
    // In the one form that we compare by; dns-packet has made it from bytes.
    return [{address: addressText(addressBytes(answer.data)), names}];
  });
}

/** The longest answer that the sender of a query takes, bytes. */
function limitFor({packet}: Query, transport: 'udp' | 'tcp'): number {
  if (transport === 'tcp') return 65_535;
  const edns = packet.additionals?.find((record) => record.type === 'OPT');
  return Math.max(edns?.type === 'OPT' ? edns.udpPayloadSize : 0, plainLimit);
}

/** Returns an answer. One that the sender of the query can't take is empty and says so (TC). */
export function emitAnswer(
  query: Query,
  code: number,
  {answers = [], transport}: {answers?: Answer[]; transport: 'udp' | 'tcp'},
): Buffer {
  const {packet, question} = query;
  const flags =
    code | RECURSION_AVAILABLE | ((packet.flags ?? 0) & (RECURSION_DESIRED | opcodeMask));
  const base: Packet = {type: 'response', id: packet.id ?? 0, questions: [question]};
  const whole = encode({...base, flags, answers});
  if (whole.length <= limitFor(query, transport)) return whole;
  return encode({...base, flags: flags | TRUNCATED_RESPONSE});
}

/** Returns the query with another name in its question. */
export function renameQuery({packet, question}: Query, name: string): Buffer {
  return encode({...packet, questions: [{...question, name}]});
}

/** Returns the answer to a renamed query as one to the original; undefined when it is none. */
export function renameAnswer(message: Uint8Array, {question}: Query): Buffer | undefined {
  const packet = decodeSafely(message);
  const asked = packet?.questions?.[0]?.name;
  if (packet === undefined || asked === undefined) return undefined;
  const answers = (packet.answers ?? []).map((answer) =>
    'name' in answer && plainName(answer.name) === plainName(asked)
      ? {...answer, name: question.name}
      : answer,
  );
  try {
    return encode({...packet, questions: [question], answers});
  } catch {
    return undefined; // a record that dns-packet reads but can't write
  }
}

/** The address that a PTR question is about, in text form (RFC 1035 section 3.5, RFC 3596 section 2.5). */
export function reversedAddress(name: string): string | undefined {
  const four = /^((?:\d{1,3}\.){4})in-addr\.arpa$/.exec(name)?.[1];
  if (four !== undefined) {
    const address = four.split('.').slice(0, 4).reverse();
    return address.every((each) => Number(each) <= 255) ? address.map(Number).join('.') : undefined;
  }
  const six = /^((?:[\da-f]\.){32})ip6\.arpa$/.exec(name)?.[1];
  if (six === undefined) return undefined;
  return addressText(
    Uint8Array.from(Buffer.from(six.replaceAll('.', '').split('').reverse().join(''), 'hex')),
  );
}
