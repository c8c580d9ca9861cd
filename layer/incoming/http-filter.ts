/**
 * `feature.network.incoming.http_filter`, as it crosses the tunnel. Pure.
 */

import {
  type HttpCondition,
  type HttpFilter,
  type HttpPattern,
  parseHttpFilter,
} from '../../tunnel/http-filter.ts';
import {MirrordError} from '../errors.ts';
import {compilePattern} from '../pattern.ts';

/** A condition on JSON bodies. */
interface BodyConfig {
  readonly body: 'json';
  readonly query: string;
  readonly matches: string;
}

/** A part of `all_of` and `any_of`: one of these. */
type PartConfig =
  | {readonly header: string}
  | {readonly path: string}
  | {readonly method: string}
  | BodyConfig
  | {readonly query: string};

/** The block, of which the configuration has made sure that only one filter is set. */
export interface HttpFilterConfig {
  readonly header_filter?: string | undefined;
  readonly path_filter?: string | undefined;
  readonly method_filter?: string | undefined;
  readonly body_filter?: BodyConfig | undefined;
  readonly header_filter_jq?: string | undefined;
  readonly all_of?: readonly PartConfig[] | undefined;
  readonly any_of?: readonly PartConfig[] | undefined;
}

/**
 * Returns the filter; undefined: all traffic is wanted. To which ports it applies is not its business. Throws
 * MirrordError MIRRORD_HTTP_FILTER_INVALID.
 */
export function httpFilterOf(config: HttpFilterConfig | undefined): HttpFilter | undefined {
  if (config === undefined) return undefined;
  const {all_of: all, any_of: any} = config;
  const parts = all ?? any ?? single(config);
  if (parts.length === 0) return undefined;
  const filter = {join: all === undefined ? 'any' : 'all', conditions: parts.map(conditionOf)};
  const parsed = parseHttpFilter(filter);
  if (parsed === undefined) {
    throw invalid('it has more, or longer, parts than an agent takes');
  }
  return parsed;
}

function single(config: HttpFilterConfig): PartConfig[] {
  const {header_filter: header, path_filter: path, method_filter: method} = config;
  const {body_filter: body, header_filter_jq: query} = config;
  if (header !== undefined) return [{header}];
  if (path !== undefined) return [{path}];
  if (method !== undefined) return [{method}];
  if (body !== undefined) return [body];
  return query === undefined ? [] : [{query}];
}

function conditionOf(part: PartConfig): HttpCondition {
  // Headers and paths fit in any case of letters, values of a body do not.
  if ('header' in part) return {kind: 'header', pattern: patternOf(part.header, 'i')};
  if ('path' in part) return {kind: 'path', pattern: patternOf(part.path, 'i')};
  if ('method' in part) return {kind: 'method', method: part.method};
  if ('matches' in part) {
    return {kind: 'body', query: part.query, pattern: patternOf(part.matches, '')};
  }
  return {kind: 'jq', program: part.query};
}

function patternOf(text: string, flags: string): HttpPattern {
  try {
    const {source, flags: all} = compilePattern(text, flags);
    return {source, flags: all};
  } catch (error) {
    throw invalid(error instanceof Error ? error.message : String(error));
  }
}

function invalid(reason: string): MirrordError {
  return new MirrordError(
    'MIRRORD_HTTP_FILTER_INVALID',
    `the HTTP filter can't be used: ${reason}`,
    {
      hint: 'mend feature.network.incoming.http_filter; mirrord verify-config says where',
    },
  );
}
