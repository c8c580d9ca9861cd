/** The methods that the layer can call, and what answers them. */

import {parseCall} from '../tunnel/calls.ts';
import {FILES_METHOD} from '../tunnel/files.ts';
import {type InterceptEvent, parseInterceptParams} from '../tunnel/intercept.ts';
import {type ListeningPorts, METHOD} from '../tunnel/target.ts';
import type {MuxStream} from '../tunnel/types.ts';
import {answerItems, answerOnce} from './answer.ts';
import type {OwnPorts} from './dial/udp.ts';
import {serveFiles} from './files/serve-files.ts';
import type {SharedInterceptor} from './intercept/peers/shared-interceptor.ts';
import type {InterceptClient} from './intercept/subscriptions.ts';
import {readTargetInfo} from './target/info.ts';
import {watchProcess} from './target/lifecycle.ts';
import {watchListening} from './target/listening.ts';
import {parseUnixParams, watchUnixSockets} from './target/unix-sockets.ts';

/** What the methods need to know. */
export interface CallContext {
  readonly targetPid: number;
  readonly isHome: boolean;
  readonly isInCluster?: boolean;
  readonly listenPorts?: readonly number[];
  readonly ownPorts: OwnPorts;
  /** Takes connections to the target. */
  readonly interceptor?: SharedInterceptor;
  /** Whose call it is, for connections that are its own. */
  readonly client?: InterceptClient;
}

/** A unary method: one value, or an errno by rejecting. */
type Method = (context: CallContext) => Promise<unknown>;
/** A subscription: calls `onItem` until what it returned is called. */
type Subscription = (
  context: CallContext,
  onItem: (item: unknown) => void,
  params: unknown,
) => () => void;

const METHODS = new Map<string, Method>([
  [METHOD.ping, async () => 'pong'],
  [
    METHOD.target,
    ({targetPid, isHome, isInCluster = false}) => readTargetInfo(targetPid, {isHome, isInCluster}),
  ],
]);

const SUBSCRIPTIONS = new Map<string, Subscription>([
  [
    METHOD.listening,
    ({ownPorts, listenPorts = [], interceptor}, onItem) =>
      watchListening(ownPorts, (ports) => {
        onItem(withoutPorts(ports, [...listenPorts, ...(interceptor?.ports ?? [])]));
      }),
  ],
  [
    METHOD.lifecycle,
    ({targetPid}, onItem) => watchProcess(targetPid, () => onItem({event: 'target-gone'})),
  ],
  [
    METHOD.intercept,
    ({interceptor, client}, onItem, given) => {
      const params = parseInterceptParams(given);
      if (params !== undefined && interceptor !== undefined && client !== undefined) {
        return interceptor.subscribe(params, client, onItem);
      }
      const event: InterceptEvent =
        params === undefined
          ? {event: 'failed', errno: 'EINVAL', message: 'the subscription makes no sense'}
          : {event: 'failed', errno: 'ENOTSUP', message: 'this agent takes no traffic'};
      onItem(event);
      return () => undefined;
    },
  ],
  [
    METHOD.unix,
    ({targetPid}, onItem, params) =>
      watchUnixSockets(`/proc/${targetPid}/root`, parseUnixParams(params), onItem),
  ],
]);

/**
 * Answers the call in `body` and calls `onClosed` once, when the stream is gone. Throws
 * ProtocolError CALL_MALFORMED or CALL_TOO_DEEP.
 */
export function answerCall(
  stream: MuxStream,
  body: Uint8Array,
  {context, onClosed}: {readonly context: CallContext; readonly onClosed: () => void},
): void {
  const {method: name, params} = parseCall(body);
  const method = METHODS.get(name);
  const subscription = SUBSCRIPTIONS.get(name);
  if (method !== undefined) void answerOnce(stream, method(context), onClosed);
  else if (subscription !== undefined) {
    answerItems(stream, ({item}) => subscription(context, item, params), onClosed);
  } else if (name === FILES_METHOD) {
    serveFiles(stream, {targetPid: context.targetPid, onClosed});
  } else {
    stream.refuse('ENOSYS');
    onClosed();
  }
}

/** The agent's own ports are no services of the pod. */
function withoutPorts(ports: ListeningPorts, own: readonly number[]): ListeningPorts {
  const isOther = (port: number): boolean => !own.includes(port);
  const {tcp4, tcp6, ownTcp4, ownTcp6} = ports;
  return {
    ...ports,
    tcp4: tcp4.filter(isOther),
    tcp6: tcp6.filter(isOther),
    ownTcp4: ownTcp4.filter(isOther),
    ownTcp6: ownTcp6.filter(isOther),
  };
}
