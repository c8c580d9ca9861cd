/** Heads of requests and responses of HTTP/2, as filters and the relay see them. Sans-IO. */

import type {HeaderChange} from '../response-head.ts';
import type {Route} from '../route.ts';
import type {HttpSubscription} from '../types.ts';
import type {Block} from './blocks.ts';
import type {Field} from './hpack/field.ts';

/** What was found out about a block that is a request. */
export interface RequestHead {
  readonly method: string;
  readonly target: string;
  /** "name: value", without pseudo-headers. */
  readonly headers: readonly string[];
  /** Every server reads it as we do (RFC 9113, section 8.3). What is not so is not looked at, and the application's. */
  readonly isClear: boolean;
  /** Whose it was, while the subscriptions were these. */
  verdict: {readonly subscriptions: readonly HttpSubscription[]; readonly route: Route} | undefined;
}

const PSEUDO = new Set([':method', ':scheme', ':path', ':authority', ':protocol']);
/** Section 8.2.2. */
const OF_CONNECTIONS = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'transfer-encoding',
  'upgrade',
]);
const NAME = /^[!#$%&'*+\-.^_`|~0-9a-z]+$/;
const BAD_VALUE = /[\0\r\n]|^[ \t]|[ \t]$/;

/** Returns what a request's block says; the same object for the same block. */
export function requestHeadOf(block: Block): RequestHead {
  block.found ??= readRequest(block);
  return block.found as RequestHead;
}

function readRequest({fields, isTooLarge}: Block): RequestHead {
  const pseudo = new Map<string, string>();
  const headers: string[] = [];
  let isClear = !isTooLarge;
  let lengths = 0;
  for (const {name, value} of fields) {
    if (BAD_VALUE.test(value)) isClear = false;
    if (name.startsWith(':')) {
      if (!PSEUDO.has(name) || pseudo.has(name) || headers.length > 0) isClear = false;
      pseudo.set(name, value);
      continue;
    }
    headers.push(`${name}: ${value}`);
    if (!NAME.test(name) || OF_CONNECTIONS.has(name)) isClear = false;
    if (name === 'te' && value !== 'trailers') isClear = false;
    if (name === 'content-length') lengths++;
  }
  const method = pseudo.get(':method') ?? '';
  const target = pseudo.get(':path') ?? '';
  const isPlainConnect = method === 'CONNECT' && !pseudo.has(':protocol');
  if (method === '' || lengths > 1) isClear = false;
  if (!isPlainConnect && (target === '' || !pseudo.has(':scheme'))) isClear = false;
  return {method, target, headers, isClear, verdict: undefined};
}

/** It ends in an answer, and is not one of those before it (1xx), nor trailers. */
export function isFinalAnswer({fields}: Block): boolean {
  const [first] = fields;
  return first?.name === ':status' && !first.value.startsWith('1');
}

/** What was made of an answer's head. */
interface ChangedHead {
  readonly changes: readonly HeaderChange[];
  readonly fields: readonly Field[];
}

/** The fields of an answer, with what is added to them: the same, as long as the block and the changes are. */
export function changedFields(block: Block, changes: readonly HeaderChange[]): readonly Field[] {
  if (changes.length === 0) return block.fields;
  const known = block.found as ChangedHead | undefined;
  if (known?.changes === changes) return known.fields;
  const fields = [...block.fields, ...fieldsOf(changes)];
  block.found = {changes, fields} satisfies ChangedHead;
  return fields;
}

/**
 * Returns the fields of changes, which come behind those of an answer. What an application has said of caches stays before them
 * then; in one list with it, `no-store` holds (RFC 9110, section 5.3; RFC 9111, section 5.2.2.5).
 */
export function fieldsOf(changes: readonly HeaderChange[]): Field[] {
  return changes.map(({name, value}) => ({
    name: name.toLowerCase(),
    value,
    indexing: 'indexed',
  }));
}
