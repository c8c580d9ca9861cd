/**
 * The worker of the filters: answers one question after the other, and is ended from outside when one takes too long.
 *
 * jq is the real one, as WebAssembly: its memory has a limit of its own here, since that of the thread does not
 * count it.
 */

import {createRequire} from 'node:module';
import {parentPort} from 'node:worker_threads';
import {FunctionExpressionType, JSONPathEnvironment, type JSONPathQuery} from 'json-p3';
import type {HttpPattern} from '../../../../tunnel/http-filter.ts';
import {type Answer, type Question, READY} from './questions.ts';

/** jq starts with 16 MiB. */
const JQ_MEMORY_BYTES = 67_108_864;
const PAGE_BYTES = 65_536;
/** Compiled patterns and paths: a client has a handful. */
const CACHE_ENTRIES = 64;

/** What is used of a global that Node's types leave to those of browsers. */
declare const WebAssembly: {
  readonly Memory: {
    readonly prototype: {
      readonly buffer: ArrayBuffer;
      grow(pages: number): number;
    };
  };
  readonly RuntimeError: ErrorConstructor;
};

interface Jq {
  raw(input: string, program: string, flags?: readonly string[]): string;
}

/** A small table that forgets its oldest entry. */
class Cache<V> {
  readonly #entries = new Map<string, V>();

  get(key: string, make: () => V): V {
    const known = this.#entries.get(key);
    if (known !== undefined) return known;
    const [oldest] = this.#entries.keys();
    if (this.#entries.size >= CACHE_ENTRIES && oldest !== undefined) this.#entries.delete(oldest);
    const made = make();
    this.#entries.set(key, made);
    return made;
  }
}

const patterns = new Cache<RegExp>();
const paths = new Cache<JSONPathQuery>();
let jq: Promise<Jq> | undefined;

const environment = new JSONPathEnvironment();
// mirrord's extension of RFC 9535, section 2.4.
environment.functionRegister.set('typeof', {
  argTypes: [FunctionExpressionType.ValueType],
  returnType: FunctionExpressionType.ValueType,
  call: (value: unknown) =>
    value === null ? 'null' : Array.isArray(value) ? 'array' : typeof value,
});

function compile({source, flags}: HttpPattern): RegExp {
  return patterns.get(`${flags}/${source}`, () => new RegExp(source, flags));
}

function fitsBody({query, pattern, body}: Question & {kind: 'body'}): boolean {
  const path = paths.get(query, () => environment.compile(query));
  const expression = compile(pattern);
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder('utf-8', {fatal: true}).decode(body));
  } catch {
    // No JSON: nothing is found in it.
    return false;
  }
  return path
    .query(value as never)
    .values()
    .some((found: unknown) =>
      expression.test(typeof found === 'string' ? found : JSON.stringify(found)),
    );
}

async function fitsJq({program, texts}: Question & {kind: 'jq'}): Promise<boolean> {
  jq ??= loadJq();
  // A text of which the program makes an error is one that does not fit. It may end with a comment.
  const each = `.[] | try (${program}\n) catch false`;
  const output = (await jq).raw(JSON.stringify(texts), each, ['-c']);
  return output.split('\n').includes('true');
}

function loadJq(): Promise<Jq> {
  const {prototype} = WebAssembly.Memory;
  const grow = prototype.grow;
  prototype.grow = function (pages) {
    if (this.buffer.byteLength + pages * PAGE_BYTES > JQ_MEMORY_BYTES) {
      throw new RangeError('jq takes too much memory');
    }
    return grow.call(this, pages);
  };
  // What jq has to say about its end would be in the agent's log, line by line.
  process.stderr.write = () => true;
  return createRequire(import.meta.url)('jq-web');
}

async function answer(question: Question): Promise<Answer> {
  try {
    switch (question.kind) {
      case 'pattern': {
        const expression = compile(question.pattern);
        return {kind: 'verdict', fits: question.texts.some((text) => expression.test(text))};
      }
      case 'body':
        return {kind: 'verdict', fits: fitsBody(question)};
      default:
        return {kind: 'verdict', fits: await fitsJq(question)};
    }
  } catch (error) {
    // What jq leaves behind after an abort is not to be relied on.
    if (error instanceof WebAssembly.RuntimeError) process.exit(1);
    return {kind: 'invalid', reason: error instanceof Error ? error.message : String(error)};
  }
}

parentPort?.on('message', (question: Question) => {
  void answer(question).then((found) => parentPort?.postMessage(found));
});
parentPort?.postMessage(READY);
