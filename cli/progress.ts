/**
 * What a person sees while something takes its time: on a terminal a spinner, elsewhere a line for each
 * step that takes over half a second. All of it on stderr: stdout belongs to the program.
 */

import yoctoSpinner from 'yocto-spinner';

/** A step that is done sooner needs no words. */
const noticeableMs = 500;

export interface Progress {
  /** Runs `work` as a step with this name. */
  step<T>(name: string, work: () => T | Promise<T>): Promise<T>;
}

function plainStep(name: string): () => void {
  const timer = setTimeout(() => process.stderr.write(`mirrord: ${name} …\n`), noticeableMs);
  return () => clearTimeout(timer);
}

function spinningStep(name: string): () => void {
  const spinner = yoctoSpinner({text: `mirrord: ${name}`, stream: process.stderr});
  // Started late: a flicker for a step of some milliseconds only disturbs.
  const timer = setTimeout(() => spinner.start(), noticeableMs);
  return () => {
    clearTimeout(timer);
    if (spinner.isSpinning) spinner.stop();
  };
}

/** Makes the progress display for this process's stderr. */
export function createProgress(): Progress {
  const begin = process.stderr.isTTY ? spinningStep : plainStep;
  return {
    async step(name, work) {
      const done = begin(name);
      try {
        return await work();
      } finally {
        done();
      }
    },
  };
}
