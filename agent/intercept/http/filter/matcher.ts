/**
 * A filter, made ready to be asked about requests.
 *
 * Methods and patterns without backtracking are decided at once; what needs the worker comes after them, and what
 * needs the body last: most requests are decided by the first.
 */

import type {HttpCondition, HttpFilter, HttpPattern} from '../../../../tunnel/http-filter.ts';
import type {HttpSubscription} from '../types.ts';
import {warnOnce} from '../warnings.ts';
import type {Judge} from './judge.ts';
import {compileLinear, neededText} from './pattern.ts';
import type {Question} from './questions.ts';

/** A request as filters see it. */
export interface FilterSubject {
  readonly method: string;
  /** As the client sent it: with the query, or whole. */
  readonly target: string;
  /** "Name: value", as it came, without what belongs to HTTP/2 itself. */
  readonly headers: readonly string[];
  /** A text in small letters is surely in none of the headers: where that is known for less than to look at each. */
  lacks?(text: string): boolean;
  /** The whole body, without framing; undefined when it is too large or too slow. */
  body(): Promise<Uint8Array | undefined>;
}

/** Who wants to know, and how long the worker may think about it. */
export interface Asker {
  readonly subscription: HttpSubscription;
  readonly limitMs: number;
}

/** Says whether a request fits; at once where that is possible. */
export type Matcher = (subject: FilterSubject, asker: Asker) => boolean | Promise<boolean>;

type Ask = (question: Question, asker: Asker) => Promise<boolean>;

/** What is decided when: at once, in the worker, with the body. */
type Stage = 0 | 1 | 2;

interface Prepared {
  readonly stage: Stage;
  readonly fits: Matcher;
}

/** Compiles a filter. */
export function compileFilter(filter: HttpFilter, judge: Judge): Matcher {
  const ask: Ask = (question, asker) => askJudge(judge, question, asker);
  const prepared = filter.conditions
    .map((condition) => prepare(condition, ask))
    .toSorted((one, other) => one.stage - other.stage);
  if (prepared.some(({stage}) => stage > 0)) judge.prepare();
  return (subject, asker) => joined(prepared, {subject, asker}, filter.join);
}

function joined(
  prepared: readonly Prepared[],
  asked: {readonly subject: FilterSubject; readonly asker: Asker},
  join: HttpFilter['join'],
): boolean | Promise<boolean> {
  const decisive = join === 'any';
  for (let at = 0; at < prepared.length; at++) {
    const found = prepared[at]?.fits(asked.subject, asked.asker);
    if (found === undefined) break;
    if (typeof found !== 'boolean') {
      const rest = prepared.slice(at + 1);
      return found.then((is) => (is === decisive ? is : joined(rest, asked, join)));
    }
    if (found === decisive) return found;
  }
  return !decisive;
}

function prepare(condition: HttpCondition, ask: Ask): Prepared {
  switch (condition.kind) {
    case 'method': {
      const method = condition.method.toUpperCase();
      return {stage: 0, fits: (subject) => subject.method.toUpperCase() === method};
    }
    case 'header':
      return prepareHeader(condition.pattern, ask);
    case 'path':
      return preparePattern(condition.pattern, ({target}) => pathsOf(target), ask);
    case 'jq': {
      const {program} = condition;
      return {
        stage: 1,
        fits: ({headers}, asker) => ask({kind: 'jq', program, texts: headers}, asker),
      };
    }
    default: {
      const {query, pattern} = condition;
      return {
        stage: 2,
        fits: async (subject, asker) => {
          const body = await subject.body();
          return body !== undefined && ask({kind: 'body', query, pattern, body}, asker);
        },
      };
    }
  }
}

function prepareHeader(pattern: HttpPattern, ask: Ask): Prepared {
  const prepared = preparePattern(pattern, ({headers}) => headers, ask);
  const needed = neededText(pattern);
  if (needed === '' || prepared.stage > 0) return prepared;
  // Most requests are of others, and have nothing like it.
  const fits: Matcher = (subject, asker) =>
    subject.lacks?.(needed) === true ? false : prepared.fits(subject, asker);
  return {stage: prepared.stage, fits};
}

function preparePattern(
  pattern: HttpPattern,
  textsOf: (subject: FilterSubject) => readonly string[],
  ask: Ask,
): Prepared {
  const linear = compileLinear(pattern);
  if (linear !== undefined) return {stage: 0, fits: (subject) => textsOf(subject).some(linear)};
  const fits: Matcher = (subject, asker) =>
    ask({kind: 'pattern', pattern, texts: textsOf(subject)}, asker);
  return {stage: 1, fits};
}

/** The path alone, and with its query (mirrord matches either). */
export function pathsOf(target: string): string[] {
  // RFC 9112, section 3.2.2: proxies are asked for the whole URI.
  const whole = target.replace(/^[a-z][a-z0-9+.-]*:\/\/[^/?#]*/i, '');
  const query = whole.indexOf('?');
  return query < 0 ? [whole] : [whole.slice(0, query), whole];
}

async function askJudge(
  judge: Judge,
  question: Question,
  {subscription, limitMs}: Asker,
): Promise<boolean> {
  const judgement = await judge.ask(question, limitMs);
  if (judgement.kind === 'verdict') return judgement.fits;
  if (judgement.kind === 'late') {
    const late = `the ${question.kind} filter said nothing within ${limitMs} ms about a request, which was then taken for one that does not fit`;
    warnOnce(subscription, 'MIRRORD_HTTP_FILTER_LATE', late);
  } else {
    const invalid = `the ${question.kind} filter cannot be used: ${judgement.reason}`;
    warnOnce(subscription, 'MIRRORD_HTTP_FILTER_INVALID', invalid);
  }
  return false;
}
