/**
 * Copies of the target's connections as events, for who wants to see what comes rather than to answer it.
 *
 * Bounded: the agent gets credit for what has been taken (`done`), so that a reader who stops, stops it; the agent
 * then cuts the copies off, and never the application.
 *
 * Of a filtered port each request that fits is a connection of its own: the agent gives up one that answers nothing.
 */

import type {TunnelEndpoint} from '../tunnel/messages.ts';
import type {AgentLink} from './agent-link.ts';
import {type PortOptions, type PortSubscriptions, subscribePorts} from './port-subscriptions.ts';

/** What happens to a connection; `id` counts them from 1. */
export type DumpEvent =
  | {
      readonly type: 'connection';
      readonly id: number;
      readonly peer: TunnelEndpoint;
      readonly local: TunnelEndpoint;
    }
  | {readonly type: 'data'; readonly id: number; readonly bytes: Uint8Array}
  /** How it ended: by its client, or cut off by either side or the agent. `total`: bytes. */
  | {readonly type: 'closed' | 'reset'; readonly id: number; readonly total: number};

export interface DumpOptions extends Omit<PortOptions, 'mode' | 'onConcurrentSteal'> {
  readonly ports: readonly number[];
  /** Calls `done` when it can take more. */
  onEvent: (event: DumpEvent, done: () => void) => void;
  warn: (message: string) => void;
}

const nothing = (): void => undefined;

/** Shows the requests of new connections to `ports` until it is disposed of. */
export function dumpPorts(
  link: AgentLink,
  {ports, onEvent, warn, ...options}: DumpOptions,
): PortSubscriptions {
  const {filter, filterPorts} = options;
  let nextId = 1;
  return subscribePorts(
    link,
    ports,
    {...options, mode: 'mirror', onConcurrentSteal: 'continue'},
    {
      warn,
      onConnection(stream, {peer, local}, onClosed) {
        const id = nextId++;
        const isFiltered = filter !== undefined && filterPorts?.has(local.port) !== false;
        let total = 0;
        let isOver = false;
        const end = (type: 'closed' | 'reset'): void => {
          if (isOver) return;
          isOver = true;
          onEvent({type, id, total}, nothing);
          onClosed();
        };
        onEvent({type: 'connection', id, peer, local}, nothing);
        stream.handler = {
          onData(bytes) {
            total += bytes.length;
            const offset = total;
            onEvent({type: 'data', id, bytes}, () => stream.consumed(offset));
          },
          onEnd: () => end('closed'),
          onReset: () => end(isFiltered ? 'closed' : 'reset'),
        };
        stream.accept(new Uint8Array(0));
        stream.end();
      },
    },
  );
}
