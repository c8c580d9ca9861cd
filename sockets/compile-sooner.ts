/**
 * Has V8 compile what is used a lot sooner than it does by itself.
 *
 * It compiles a function as well as it can when that was called some 3,000 times, and a request for a file passes a
 * hundred functions on its way: ten thousand small requests take a third longer than those after them. So much patience saves
 * work where programs end early, as our own start does: this is for when it is over.
 */

import {setFlagsFromString} from 'node:v8';

/** Calls of a function that are enough. A V8 that knows no such number goes on as it did. */
const CALLS = 500;

let isDone = false;

export function compileSooner(): void {
  if (isDone) return;
  isDone = true;
  setFlagsFromString(`--invocation-count-for-turbofan=${CALLS}`);
}
