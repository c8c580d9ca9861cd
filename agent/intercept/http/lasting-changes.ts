/** What changes in the heads of a connection's answers: the same for each, until the subscriptions are others. */

import type {RelayContext} from './context.ts';
import {type Answerer, type HeaderChange, responseChanges} from './response-head.ts';
import type {HttpSubscription} from './types.ts';

export class LastingChanges {
  readonly #context: RelayContext;
  #subscriptions: readonly HttpSubscription[] | undefined;
  #changes: Readonly<Record<Answerer, readonly HeaderChange[]>> = {application: [], program: []};

  constructor(context: RelayContext) {
    this.#context = context;
  }

  of(answerer: Answerer): readonly HeaderChange[] {
    const {connection, options} = this.#context;
    const subscriptions = connection.subscriptions();
    // Another list whenever something changes.
    if (this.#subscriptions !== subscriptions) {
      const isContested = subscriptions.some(({mode}) => mode === 'steal');
      this.#subscriptions = subscriptions;
      this.#changes = {
        application: responseChanges('application', isContested, options),
        program: responseChanges('program', isContested, options),
      };
    }
    return this.#changes[answerer];
  }
}
