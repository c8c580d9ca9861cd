/**
 * Errors a person may meet: what failed, on what, why, what to do. The table of codes is in README.
 */

export interface ErrorDetails {
  /** What the person can do about it, as a sentence or a command. */
  hint?: string;
  cause?: unknown;
  /** The exit status of the command line; 1 unless a shell convention says otherwise. */
  exitCode?: number;
}

/** A failure with a stable code (`MIRRORD_…`). One with a hint is the user's to mend. */
export class MirrordError extends Error {
  readonly code: string;
  readonly hint: string | undefined;
  readonly exitCode: number;

  constructor(code: string, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : {cause: details.cause});
    this.name = 'MirrordError';
    this.code = code;
    this.hint = details.hint;
    this.exitCode = details.exitCode ?? 1;
  }
}
