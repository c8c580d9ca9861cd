/**
 * Has what passes through this agent go on when it is killed: by a process that stands by (layer/native/standby.c), from
 * the first port that is redirected on. Where there can be none, such connections break then, and the rules go as `nft-keeper.ts` says.
 */

import {NOTHING_LEFT, setStandby, startStandby} from '../../sockets/standby.ts';
import type {Log} from '../log.ts';
import type {Keeper} from './backend.ts';
import {PASS_MARK} from './rules.ts';

export class Standby {
  readonly #listener: number;
  #known = '';

  /** `listener`: the descriptor of what connections are redirected to. */
  constructor(listener: number, log: Log) {
    this.#listener = listener;
    try {
      const pid = startStandby();
      log.info('standing by', {pid});
    } catch (error) {
      log.warn('nobody stands by', {reason: String(error)});
    }
    this.tell(undefined);
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
    setStandby(NOTHING_LEFT);
  }
}
