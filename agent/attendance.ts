/**
 * Decides when an agent that listens has no more reason to be there.
 *
 * It leaves when no client has come within the communication timeout; when the last client said goodbye;
 * and when the last one was cut off and has not come back, nor another one come, within the idle time.
 * A client that may resume its session only counts as cut off when it has not come back in time.
 * So whatever ends mirrord, SIGKILL and a lost network included, ends the agent soon after.
 */

/** How long an agent waits, in ms, and what it does then. */
export interface AttendanceOptions {
  readonly communicationTimeoutMs: number;
  readonly idleTtlMs: number;
  /** Called once, with the reason in words. */
  leave(reason: string): void;
}

/** Counts the clients of an agent. */
export class Attendance {
  readonly #options: AttendanceOptions;
  #clients = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: AttendanceOptions) {
    this.#options = options;
    this.#leaveAfter(options.communicationTimeoutMs, 'no client came');
  }

  /** A client has shown its token. */
  joined(): void {
    this.#clients++;
    clearTimeout(this.#timer);
  }

  /** A client that had joined is gone; if it was cut off, it has been waited for so long already, ms. */
  left(saidGoodbye: boolean, waitedMs: number): void {
    this.#clients--;
    if (this.#clients > 0) return;
    if (saidGoodbye) this.#leaveAfter(0, 'the last client left');
    else this.#leaveAfter(this.#options.idleTtlMs - waitedMs, 'the last client was lost');
  }

  #leaveAfter(timeoutMs: number, reason: string): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#options.leave(reason), timeoutMs);
  }
}
