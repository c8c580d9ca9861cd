/**
 * Splits a template into text and tags, and tags into tokens.
 *
 * The language is Tera's, of which people use a part in configuration files; its grammar is that of Tera 1
 * (`src/parser/tera.pest`). Strings have no escapes and may be quoted in three ways.
 */

/** A template that can't be rendered; the position is in the template, counted from 1. */
export class TemplateError extends Error {
  readonly offset: number;

  constructor(message: string, offset: number) {
    super(message);
    this.name = 'TemplateError';
    this.offset = offset;
  }
}

/** A piece of an expression. */
export interface Token {
  kind: 'name' | 'string' | 'number' | 'sign';
  text: string;
  offset: number;
}

/** A piece of a template. */
export type Piece =
  | {kind: 'text'; text: string}
  | {kind: 'output' | 'statement'; tokens: Token[]; offset: number};

/** Longest tag: what people write has a few dozen letters. */
const maxTag = 4000;

const token =
  /\s*(?:([A-Za-z_]\w*)|("[^"]*"|'[^']*'|`[^`]*`)|(\d+(?:\.\d+)?)|(==|!=|<=|>=|[-+*/%~<>=|.,:()[\]{}]))/y;

function tokenize(source: string, start: number, end: number): Token[] {
  const tokens: Token[] = [];
  let at = start;
  while (source.slice(at, end).trim() !== '') {
    token.lastIndex = at;
    const found = token.exec(source);
    if (found === null || token.lastIndex > end) {
      const wrong = source.slice(at, end).trimStart();
      const offset = end - wrong.length;
      throw new TemplateError(`${JSON.stringify(wrong[0])} has no place in an expression`, offset);
    }
    const [all, name, string, number, sign] = found;
    const text = name ?? string?.slice(1, -1) ?? number ?? sign ?? '';
    const offset = at + all.length - all.trimStart().length;
    if (name !== undefined) tokens.push({kind: 'name', text, offset});
    else if (string !== undefined) tokens.push({kind: 'string', text, offset});
    else tokens.push({kind: number === undefined ? 'sign' : 'number', text, offset});
    at = token.lastIndex;
  }
  return tokens;
}

/** Where a tag that began at `start` closes: outside of strings. -1 if nowhere. */
function closing(source: string, start: number, sign: string): number {
  const part = /"[^"]*"|'[^']*'|`[^`]*`|[%}]\}|[^"'`%}]+|[\s\S]/gy;
  part.lastIndex = start;
  for (let found = part.exec(source); found !== null; found = part.exec(source)) {
    if (found[0] === sign) return found.index;
  }
  return -1;
}

const closers: Readonly<Record<string, string>> = {'{{': '}}', '{%': '%}', '{#': '#}'};
const endraw = /\{%-?\s*endraw\s*-?%\}/g;

/** Splits a template. `{%-` and `-%}` take the white space before and after along. */
export function splitTemplate(source: string): Piece[] {
  const pieces: Piece[] = [];
  let at = 0;
  let trimNext = false;
  const pushText = (text: string, trimEnd: boolean): void => {
    let kept = trimNext ? text.trimStart() : text;
    if (trimEnd) kept = kept.trimEnd();
    if (kept !== '') pieces.push({kind: 'text', text: kept});
    trimNext = false;
  };
  for (;;) {
    const tag = /\{[{%#]/g;
    tag.lastIndex = at;
    const open = tag.exec(source);
    if (open === null) break;
    const sign = closers[open[0]] ?? '';
    const start = open.index + 2;
    const end = open[0] === '{#' ? source.indexOf(sign, start) : closing(source, start, sign);
    if (end === -1) throw new TemplateError(`${open[0]} is never closed by ${sign}`, open.index);
    if (end - start > maxTag && open[0] !== '{#') {
      throw new TemplateError(`a tag is longer than ${maxTag} letters`, open.index);
    }
    const left = source[start] === '-';
    const right = end > start + (left ? 1 : 0) && source[end - 1] === '-';
    pushText(source.slice(at, open.index), left);
    at = end + 2;
    trimNext = right;
    if (open[0] === '{#') continue;
    const tokens = tokenize(source, left ? start + 1 : start, right ? end - 1 : end);
    if (open[0] === '{%' && tokens[0]?.text === 'raw' && tokens.length === 1) {
      endraw.lastIndex = at;
      const close = endraw.exec(source);
      if (close === null) throw new TemplateError('raw is never closed by endraw', open.index);
      pushText(source.slice(at, close.index), close[0].startsWith('{%-'));
      at = close.index + close[0].length;
      trimNext = close[0].endsWith('-%}');
      continue;
    }
    const kind = open[0] === '{{' ? 'output' : 'statement';
    pieces.push({kind, tokens, offset: open.index});
  }
  pushText(source.slice(at), false);
  return pieces;
}
