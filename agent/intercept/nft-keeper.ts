/**
 * An nft(8) that stays, and to which its table belongs.
 *
 * Theory of operation. A table with the flag `owner` (Linux 5.12: NFT_TABLE_F_OWNER) can be changed by nobody but the netlink
 * socket that has made it, and the kernel destroys it with that socket. nft has the socket for as long as it reads commands
 * (`-i`), and reads them for as long as we have the other end of its input: whatever kills us (SIGKILL, the OOM killer, a whole
 * cgroup at once), the kernel closes that, nft ends, and within some hundredths of a second none of our rules is there.
 *
 * A command is a line, and one transaction. Of one that has worked, nft says what it has made (`-e`): the element that every command
 * of ours adds is the receipt, by its `expires`, which what we have written does not have (nft may repeat that). Whatever it
 * complains of is a failure, of all that waits. A command that is the same as the last one costs no memory: nft keeps a history,
 * without such; and no file, for which there is no home.
 */

import {type ChildProcessWithoutNullStreams, spawn} from 'node:child_process';
import {readFileSync} from 'node:fs';
import type {Socket} from 'node:net';
import type {Readable, Writable} from 'node:stream';
import type {RulesError} from './backend.ts';
import {TOOL_TIMEOUT_MS, toolEnvironment, toolFailure} from './tools.ts';

/** Port 0 (`rules.ts`), as nft says that it was added. */
const RECEIPT = /\{ 0 timeout \S+ expires /;
/** What is kept of its output to find that, characters; more than the longest line before it. */
const OUTPUT_LIMIT = 65_536;
/** How long the kernel may take to destroy the table, ms: it waits for whoever is in it. */
const END_MS = 2_000;
const END_LOOK_MS = 1;

interface Waiting {
  readonly resolve: () => void;
  readonly reject: (error: RulesError) => void;
  readonly timer: NodeJS.Timeout;
}

export class NftKeeper {
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #path: string;
  readonly #waiting: Waiting[] = [];
  #output = '';
  #isOver = false;

  /** `onLost`: it has ended without our doing, and the table with it, while nobody waited for it. */
  constructor(path: string, onLost: () => void) {
    this.#path = path;
    const child = spawn(path, ['-e', '-i'], {env: {...toolEnvironment, HOME: '/dev/null'}});
    this.#child = child;
    const onEnd = (why: string): void => {
      if (this.#isOver) return;
      this.#isOver = true;
      const isAwaited = this.#waiting.length > 0;
      this.#rejectAll(why);
      if (!isAwaited) onLost();
    };
    child.once('error', (error) => onEnd(error.message));
    child.once('exit', () => onEnd('it has ended'));
    child.stdin.on('error', () => undefined); // it ends, which we hear
    child.stdout.setEncoding('utf8').on('data', (text: string) => this.#onOutput(text));
    child.stderr.setEncoding('utf8').on('data', (text: string) => this.#rejectAll(text));
    // It is not what keeps us.
    child.unref();
    for (const stream of [child.stdin, child.stdout, child.stderr]) {
      (stream as Writable | Readable as Socket).unref();
    }
  }

  /** Our ends of its input and output. */
  get descriptors(): readonly number[] {
    return [this.#child.stdin, this.#child.stdout, this.#child.stderr].map(descriptorOf);
  }

  /** Runs a command of one line. Rejects with RulesError. */
  run(command: string): Promise<void> {
    const {promise, resolve, reject} = Promise.withResolvers<void>();
    if (this.#isOver) {
      reject(toolFailure(this.#path, 'it has ended'));
      return promise;
    }
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), TOOL_TIMEOUT_MS);
    this.#waiting.push({resolve, reject, timer});
    this.#child.stdin.write(`${command}\n`);
    return promise;
  }

  /** Ends it, and the table, before it returns. */
  end(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#rejectAll('it is ended');
    this.#child.kill('SIGKILL');
    const endsAt = performance.now() + END_MS;
    const sleeper = new Int32Array(new SharedArrayBuffer(4));
    while (isAlive(this.#child.pid) && performance.now() < endsAt) {
      Atomics.wait(sleeper, 0, 0, END_LOOK_MS);
    }
  }

  #onOutput(text: string): void {
    this.#output = (this.#output + text).slice(-OUTPUT_LIMIT);
    for (let at = this.#output.search(RECEIPT); at >= 0; at = this.#output.search(RECEIPT)) {
      this.#output = this.#output.slice(at + 1);
      const first = this.#waiting.shift();
      clearTimeout(first?.timer);
      first?.resolve();
    }
  }

  #rejectAll(why: string): void {
    for (const {reject, timer} of this.#waiting.splice(0)) {
      clearTimeout(timer);
      reject(toolFailure(this.#path, why));
    }
  }
}

/** Node has no public name for it. */
function descriptorOf(stream: Writable | Readable): number {
  const {_handle: handle} = stream as unknown as {_handle: {fd?: number} | null};
  return handle?.fd ?? -1;
}

/** Whether a child of ours has still its descriptors: a zombie has not. */
function isAlive(pid: number | undefined): boolean {
  try {
    return !/^\d+ \(nft\) [ZX]/.test(readFileSync(`/proc/${pid}/stat`, 'latin1'));
  } catch {
    return false;
  }
}
