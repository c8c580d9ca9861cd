/**
 * Has what passes through this agent go on when it is killed: by a process that stands by (layer/native/standby.c), from
 * the first port that is redirected on. Where there can be none, such connections break then, and the rules go as `nft-keeper.ts` says.
 */

import {NOTHING_LEFT, renewStandby, setStandby, startStandby} from '../../sockets/standby.ts';
import type {Log} from '../log.ts';
import type {Keeper} from './backend.ts';
import {PASS_MARK} from './rules.ts';

/** Between two looks at whether it is there, ms. */
const LOOK_MS = 2_000;

export class Standby {
  readonly #listener: number;
  readonly #log: Log;
  readonly #timer: NodeJS.Timeout;
  #known = '';

  /** `listener`: the descriptor of what connections are redirected to. */
  constructor(listener: number, log: Log) {
    this.#listener = listener;
    this.#log = log;
    this.#start(startStandby);
    this.#timer = setInterval(() => this.#start(renewStandby), LOOK_MS);
    this.#timer.unref();
    this.tell(undefined);
  }

  #start(start: () => number | undefined): void {
    try {
      const pid = start();
      if (pid !== undefined) this.#log.info('standing by', {pid});
    } catch (error) {
      this.#log.warn('nobody stands by', {reason: String(error)});
    }
  }

  /** Rules were loaded, and something may keep them. */
  tell(keeper: Keeper | undefined): void {
    const {descriptors = [], withdrawal = ''} = keeper ?? {};
    const known = `${descriptors.join()} ${withdrawal}`;
    if (known === this.#known) return;
    this.#known = known;
    setStandby({
      listener: this.#listener,
      kept: descriptors,
      command: withdrawal,
      mark: PASS_MARK,
    });
  }

  /** The agent ends by itself, and leaves nothing. */
  close(): void {
    clearInterval(this.#timer);
    setStandby(NOTHING_LEFT);
  }
}
