/** What the worker of the filters is asked, and what it answers. */

import type {HttpPattern} from '../../../../tunnel/http-filter.ts';

/** Something that may take any time to find out. */
export type Question =
  /** Is the pattern in one of the texts? */
  | {readonly kind: 'pattern'; readonly pattern: HttpPattern; readonly texts: readonly string[]}
  /** Does the jq program say true of one of the texts? */
  | {readonly kind: 'jq'; readonly program: string; readonly texts: readonly string[]}
  /** Is the pattern in one of the values that the JSONPath finds in the body? */
  | {
      readonly kind: 'body';
      readonly query: string;
      readonly pattern: HttpPattern;
      readonly body: Uint8Array;
    };

/** `invalid`: the program, path or pattern is none. */
export type Answer =
  | {readonly kind: 'verdict'; readonly fits: boolean}
  | {readonly kind: 'invalid'; readonly reason: string};

/** The worker's first message. */
export const READY = 'ready';
