/**
 * Renders a parsed template. There is no way from a template to the code around it: values are plain, names
 * are looked up as own properties only, and steps and output are bounded.
 */

import {Args, bounded, contains, filters, show, tests, type Value} from './filters.ts';
import type {Arguments, Expression, Statement} from './parse.ts';
import {TemplateError} from './tokens.ts';

const maxSteps = 100_000;
const maxOutput = 1_000_000;

/** What a template may use. */
export interface Scope {
  variables: Readonly<Record<string, Value>>;
  /** The environment, for get_env. */
  env: Readonly<Record<string, string | undefined>>;
}

function truthy(value: Value): boolean {
  if (typeof value === 'object') return Object.keys(value).length > 0;
  return value !== undefined && value !== '' && value !== 0 && value !== false;
}

function own(value: Value, name: Value): Value {
  if (Array.isArray(value)) return value[Number(name)];
  if (typeof value !== 'object' || typeof name !== 'string') return undefined;
  return Object.hasOwn(value, name) ? value[name] : undefined;
}

function same(a: Value, b: Value): boolean {
  return typeof a === 'object' && typeof b === 'object'
    ? JSON.stringify(a) === JSON.stringify(b)
    : a === b;
}

function arithmetic(sign: string, left: number, right: number): number {
  switch (sign) {
    case '+':
      return left + right;
    case '-':
      return left - right;
    case '*':
      return left * right;
    default:
      if (right === 0) throw new Error('divides by zero');
      return sign === '/' ? left / right : left % right;
  }
}

class Renderer {
  readonly #scope: Scope;
  /** The blocks we are in, the innermost last; each has the names set in it. */
  readonly #frames: Map<string, Value>[];
  #output = '';
  #steps = 0;

  constructor(scope: Scope) {
    this.#scope = scope;
    this.#frames = [new Map(Object.entries(scope.variables))];
  }

  render(body: readonly Statement[]): string {
    this.#run(body);
    return this.#output;
  }

  #step(offset: number): void {
    if (++this.#steps > maxSteps)
      throw new TemplateError('the template does not come to an end', offset);
  }

  #write(text: string, offset: number): void {
    this.#output += text;
    if (this.#output.length > maxOutput) throw new TemplateError('the result is too long', offset);
  }

  #run(body: readonly Statement[]): void {
    for (const statement of body) {
      this.#step(0);
      switch (statement.kind) {
        case 'text':
          this.#write(statement.text, 0);
          break;
        case 'output':
          this.#write(show(this.#defined(statement.of)), statement.of.offset);
          break;
        case 'set': {
          const frame = statement.global ? this.#frames[0] : this.#frames.at(-1);
          frame?.set(statement.name, this.#defined(statement.of));
          break;
        }
        case 'if': {
          const taken = statement.branches.find(
            ({test}) => test === undefined || truthy(this.#value(test)),
          );
          this.#run(taken?.body ?? []);
          break;
        }
        case 'for':
          this.#for(statement);
      }
    }
  }

  #for(statement: Statement & {kind: 'for'}): void {
    const over = this.#defined(statement.of);
    if (typeof over !== 'object')
      throw new TemplateError('for goes over lists and maps', statement.offset);
    const entries: [Value, Value][] = Array.isArray(over)
      ? over.map((item, index) => [index, item])
      : Object.entries(over);
    if (entries.length === 0) this.#run(statement.otherwise);
    const [first = '', second] = statement.names;
    entries.forEach(([name, item], index) => {
      this.#step(statement.offset);
      const frame = new Map<string, Value>([[second ?? first, item]]);
      if (second !== undefined) frame.set(first, name);
      const last = index === entries.length - 1;
      frame.set('loop', {index: index + 1, index0: index, first: index === 0, last});
      this.#frames.push(frame);
      this.#run(statement.body);
      this.#frames.pop();
    });
  }

  /** A value that has to be there. */
  #defined(expression: Expression): Value {
    const value = this.#value(expression);
    if (value !== undefined) return value;
    const what = expression.kind === 'variable' ? `the variable ${expression.name}` : 'this';
    throw new TemplateError(`${what} is not set; use | default(value=…)`, expression.offset);
  }

  #value(expression: Expression): Value {
    this.#step(expression.offset);
    switch (expression.kind) {
      case 'literal':
        return expression.value;
      case 'array':
        return expression.items.map((item) => this.#item(item));
      case 'variable':
        return this.#frames.findLast((frame) => frame.has(expression.name))?.get(expression.name);
      case 'member':
        return own(this.#value(expression.of), this.#value(expression.name));
      case 'not':
        return !truthy(this.#value(expression.of));
      case 'call':
        return this.#named('function', expression, () =>
          this.#call(expression.name, expression.args),
        );
      case 'filter':
      case 'test':
        return this.#applied(expression);
      case 'binary':
        return this.#named('sign', {name: expression.sign, offset: expression.offset}, () =>
          this.#binary(expression.sign, expression.left, expression.right),
        );
    }
  }

  /** An item of a list. Lists in lists could double their size with every step. */
  #item(expression: Expression): Value {
    const value = this.#defined(expression);
    if (typeof value !== 'object') return value;
    throw new TemplateError('a list can hold no lists', expression.offset);
  }

  /** Runs something that throws plain errors, and says in them what it was and where. */
  #named(kind: string, {name, offset}: {name: string; offset: number}, run: () => Value): Value {
    try {
      return run();
    } catch (error) {
      if (error instanceof TemplateError || !(error instanceof Error)) throw error;
      throw new TemplateError(`the ${kind} ${name} ${error.message}`, offset);
    }
  }

  #applied(expression: Expression & {kind: 'filter' | 'test'}): Value {
    const {kind, name, offset} = expression;
    const apply = kind === 'filter' ? filters.get(name) : tests.get(name);
    if (apply === undefined) throw new TemplateError(`the ${kind} ${name} is not known`, offset);
    const optional = kind === 'test' || name === 'default';
    const value = optional ? this.#value(expression.of) : this.#defined(expression.of);
    return this.#named(kind, {name, offset}, () => apply(value, this.#args(expression.args)));
  }

  #args(args: Arguments): Args {
    return new Args(new Map([...args].map(([name, value]) => [name, this.#defined(value)])));
  }

  #call(name: string, given: Arguments): Value {
    const args = this.#args(given);
    switch (name) {
      case 'get_env': {
        const variable = args.text('name');
        const value = this.#scope.env[variable] ?? args.get('default', 1);
        if (value === undefined)
          throw new Error(`finds no variable ${variable}, and has no default`);
        return value;
      }
      case 'range': {
        const [start, end, by] = [
          args.number('start', 0),
          args.number('end'),
          args.number('step_by', 1),
        ];
        const count = Math.ceil((end - start) / by);
        if (!(by > 0) || count > maxSteps) throw new Error('is too long');
        return Array.from({length: Math.max(0, count)}, (_, index) => start + index * by);
      }
      case 'throw':
        throw new Error(`says: ${args.text('message')}`);
      default:
        throw new Error('is not known');
    }
  }

  #binary(sign: string, left: Expression, right: Expression): Value {
    if (sign === 'and') return truthy(this.#value(left)) && truthy(this.#value(right));
    if (sign === 'or') return truthy(this.#value(left)) || truthy(this.#value(right));
    if (sign === '==') return same(this.#value(left), this.#value(right));
    if (sign === '!=') return !same(this.#value(left), this.#value(right));
    const [a, b] = [this.#defined(left), this.#defined(right)];
    if (sign === '~') return bounded(show(a) + show(b));
    if (sign === 'in') return contains(b, a);
    if (typeof a !== 'number' || typeof b !== 'number') throw new Error('is for numbers only');
    if (sign === '<') return a < b;
    if (sign === '>') return a > b;
    if (sign === '<=') return a <= b;
    return sign === '>=' ? a >= b : arithmetic(sign, a, b);
  }
}

/** Renders a parsed template. Throws TemplateError. */
export function renderStatements(body: readonly Statement[], scope: Scope): string {
  return new Renderer(scope).render(body);
}
