/**
 * Finds where a text stops being JSON (RFC 8259): V8 refuses it without telling the place.
 */

const space = /[ \t\r\n]*/y;
// Of the control characters that a string can't have, these three are what people meet.
const scalar =
  /"(?:[^"\\\n\r\t]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null/y;

/** What may come next: a value, a key, a colon, or what follows a value. */
type State = 'value' | 'value-or-end' | 'key' | 'key-or-end' | 'colon' | 'after';

/** Reads signs and scalars in turn; the stack holds the brackets that are open. */
export function jsonErrorOffset(text: string): number {
  const open: ('{' | '[')[] = [];
  let state: State = 'value';
  let at = 0;
  const match = (pattern: RegExp): string | undefined => {
    pattern.lastIndex = at;
    return pattern.exec(text)?.[0];
  };
  for (;;) {
    at += match(space)?.length ?? 0;
    const sign = text[at];
    const inner = open.at(-1);
    if (sign === undefined) return at;
    if (state === 'colon') {
      if (sign !== ':') return at;
      state = 'value';
    } else if (state === 'after') {
      if (sign === ',' && inner !== undefined) state = inner === '{' ? 'key' : 'value';
      else if (sign === (inner === '{' ? '}' : ']') && inner !== undefined) open.pop();
      else return at;
    } else if (
      (state === 'key-or-end' && sign === '}') ||
      (state === 'value-or-end' && sign === ']')
    ) {
      open.pop();
      state = 'after';
    } else {
      const isKey: boolean = state === 'key' || state === 'key-or-end';
      if (!isKey && (sign === '{' || sign === '[')) {
        open.push(sign);
        state = sign === '{' ? 'key-or-end' : 'value-or-end';
      } else {
        const found = isKey && sign !== '"' ? undefined : match(scalar);
        if (found === undefined || found === '') return at;
        at += found.length;
        state = isKey ? 'colon' : 'after';
        continue;
      }
    }
    at++;
  }
}
