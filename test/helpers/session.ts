/**
 * A session that stays for the tests of a file, and runs one program after the other: a start of mirrord takes a second of a
 * processor, a program in its session some milliseconds. For tests that are about what a program sees and does, and not about its start or
 * its end.
 */

import {createInterface} from 'node:readline';
import type {TestFn} from 'ava';
import type {ExecOptions, Result, Running, World} from './e2e.ts';

export class Session implements AsyncDisposable {
  readonly #world: World;
  readonly #options: ExecOptions;
  #running: Running | undefined;
  #answers: AsyncIterator<string> | undefined;
  /** Settles with what runs last. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(world: World, options: ExecOptions = {}) {
    this.#world = world;
    this.#options = options;
  }

  /** Runs a program to its end. The first one starts the session. */
  async run(argv: readonly string[], input = ''): Promise<Result> {
    const result = this.#last.then(() => this.#ask(argv, input));
    this.#last = result.catch(() => undefined);
    return await result;
  }

  /** The same; fails unless its status is 0. Returns what it wrote. */
  async exec(argv: readonly string[], input?: string): Promise<string> {
    const {status, stdout, stderr} = await this.run(argv, input);
    if (status === 0) return stdout;
    throw new Error(`${argv.join(' ')}: status ${status}\n${stdout}${stderr}`);
  }

  /** Ends it, if it was started. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#running?.child.stdin?.end();
    await this.#running?.ended;
  }

  async #ask(argv: readonly string[], input: string): Promise<Result> {
    this.#running ??= this.#start();
    const {child, ended} = this.#running;
    child.stdin?.write(`${JSON.stringify({argv, input})}\n`);
    const answer = await this.#answers?.next();
    if (answer?.done === false) return JSON.parse(answer.value) as Result;
    const {status, stderr} = await ended;
    throw new Error(`the session has ended: status ${status}\n${stderr}`);
  }

  #start(): Running {
    const argv = ['python3', this.#world.program('commands.py')];
    const running = this.#world.startExec(argv, {...this.#options, hasDeadline: false});
    const {stdout} = running.child;
    if (stdout === null) throw new Error('no pipe');
    this.#answers = createInterface({input: stdout})[Symbol.asyncIterator]();
    return running;
  }
}

/** Has one for the tests of a file; `useDemo` comes before. */
export function useSession(test: TestFn, world: World, options: ExecOptions = {}): Session {
  const session = new Session(world, options);
  test.serial.after.always('the session is over', async () => {
    await session[Symbol.asyncDispose]();
  });
  return session;
}
