/** All connections share the worker, and what is compiled of filters. */

import {httpCounters} from './counters.ts';
import {Judge} from './filter/judge.ts';
import {Router} from './route.ts';

export const judge = new Judge(httpCounters);
export const router = new Router(judge);
