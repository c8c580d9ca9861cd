/**
 * Connections to ports of the target that come to ports of this machine's loopback (`mirrord port-forward -R`), instead of
 * to the application or as a copy.
 *
 * Who listens there sees a client of this machine's. What nobody takes is the application's.
 */

import {connect} from 'node:net';
import {resetSocket} from '../../sockets/reset.ts';
import type {MuxStream} from '../../tunnel/types.ts';
import type {AgentLink} from '../agent-link.ts';
import {PendingStream} from '../incoming/pending-stream.ts';
import {type PortOptions, type PortSubscriptions, subscribePorts} from '../port-subscriptions.ts';

/** From a port of the target's to one of this machine's. */
export interface ReverseForward {
  readonly port: number;
  readonly localPort: number;
}

/** Connects to whoever listens here, by either family; a connection that nobody takes is refused. */
function deliverHere(
  stream: MuxStream,
  localPort: number,
  {isCopy, onClosed}: {isCopy: boolean; onClosed: () => void},
): void {
  let isOver = false;
  const pending = new PendingStream(stream, isCopy, () => {
    isOver = true;
  });
  const attempt = ([host, ...others]: readonly string[]): void => {
    if (host === undefined || isOver) {
      if (!isOver) stream.refuse('ECONNREFUSED');
      onClosed();
      return;
    }
    const socket = connect({host, port: localPort, allowHalfOpen: true});
    const next = (): void => attempt(others);
    socket.once('error', next);
    socket.once('connect', () => {
      socket.off('error', next);
      socket.once('close', onClosed);
      if (isOver) resetSocket(socket);
      else pending.relayTo(socket);
    });
  };
  attempt(['127.0.0.1', '::1']);
}

export interface ReverseOptions extends PortOptions {
  readonly forwards: readonly ReverseForward[];
  warn: (message: string) => void;
}

/** Takes the connections until it is disposed of. */
export function forwardReversely(
  link: AgentLink,
  {forwards, warn, ...options}: ReverseOptions,
): PortSubscriptions {
  const localPorts = new Map(forwards.map(({port, localPort}) => [port, localPort]));
  return subscribePorts(link, [...localPorts.keys()], options, {
    warn,
    onConnection(stream, {local}, onClosed) {
      const localPort = localPorts.get(local.port) ?? 0;
      deliverHere(stream, localPort, {isCopy: options.mode === 'mirror', onClosed});
    },
  });
}
