/**
 * Has V8 compile what is used a lot sooner than it does by itself.
 *
 * It compiles a function when that was called some 400 times (Maglev), and as well as it can after some 3,000 (TurboFan). A request for a
 * file passes a hundred functions on its way, so that the first thousand small requests take twice as long as those after them. So much
 * patience saves work where programs end early, as our own start does: this is for when it is over.
 *
 * Only the first of both comes sooner. The second takes ten times as long to compile what is hardly faster for it, and where there are two
 * processors, the program waits for one of them meanwhile: with both sooner, a thousand small writes or files took half as long again.
 */

import {setFlagsFromString} from 'node:v8';

/** Calls of a function that are enough. A V8 that knows no such number goes on as it did. */
const CALLS = 100;

let isDone = false;

export function compileSooner(): void {
  if (isDone) return;
  isDone = true;
  setFlagsFromString(`--invocation-count-for-maglev=${CALLS}`);
}
