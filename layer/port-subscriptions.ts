/**
 * Connections to ports of the target that are known from the start: of who has no program whose listeners would tell
 * (`incoming.ts`).
 */

import {type InterceptEvent, subscribeIncoming} from '../tunnel/intercept.ts';
import {type IncomingConnection, parseIncoming} from '../tunnel/messages.ts';
import type {MuxStream} from '../tunnel/types.ts';
import type {AgentLink} from './agent-link.ts';
import {MirrordError} from './errors.ts';
import type {IncomingOptions} from './incoming.ts';

/** Connections at a time; more are the application's alone. */
const connectionLimit = 1_024;

/** How the ports are wanted. */
export type PortOptions = Pick<
  IncomingOptions,
  | 'mode'
  | 'onConcurrentSteal'
  | 'flushConnections'
  | 'filter'
  | 'filterPorts'
  | 'http'
  | 'stealWarnings'
>;

export interface PortHandler {
  /** Takes or refuses the stream; calls `onClosed` once, when nothing is left of it. */
  onConnection(stream: MuxStream, connection: IncomingConnection, onClosed: () => void): void;
  warn: (message: string) => void;
}

export interface PortSubscriptions extends Disposable {
  /** Resolves when connections come, of all ports. */
  readonly ready: Promise<void>;
  /** Resolves when of one port none come, or no more; else never. */
  readonly failed: Promise<MirrordError>;
}

function failure(port: number, errno: string, message: string): MirrordError {
  const isTaken = errno === 'EADDRINUSE' || errno === 'EBUSY';
  if (isTaken) {
    return new MirrordError('MIRRORD_PORT_TAKEN', `no traffic of port ${port} comes: ${message}`, {
      hint: 'wait for the other session to end, or say what to do (feature.network.incoming.on_concurrent_steal)',
    });
  }
  return new MirrordError('MIRRORD_NO_TRAFFIC', `no traffic of port ${port} comes: ${message}`, {
    hint:
      errno === 'EPERM'
        ? "the agent may not change its network's rules: it lacks NET_ADMIN there (docs/agent.md)"
        : 'what an agent needs to take traffic: docs/incoming.md',
  });
}

/** Asks for the connections to `ports` until it is disposed of. */
export function subscribePorts(
  link: AgentLink,
  ports: readonly number[],
  options: PortOptions,
  {onConnection, warn}: PortHandler,
): PortSubscriptions {
  const {mode, onConcurrentSteal, flushConnections = false, filter, filterPorts, http} = options;
  const {promise: failed, resolve: fail} = Promise.withResolvers<MirrordError>();
  const said = new Set<string>();
  const warnOnce = (message: string): void => {
    if (!said.has(message)) warn(message);
    said.add(message);
  };
  let open = 0;
  link.onStream = (stream, body) => {
    if (open >= connectionLimit) {
      warnOnce(`more than ${connectionLimit} connections at a time: others don't come here`);
      stream.refuse('EMFILE');
      return;
    }
    open++;
    onConnection(stream, parseIncoming(body), () => {
      open--;
    });
  };

  const subscribe = (port: number): {call: MuxStream; active: Promise<void>} => {
    const {promise: active, resolve} = Promise.withResolvers<void>();
    const isFiltered = filter !== undefined && filterPorts?.has(port) !== false;
    const warning = options.stealWarnings?.get(port);
    if (warning !== undefined && mode === 'steal' && !isFiltered) warnOnce(warning);
    const params = {
      id: port, // unique among ours
      port,
      mode,
      onConcurrentSteal,
      flushConnections,
      ...(isFiltered && {filter}),
      ...(http !== undefined && {http}),
    };
    const onEvent = (event: InterceptEvent): void => {
      if (event.event === 'active') resolve();
      else if (event.event === 'warning') warnOnce(event.message);
      else fail(failure(port, event.errno, event.message));
    };
    const onEnd = (errno: string | undefined): void => {
      // The end of the whole tunnel is told elsewhere.
      if (errno === 'ENOSYS') fail(failure(port, errno, 'the agent is too old'));
    };
    return {call: subscribeIncoming(link.mux, params, {onEvent, onEnd}), active};
  };

  const subscriptions = ports.map(subscribe);
  return {
    ready: Promise.all(subscriptions.map(({active}) => active)).then(() => undefined),
    failed,
    [Symbol.dispose]() {
      link.onStream = undefined;
      for (const {call} of subscriptions) call.reset('ECANCELED');
    },
  };
}
