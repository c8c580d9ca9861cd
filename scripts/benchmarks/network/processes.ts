/** The processes of a contest: started as the person, ended together. */

import {setTimeout as delay} from 'node:timers/promises';
import {BenchError} from './error.ts';
import {type LoadProcess, loadProcess} from './load.ts';
import type {Person} from './person.ts';

const pauseMs = 20;
const patienceMs = 20_000;

/** A command whose answer says that a load client runs. */
const nothing = 'idle 127.0.0.1 0 0';

/** Waits for a condition. Rejects with a BenchError when it doesn't come true. */
export async function until(what: string, condition: () => boolean): Promise<void> {
  const deadline = performance.now() + patienceMs;
  while (!condition()) {
    if (performance.now() > deadline) throw new BenchError(`in vain waited for: ${what}`);
    await delay(pauseMs);
  }
}

/** The process id of what was started. */
export function pidOf({child}: LoadProcess): number {
  if (child.pid === undefined) throw new BenchError('a program does not start');
  return child.pid;
}

export class Processes implements AsyncDisposable {
  readonly #person: Person;
  readonly #all: LoadProcess[] = [];
  readonly #clients: LoadProcess[] = [];

  constructor(person: Person) {
    this.#person = person;
  }

  /** Starts a program; what it prints, if anything, are lines of JSON. */
  start(name: string, argv: readonly string[]): LoadProcess {
    const made = loadProcess(name, this.#person.start(argv));
    this.#all.push(made);
    return made;
  }

  /** Starts a program that is, or becomes, a load client; it answers when this resolves. */
  async startClient(
    name: string,
    argv: readonly string[],
    question = nothing,
  ): Promise<LoadProcess> {
    const client = this.start(name, argv);
    this.#clients.push(client);
    await client.ask(question);
    return client;
  }

  /** Lets the clients end by themselves, as mirrord's sandbox should; then ends all. */
  async [Symbol.asyncDispose](): Promise<void> {
    for (const {child} of this.#clients) child.stdin?.end();
    const ended = until('the clients to end', () =>
      this.#clients.every(({child}) => child.exitCode !== null || child.signalCode !== null),
    );
    await ended.catch(() => undefined); // it is killed, then
    for (const {child} of this.#all) {
      child.stdin?.end();
      child.kill('SIGKILL');
    }
  }
}
