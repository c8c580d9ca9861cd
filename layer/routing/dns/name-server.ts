/**
 * The name server that the program sees: the pod's, this machine's, or by name one of both; and what passes
 * by is learned (`names.ts`).
 */

import {parseUdpReport} from '../../../tunnel/messages.ts';
import type {StreamHandler} from '../../../tunnel/types.ts';
import type {OpenStream} from '../../streams.ts';
import type {Names} from '../names.ts';
import type {Side} from '../options.ts';
import {FrameReader} from './frames.ts';
import type {HostResolver, Transport} from './host-resolver.ts';
import {parseQuery, readAddresses} from './message.ts';
import type {NameDecision} from './policy.ts';
import {openDnsTcp} from './tcp-stream.ts';
import {openDnsUdp} from './udp-stream.ts';

export interface NameServer {
  /** Who answers a query. The message is a view. */
  decide(message: Uint8Array): NameDecision;
  /** Answers from this machine, asking for `name`; undefined for what is no query. */
  answer(message: Uint8Array, name: string, transport: Transport): Promise<Uint8Array | undefined>;
}

/** Makes one. `unknown`: who gets what is no query; `names` learn what this machine answers. */
export function createNameServer(
  decideName: (name: string) => NameDecision,
  resolver: HostResolver,
  {names, unknown}: {names: Names | undefined; unknown: Side},
): NameServer {
  return {
    decide(message) {
      const query = parseQuery(message);
      return query === undefined ? {side: unknown, name: ''} : decideName(query.name);
    },
    async answer(message, name, transport) {
      const answer = await resolver.answer(message, name, transport);
      if (answer !== undefined) names?.learn(readAddresses(answer), 'host');
      return answer;
    },
  };
}

/** Opens streams whose queries `server` decides about; `forward` opens those to the pod's. */
export function divideDns(server: NameServer, forward: OpenStream): OpenStream {
  return (kind, body, handler) =>
    kind === 'tcp'
      ? openDnsTcp(server, forward, body, handler)
      : openDnsUdp(server, forward, body, handler);
}

/** Learns from what a name server answers by these streams, and changes nothing. */
export function observeDns(open: OpenStream, names: Names, origin: Side): OpenStream {
  const learn = (message: Uint8Array): void => names.learn(readAddresses(message), origin);
  return (kind, body, handler) => {
    const observed: StreamHandler = {...handler};
    if (kind === 'udp') {
      observed.onDatagram = (bytes) => {
        const report = parseUdpReport(bytes);
        if (report.type === 'datagram') learn(report.payload);
        handler.onDatagram?.(bytes);
      };
    } else {
      const reader = new FrameReader();
      // What is read of keeps pieces.
      delete observed.onLentData;
      observed.onData = (chunk) => {
        for (const message of reader.push(chunk)) learn(message);
        handler.onData?.(chunk);
      };
    }
    return open(kind, body, observed);
  };
}
