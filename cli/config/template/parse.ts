/**
 * Parses a template into statements and expressions.
 *
 * Precedence, from loose to tight, as Tera has it: or, and, not, comparison (with `in` and `is`), filters,
 * `~`, `+ -`, `* / %`, member and call. So `1 + 1 | round` filters the sum.
 */

import {type Piece, splitTemplate, TemplateError, type Token} from './tokens.ts';

/** Named arguments of a filter, test or function; positional ones have their index as name. */
export type Arguments = ReadonlyMap<string, Expression>;

export type Expression = {offset: number} & (
  | {kind: 'literal'; value: string | number | boolean}
  | {kind: 'array'; items: Expression[]}
  | {kind: 'variable'; name: string}
  | {kind: 'member'; of: Expression; name: Expression}
  | {kind: 'call'; name: string; args: Arguments}
  | {kind: 'filter'; of: Expression; name: string; args: Arguments}
  | {kind: 'test'; of: Expression; name: string; args: Arguments}
  | {kind: 'not'; of: Expression}
  | {kind: 'binary'; sign: string; left: Expression; right: Expression}
);

export type Statement =
  | {kind: 'text'; text: string}
  | {kind: 'output'; of: Expression}
  | {kind: 'if'; branches: {test: Expression | undefined; body: Statement[]}[]}
  | {
      kind: 'for';
      names: string[];
      of: Expression;
      body: Statement[];
      otherwise: Statement[];
      offset: number;
    }
  | {kind: 'set'; name: string; of: Expression; global: boolean};

/** Deepest nesting of expressions and blocks; a hostile template would exhaust the stack. */
const maxDepth = 50;

/** Parses the tokens of one tag. */
class ExpressionParser {
  readonly #tokens: readonly Token[];
  readonly #end: number;
  #at = 0;
  #depth = 0;

  constructor(tokens: readonly Token[], end: number) {
    this.#tokens = tokens;
    this.#end = end;
  }

  get #offset(): number {
    return this.#tokens[this.#at]?.offset ?? this.#end;
  }

  #fail(message: string): never {
    throw new TemplateError(message, this.#offset);
  }

  /** Takes a sign or a keyword if it comes next. */
  take(...words: readonly string[]): string | undefined {
    const next = this.#tokens[this.#at];
    if (next === undefined || (next.kind !== 'sign' && next.kind !== 'name')) return undefined;
    if (!words.includes(next.text)) return undefined;
    this.#at++;
    return next.text;
  }

  expect(word: string): void {
    if (this.take(word) === undefined) this.#fail(`${word} is missing`);
  }

  name(): string {
    const next = this.#tokens[this.#at];
    if (next?.kind !== 'name') return this.#fail('a name is missing');
    this.#at++;
    return next.text;
  }

  end(): void {
    const next = this.#tokens[this.#at];
    if (next !== undefined) this.#fail(`${JSON.stringify(next.text)} is not expected here`);
  }

  expression(): Expression {
    if (++this.#depth > maxDepth) this.#fail('the expression is nested too deep');
    const parsed = this.#chain(['or'], () => this.#chain(['and'], () => this.#negation()));
    this.#depth--;
    return parsed;
  }

  #chain(signs: readonly string[], operand: () => Expression): Expression {
    let left = operand();
    for (;;) {
      const offset = this.#offset;
      const sign = this.take(...signs);
      if (sign === undefined) return left;
      left = {kind: 'binary', sign, left, right: operand(), offset};
    }
  }

  #negation(): Expression {
    const offset = this.#offset;
    let negated = false;
    while (this.take('not') !== undefined) negated = !negated;
    const of = this.#comparison();
    return negated ? {kind: 'not', of, offset} : of;
  }

  #comparison(): Expression {
    const left = this.#filtered();
    const offset = this.#offset;
    if (this.take('is') !== undefined) {
      const negated = this.take('not') !== undefined;
      const test: Expression = {
        kind: 'test',
        of: left,
        name: this.name(),
        args: this.#args(),
        offset,
      };
      return negated ? {kind: 'not', of: test, offset} : test;
    }
    const negated = this.take('not') !== undefined;
    const sign = this.take('in', '==', '!=', '<=', '>=', '<', '>');
    if (negated && sign !== 'in') return this.#fail('in is missing');
    if (sign === undefined) return left;
    const compared: Expression = {kind: 'binary', sign, left, right: this.#filtered(), offset};
    return negated ? {kind: 'not', of: compared, offset} : compared;
  }

  #filtered(): Expression {
    let of = this.#chain(['~'], () =>
      this.#chain(['+', '-'], () => this.#chain(['*', '/', '%'], () => this.#member())),
    );
    for (let offset = this.#offset; this.take('|') !== undefined; offset = this.#offset) {
      of = {kind: 'filter', of, name: this.name(), args: this.#args(), offset};
    }
    return of;
  }

  #member(): Expression {
    let of = this.#primary();
    for (;;) {
      const offset = this.#offset;
      if (this.take('.') !== undefined) {
        const token = this.#tokens[this.#at++];
        if (token?.kind !== 'name' && token?.kind !== 'number') this.#fail('a name is missing');
        of = {kind: 'member', of, name: {kind: 'literal', value: token.text, offset}, offset};
      } else if (this.take('[') !== undefined) {
        of = {kind: 'member', of, name: this.expression(), offset};
        this.expect(']');
      } else return of;
    }
  }

  #primary(): Expression {
    const offset = this.#offset;
    if (this.take('(') !== undefined) {
      const inner = this.expression();
      this.expect(')');
      return inner;
    }
    if (this.take('[') !== undefined) return {kind: 'array', items: this.#items(']'), offset};
    const minus = this.take('-') !== undefined;
    const token = this.#tokens[this.#at];
    if (token === undefined || token.kind === 'sign') return this.#fail('a value is missing');
    this.#at++;
    if (token.kind === 'number') {
      return {kind: 'literal', value: Number(token.text) * (minus ? -1 : 1), offset};
    }
    if (minus) return this.#fail('only numbers can be negative');
    if (token.kind === 'string') return {kind: 'literal', value: token.text, offset};
    if (/^(true|false|True|False)$/.test(token.text)) {
      return {kind: 'literal', value: token.text.toLowerCase() === 'true', offset};
    }
    return this.#tokens[this.#at]?.text === '(' && this.#tokens[this.#at]?.kind === 'sign'
      ? {kind: 'call', name: token.text, args: this.#args(), offset}
      : {kind: 'variable', name: token.text, offset};
  }

  #items(close: string): Expression[] {
    const items: Expression[] = [];
    while (this.take(close) === undefined) {
      items.push(this.expression());
      if (this.take(',') === undefined) {
        this.expect(close);
        break;
      }
    }
    return items;
  }

  #args(): Arguments {
    const args = new Map<string, Expression>();
    if (this.take('(') === undefined) return args;
    while (this.take(')') === undefined) {
      const next = this.#tokens[this.#at + 1];
      const isNamed = next?.kind === 'sign' && next.text === '=';
      const name = isNamed ? this.name() : String(args.size);
      if (isNamed) this.expect('=');
      args.set(name, this.expression());
      if (this.take(',') === undefined) {
        this.expect(')');
        break;
      }
    }
    return args;
  }
}

/** Parses blocks: consumes pieces up to one of the words that end the block around. */
class BlockParser {
  readonly #pieces: readonly Piece[];
  #at = 0;
  #depth = 0;

  constructor(pieces: readonly Piece[]) {
    this.#pieces = pieces;
  }

  /** Statements up to a tag that begins with one of `ends`, which stays next. */
  body(ends: readonly string[], opened: number): Statement[] {
    if (++this.#depth > maxDepth) throw new TemplateError('blocks are nested too deep', opened);
    const body: Statement[] = [];
    for (let piece = this.#pieces[this.#at]; piece !== undefined; piece = this.#pieces[this.#at]) {
      if (piece.kind === 'statement' && ends.includes(piece.tokens[0]?.text ?? '')) {
        this.#depth--;
        return body;
      }
      this.#at++;
      if (piece.kind === 'text') body.push(piece);
      else if (piece.kind === 'output') {
        const parser = new ExpressionParser(piece.tokens, piece.offset);
        body.push({kind: 'output', of: parser.expression()});
        parser.end();
      } else body.push(this.#statement(piece));
    }
    if (ends.length > 0) throw new TemplateError(`${ends.at(-1)} is missing`, opened);
    return body;
  }

  #statement(piece: {tokens: readonly Token[]; offset: number}): Statement {
    const parser = new ExpressionParser(piece.tokens, piece.offset);
    const word = parser.name();
    switch (word) {
      case 'if':
        return this.#if(parser, piece.offset);
      case 'for':
        return this.#for(parser, piece.offset);
      case 'set':
      case 'set_global': {
        const name = parser.name();
        parser.expect('=');
        const of = parser.expression();
        parser.end();
        return {kind: 'set', name, of, global: word === 'set_global'};
      }
      default:
        throw new TemplateError(`{% ${word} %} is not known here`, piece.offset);
    }
  }

  /** The tag that `body` stopped at: its first word, and a parser of the rest. */
  #stop(): {word: string; parser: ExpressionParser} {
    const piece = this.#pieces[this.#at++];
    const parser = new ExpressionParser(
      piece?.kind === 'statement' ? piece.tokens : [],
      piece?.kind === 'statement' ? piece.offset : 0,
    );
    return {word: parser.name(), parser};
  }

  #if(opening: ExpressionParser, offset: number): Statement {
    const branches: {test: Expression | undefined; body: Statement[]}[] = [];
    let test: Expression | undefined = opening.expression();
    opening.end();
    for (;;) {
      const ends = test === undefined ? ['endif'] : ['elif', 'else', 'endif'];
      branches.push({test, body: this.body(ends, offset)});
      const {word, parser} = this.#stop();
      test = word === 'elif' ? parser.expression() : undefined;
      parser.end();
      if (word === 'endif') return {kind: 'if', branches};
    }
  }

  #for(opening: ExpressionParser, offset: number): Statement {
    const names = [opening.name()];
    if (opening.take(',') !== undefined) names.push(opening.name());
    opening.expect('in');
    const of = opening.expression();
    opening.end();
    const body = this.body(['else', 'endfor'], offset);
    const otherwise = this.#stop().word === 'else' ? this.body(['endfor'], offset) : undefined;
    if (otherwise !== undefined) this.#stop();
    return {kind: 'for', names, of, body, otherwise: otherwise ?? [], offset};
  }
}

/** Parses a template. Throws TemplateError. */
export function parseTemplate(source: string): Statement[] {
  return new BlockParser(splitTemplate(source)).body([], 0);
}
