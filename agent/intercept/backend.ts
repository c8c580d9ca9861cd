/** What a tool that loads redirecting rules offers, and how it fails. */

import type {Redirection} from './rules.ts';

/** The rules could not be loaded. */
export class RulesError extends Error {
  readonly code: 'EPERM' | 'EADDRINUSE' | 'ENOTSUP';

  constructor(code: RulesError['code'], message: string) {
    super(message);
    this.name = 'RulesError';
    this.code = code;
  }
}

/** A process that has rules which end with it. */
export interface Keeper {
  /** Its descriptors: who has them open keeps it. The first of them takes commands. */
  readonly descriptors: readonly number[];
  /** A command that redirects nothing new any more, but goes on translating. */
  readonly withdrawal: string;
}

/** One way to have ports redirected. */
export interface Backend {
  readonly name: string;
  /**
   * Ports that other agents of the pod redirect by this tool; clears away what dead ones have left by it. Rejects with
   * RulesError. `except`: the id of one whose ports do not count.
   */
  takenByOthers(except?: string): Promise<ReadonlySet<number>>;
  /** Removes every rule of another agent, which is gone. Rejects with RulesError. */
  bury(id: string): Promise<void>;
  /** Redirects exactly these ports for another while. Rejects with RulesError. */
  redirect(redirection: Redirection): Promise<void>;
  /** What has its rules while we live, if something does. */
  readonly keeper?: Keeper | undefined;
  /** Removes every rule, before it returns. Throws RulesError. */
  remove(): void;
}
