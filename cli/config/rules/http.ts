/**
 * Rules of the HTTP filter.
 */

import type {Path} from '../path.ts';
import {jsonPathProblem, patternProblem} from '../patterns.ts';
import {error, type Finding, type Rule, type Subject} from './rule.ts';

const at = ['feature', 'network', 'incoming', 'http_filter'] as const;

/** The parts of all_of and any_of with their paths. */
function parts({config}: Subject): {path: Path; part: Record<string, unknown>}[] {
  const filter = config.feature.network.incoming.http_filter;
  return (['all_of', 'any_of'] as const).flatMap((name) =>
    (filter?.[name] ?? []).map((part, index) => ({
      path: [...at, name, index],
      part: part as Record<string, unknown>,
    })),
  );
}

/** Only one of the filters that exclude each other may be set; method and jq filters count as well. */
export const oneHttpFilter: Rule = ({config}) => {
  const filter = config.feature.network.incoming.http_filter;
  const names = [
    'path_filter',
    'header_filter',
    'all_of',
    'any_of',
    'body_filter',
    'method_filter',
    'header_filter_jq',
  ] as const;
  const set = names.filter((name) => filter?.[name] !== undefined);
  if (set.length < 2) return [];
  return [error(at, `has ${set.join(' and ')}: use one, or all_of or any_of to combine them`)];
};

/** A composite filter needs parts. */
export const noEmptyComposite: Rule = ({config}) =>
  (['all_of', 'any_of'] as const)
    .filter((name) => config.feature.network.incoming.http_filter?.[name]?.length === 0)
    .map((name) => error([...at, name], 'needs at least one filter'));

/** Every text of a filter: its path, what it is, and the text. */
function texts(subject: Subject): {path: Path; kind: string; text: string}[] {
  const filter = subject.config.feature.network.incoming.http_filter;
  const simple = [
    ['header_filter', 'pattern'],
    ['path_filter', 'pattern'],
    ['method_filter', 'method'],
    ['header_filter_jq', 'jq'],
  ] as const;
  const found = simple.flatMap(([name, kind]) => {
    const text = filter?.[name];
    return text === undefined ? [] : [{path: [...at, name] as Path, kind, text}];
  });
  const inner = parts(subject);
  if (filter?.body_filter !== undefined) {
    inner.push({path: [...at, 'body_filter'], part: {...filter.body_filter}});
  }
  const kinds: Record<string, string> = {
    header: 'pattern',
    path: 'pattern',
    matches: 'pattern',
    method: 'method',
  };
  for (const {path, part} of inner) {
    for (const [name, text] of Object.entries(part)) {
      if (typeof text !== 'string' || name === 'body') continue;
      const kind = kinds[name] ?? ('body' in part ? 'jsonpath' : 'jq');
      found.push({path: [...path, name], kind: kind as 'pattern', text});
    }
  }
  return found;
}

/** An empty text would fit everything, or nothing. */
export const noEmptyHttpFilter: Rule = (subject) =>
  texts(subject)
    .filter(({text}) => text.trim() === '')
    .map(({path}) => error(path, 'is empty'));

/** A body filter's query is a JSONPath. */
export const validJsonPath: Rule = (subject) =>
  texts(subject).flatMap(({path, kind, text}): Finding[] => {
    const problem = kind === 'jsonpath' && text.trim() !== '' ? jsonPathProblem(text) : undefined;
    return problem === undefined ? [] : [error(path, `is not a JSONPath: ${problem}`)];
  });

/** Patterns of filters are regular expressions. */
export const validHttpPatterns: Rule = (subject) =>
  texts(subject).flatMap(({path, kind, text}): Finding[] => {
    const problem = kind === 'pattern' ? patternProblem(text) : undefined;
    return problem === undefined ? [] : [error(path, `is not a regular expression: ${problem}`)];
  });
