/**
 * Standard output as a stream with an end: for a command that writes for as long as somebody reads.
 */

/** How long what was written last may take to be read, ms: whoever reads has perhaps stopped. */
const flushMs = 1_000;

export interface StandardOutput {
  /** Calls `done` when it is out. */
  write(text: string, done: () => void): void;
  /** Resolves when nobody reads any more (`mirrord dump | head`): which is an end in good order. */
  readonly closed: Promise<void>;
  /** Resolves when all is out, or won't be. */
  flushed(): Promise<void>;
}

export function openStandardOutput(): StandardOutput {
  const {promise: closed, resolve: close} = Promise.withResolvers<void>();
  process.stdout.on('error', () => close());
  return {
    closed,
    write: (text, done) => void process.stdout.write(text, done),
    async flushed() {
      const {promise, resolve} = Promise.withResolvers<void>();
      const timer = setTimeout(resolve, flushMs);
      process.stdout.write('', () => resolve());
      await promise;
      clearTimeout(timer);
    },
  };
}
