/**
 * Which ports of the pod are redirected to the agent, kept true for as long as the agent lives and no longer.
 *
 * Theory of operation. What is wanted is a set of ports; what is loaded follows it, one load at a time. The
 * kernel forgets what is not refreshed within 8 s (`rules.ts`), so everything is loaded again every 3 s:
 * **the switch that a dead agent cannot hold**. One that hangs cannot either, and the application is its own again. When it
 * goes on after that, another agent may have the ports, which is asked first (`mayGoOn`).
 *
 * What was redirected needs our rules until it is over: without them the kernel translates nothing any more, and both
 * ends would wait for ever. So they stay, with no port in them, while there are connections, or may be such
 * as the kernel has accepted for us and we have not seen, or such as it still sends the last bytes of; after that nothing of
 * ours is there.
 *
 * The first backend that works is kept. When none does, the reason is told to who asked for the port, and the pod
 * is as it was.
 */

import type {Log} from '../log.ts';
import {type Backend, RulesError} from './backend.ts';
import {LIFETIME_SECONDS} from './rules.ts';

/** How long an accepted connection may wait for us to see it, ms. */
const QUEUE_MS = 100;
/** Two loads may fail before the kernel forgets. */
const REFRESH_MS = 3_000;
/** The same while no port is redirected. */
const IDLE_REFRESH_MS = 60_000;
/** How often it is looked whether the kernel has sent what it had of connections that are closed, ms. */
const SENDING_MS = 1_000;

export interface RedirectOptions {
  /** Where connections go: the port of our listener. */
  readonly to: number;
  /** Best first. */
  readonly backends: readonly Backend[];
  /** Whether there are connections that were redirected. */
  readonly isInUse: () => boolean;
  /** Whether the kernel still sends what was written to connections that were redirected, and are closed. */
  readonly isSending: () => boolean;
  /** Hears of what loads the rules, whenever it has. */
  readonly onLoaded?: (backend: Backend) => void;
  /** The id of the agent whose ports are taken over. */
  readonly predecessor?: string | undefined;
  /** Asked when what was loaded has expired meanwhile; false: nothing is redirected any more, for good. */
  readonly mayGoOn?: (() => Promise<boolean>) | undefined;
  readonly log: Log;
}

export class Redirect {
  readonly counters = {loads: 0, failures: 0};
  readonly #options: RedirectOptions;
  readonly #wanted = new Set<number>();
  #backend: Backend | undefined;
  /** The load that is under way, and whoever waits for it. */
  #loading: Promise<void> = Promise.resolve();
  #timer: NodeJS.Timeout | undefined;
  #isLoaded = false;
  #loadedAt = 0;
  /** What is loaded redirects nothing. */
  #isEmpty = false;
  #isPaused = false;
  #isWithdrawn = false;
  #isClosed = false;

  constructor(options: RedirectOptions) {
    this.#options = options;
  }

  /** What loads the rules, once something did. */
  get backendName(): string | undefined {
    return this.#backend?.name;
  }

  /** Redirects one port more. Rejects with RulesError, and then does not. */
  async add(port: number): Promise<void> {
    if ((await this.#takenByOthers()).has(port)) {
      throw new RulesError('EADDRINUSE', `another agent has port ${port} of the pod`);
    }
    this.#wanted.add(port);
    try {
      await this.#load();
    } catch (error) {
      this.#wanted.delete(port);
      throw error;
    }
  }

  /** Removes every rule of an agent that is gone, by whatever tool. */
  async bury(id: string): Promise<void> {
    await Promise.allSettled(this.#options.backends.map((backend) => backend.bury(id)));
  }

  /** Lets a port go; resolves when it has. */
  async delete(port: number): Promise<void> {
    if (this.#wanted.delete(port)) await this.#load().catch(() => undefined); // told by the refresh
  }

  /** Redirects nothing for a while: new connections are the application's at once. */
  async pause(): Promise<void> {
    this.#isPaused = true;
    await this.#load().catch(() => undefined);
  }

  /** Ends the pause. */
  resume(): void {
    this.#isPaused = false;
    void this.#load().catch(() => undefined);
  }

  /** Redirects nothing new, for good; resolves when that is so. What was redirected goes on. */
  async withdraw(): Promise<void> {
    this.#isWithdrawn = true;
    await this.#load().catch(() => undefined);
  }

  /** The last connection that was redirected is over. */
  settle(): void {
    if (this.#ports.length === 0) void this.#load().catch(() => undefined);
  }

  /** Removes every rule, before it returns. What was redirected must be over. */
  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    this.#unload();
  }

  get #ports(): number[] {
    return this.#isPaused || this.#isWithdrawn ? [] : [...this.#wanted];
  }

  /** By whatever tool: other agents may have others. */
  async #takenByOthers(): Promise<Set<number>> {
    const {backends, predecessor} = this.#options;
    // Where one can't be asked, it can't redirect either, and loading tells why.
    const asked = await Promise.allSettled(
      backends.map((backend) => backend.takenByOthers(predecessor)),
    );
    return new Set(asked.flatMap((one) => (one.status === 'fulfilled' ? [...one.value] : [])));
  }

  #load(): Promise<void> {
    const next = this.#loading.catch(() => undefined).then(() => this.#loadNow());
    this.#loading = next;
    return next;
  }

  async #loadNow(): Promise<void> {
    clearTimeout(this.#timer);
    if (this.#hasExpired && (await this.#options.mayGoOn?.()) === false) this.#isWithdrawn = true;
    if (this.#isClosed) return;
    const ports = this.#ports;
    if (ports.length === 0 && !this.#isLoaded) return;
    if (ports.length === 0 && this.#isEmpty && !this.#options.isInUse()) {
      if (!this.#options.isSending()) this.#unload();
      else this.#timer = setTimeout(() => void this.#refresh(), SENDING_MS);
      return;
    }
    const wasEmpty = this.#isEmpty;
    this.#isEmpty = ports.length === 0;
    const isNewlyEmpty = this.#isEmpty && !wasEmpty;
    const refreshMs = this.#isEmpty ? IDLE_REFRESH_MS : REFRESH_MS;
    this.#timer = setTimeout(() => void this.#refresh(), isNewlyEmpty ? QUEUE_MS : refreshMs);
    this.counters.loads++;
    // Even of a load that fails something may be there.
    this.#isLoaded = true;
    try {
      await this.#loadByAny({ports, to: this.#options.to});
      if (this.#backend !== undefined) this.#options.onLoaded?.(this.#backend);
    } catch (error) {
      this.counters.failures++;
      throw error;
    }
    this.#loadedAt = performance.now();
    if (this.#isClosed) this.#unload();
  }

  /** Whether ports were redirected, and are not any more, since we were stopped. */
  get #hasExpired(): boolean {
    if (!this.#isLoaded || this.#isEmpty) return false;
    return performance.now() - this.#loadedAt > 1_000 * LIFETIME_SECONDS;
  }

  async #loadByAny(redirection: {ports: number[]; to: number}): Promise<void> {
    if (this.#backend !== undefined) return await this.#backend.redirect(redirection);
    let reason = new RulesError('ENOTSUP', 'neither nft nor iptables is here');
    for (const backend of this.#options.backends) {
      try {
        await backend.redirect(redirection);
        this.#backend = backend;
        this.#options.log.info('redirecting', {by: backend.name});
        return;
      } catch (error) {
        if (!(error instanceof RulesError)) throw error;
        this.#options.log.debug('not redirecting', {by: backend.name, reason: error.message});
        // The first is the best, and its reason says the most.
        if (backend === this.#options.backends[0]) reason = error;
      }
    }
    throw reason;
  }

  async #refresh(): Promise<void> {
    try {
      await this.#load();
    } catch (error) {
      this.#options.log.warn('redirect not refreshed', {reason: String(error)});
    }
  }

  #unload(): void {
    if (!this.#isLoaded) return;
    this.#isLoaded = false;
    this.#isEmpty = false;
    try {
      this.#backend?.remove();
    } catch (error) {
      // It expires.
      this.#options.log.warn('redirect not removed', {reason: String(error)});
    }
  }
}
