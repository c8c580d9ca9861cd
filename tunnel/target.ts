/**
 * The methods of the agent that tell about the target, and what they answer.
 *
 *     ping       unary         'pong'
 *     target     unary         TargetInfo
 *     listening  subscription  ListeningPorts: the full sets first, then after each change
 *     lifecycle  subscription  LifecycleEvent
 *     intercept  subscription  InterceptEvent; its parameters are InterceptParams (intercept.ts)
 *     unix       subscription  UnixSockets, likewise; its parameters are UnixParams
 */

import {type CallHandler, callOnce, startCall} from './calls.ts';
import {ProtocolError} from './errors.ts';
import type {UnixSocket} from './messages.ts';
import type {Mux} from './mux.ts';
import type {ErrnoName, MuxStream} from './types.ts';

/** The methods that an agent knows. */
export const METHOD = {
  ping: 'ping',
  target: 'target',
  listening: 'listening',
  lifecycle: 'lifecycle',
  intercept: 'intercept',
  unix: 'unix',
} as const;

/** One address of an interface of the pod. */
export interface InterfaceAddress {
  readonly family: 4 | 6;
  /** In text form, without a scope. */
  readonly address: string;
  readonly prefixLength: number;
}

/** One interface of the pod. */
export interface TargetInterface {
  readonly name: string;
  readonly mtu: number;
  readonly isLoopback: boolean;
  readonly addresses: readonly InterfaceAddress[];
}

/** A file of the target: its bytes, at most 1 MiB. Absent when it cannot be read. */
export type TargetFiles = Readonly<Record<string, Uint8Array>>;

/** The target, as the agent finds it. */
export interface TargetInfo {
  readonly pid: number;
  readonly hostName: string;
  /** The environment at the start of the process, in its order; bytes that are no UTF-8 are lost. */
  readonly environment: Readonly<Record<string, string>>;
  readonly interfaces: readonly TargetInterface[];
  /** The names of the interfaces with the default routes; null without one. */
  readonly defaultRoute4: string | null;
  readonly defaultRoute6: string | null;
  /** By path: /etc/resolv.conf, /etc/hosts, /etc/hostname. */
  readonly files: TargetFiles;
  /** First and last port for outgoing connections ("Linux net.ipv4.ip_local_port_range"). */
  readonly localPortRange: readonly [number, number];
}

/**
 * Ports that something in the pod listens at, ascending: reachable by the pod's loopback, and by an
 * address of the pod's own.
 */
export interface ListeningPorts {
  readonly tcp4: readonly number[];
  readonly tcp6: readonly number[];
  readonly udp4: readonly number[];
  readonly udp6: readonly number[];
  readonly ownTcp4: readonly number[];
  readonly ownTcp6: readonly number[];
  readonly ownUdp4: readonly number[];
  readonly ownUdp6: readonly number[];
}

/** What the agent is to look for besides the sockets that listen in the pod's network namespace. */
export interface UnixParams {
  /** Sockets of the target's file system whose server may be elsewhere: the node's, by a host path. */
  readonly paths: readonly string[];
}

/** Unix sockets that the target can connect to. */
export interface UnixSockets {
  /** In the order of their names. */
  readonly sockets: readonly UnixSocket[];
  /** How many more there are, over the agent's limit. */
  readonly omitted: number;
}

/** What happens to the target. */
export interface LifecycleEvent {
  readonly event: 'target-gone';
}

/** Asks for the target. Rejects with CallError. */
export async function callTarget(mux: Mux, signal?: AbortSignal): Promise<TargetInfo> {
  const answer = await callOnce(mux, {method: METHOD.target, params: {}}, signal);
  if (!hasShape(answer, ['environment', 'interfaces', 'files', 'localPortRange'])) {
    throw new ProtocolError('CALL_MALFORMED');
  }
  return answer as unknown as TargetInfo;
}

/** Asks for a sign of life through the whole agent. Rejects with CallError. */
export async function callPing(mux: Mux, signal?: AbortSignal): Promise<void> {
  await callOnce(mux, {method: METHOD.ping, params: {}}, signal);
}

/** Subscribes to the listening ports; the returned stream's `reset('ECANCELED')` ends it. */
export function subscribeListening(
  mux: Mux,
  onPorts: (ports: ListeningPorts) => void,
  onEnd: (errno: ErrnoName | undefined) => void,
): MuxStream {
  return subscribe(mux, METHOD.listening, {
    onItem(item) {
      if (!hasShape(item, ['tcp4', 'tcp6', 'udp4', 'udp6', 'ownTcp4', 'ownTcp6'])) {
        throw new ProtocolError('CALL_MALFORMED');
      }
      onPorts(item as unknown as ListeningPorts);
    },
    onEnd,
  });
}

/** Subscribes to what happens to the target; the returned stream's `reset('ECANCELED')` ends it. */
export function subscribeLifecycle(
  mux: Mux,
  onEvent: (event: LifecycleEvent) => void,
  onEnd: (errno: ErrnoName | undefined) => void,
): MuxStream {
  return subscribe(mux, METHOD.lifecycle, {
    onItem(item) {
      if (!hasShape(item, ['event'])) throw new ProtocolError('CALL_MALFORMED');
      onEvent(item as unknown as LifecycleEvent);
    },
    onEnd,
  });
}

/** Subscribes to the unix sockets; the returned stream's `reset('ECANCELED')` ends it. */
export function subscribeUnix(
  mux: Mux,
  params: UnixParams,
  handler: {
    onSockets(sockets: UnixSockets): void;
    onEnd(errno: ErrnoName | undefined): void;
  },
): MuxStream {
  return startCall(
    mux,
    {method: METHOD.unix, params},
    {
      onItem(item) {
        if (!hasShape(item, ['sockets', 'omitted'])) throw new ProtocolError('CALL_MALFORMED');
        handler.onSockets(item as unknown as UnixSockets);
      },
      onEnd: (errno) => handler.onEnd(errno),
    },
  );
}

function subscribe(mux: Mux, method: string, handler: CallHandler): MuxStream {
  return startCall(mux, {method, params: {}}, handler);
}

/** The agent is ours and its version agreed: only gross nonsense is looked for. */
function hasShape(value: unknown, keys: readonly string[]): value is Record<string, unknown> {
  if (typeof value !== 'object' || value === null) return false;
  return keys.every((key) => key in value);
}
