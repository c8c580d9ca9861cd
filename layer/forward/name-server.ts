/**
 * Asks a name server of the pod's, through the agent: over UDP, and again over TCP when the answer says that it is cut off (RFC 7766,
 * section 5): many servers leave everything out of one that doesn't fit.
 */

import {randomInt} from 'node:crypto';
import {encode, RECURSION_DESIRED} from 'dns-packet';
import {
  emitEndpoint,
  emitFamily,
  parseUdpReport,
  type TunnelEndpoint,
} from '../../tunnel/messages.ts';
import type {Mux} from '../../tunnel/mux.ts';
import type {MuxStream} from '../../tunnel/types.ts';
import {emitFrame, FrameReader} from '../routing/dns/frames.ts';

/** How long it may take, by each way, ms. */
const timeoutMs = 3_000;
/** What fits into a packet everywhere (the DNS flag day of 2020), bytes. */
const payloadBytes = 1_232;
/** TC, in the third byte (RFC 1035, section 4.1.1). */
const truncated = 0x02;

export interface Question {
  readonly name: string;
  readonly type: 'A' | 'AAAA';
}

/** What asks, by either way; `finish` is called with an answer, or without one. */
type Send = (finish: (answer?: Uint8Array) => void) => MuxStream;

async function ask(send: Send): Promise<Uint8Array | undefined> {
  const {promise, resolve} = Promise.withResolvers<Uint8Array | undefined>();
  const stream = send(resolve);
  const timer = setTimeout(resolve, timeoutMs, undefined);
  try {
    return await promise;
  } finally {
    clearTimeout(timer);
    stream.reset('ECANCELED');
  }
}

function hasId(answer: Uint8Array, id: number): boolean {
  return answer.length > 2 && ((answer[0] ?? 0) << 8) + (answer[1] ?? 0) === id;
}

/** Returns the answer, whose name may be any; undefined when there is none. */
export async function askNameServer(
  mux: Mux,
  server: TunnelEndpoint,
  question: Question,
): Promise<Uint8Array | undefined> {
  const id = randomInt(0x1_0000);
  const query = encode({
    type: 'query',
    id,
    flags: RECURSION_DESIRED,
    questions: [question],
    additionals: [
      {type: 'OPT', name: '.', udpPayloadSize: payloadBytes, flags: 0, options: []} as never,
    ],
  });
  const byUdp: Send = (finish) => {
    const family = server.address.length === 4 ? 4 : 6;
    const stream = mux.open('udp', emitFamily(family), {
      onDatagram(bytes) {
        const report = parseUdpReport(bytes);
        if (report.type === 'failure') finish();
        else if (hasId(report.payload, id)) finish(Uint8Array.from(report.payload));
      },
      onRefused: () => finish(),
      onReset: () => finish(),
    });
    stream.sendDatagram(query, emitEndpoint(server));
    return stream;
  };
  const byTcp: Send = (finish) => {
    const reader = new FrameReader();
    const stream = mux.open('tcp', emitEndpoint(server), {
      // A window is larger than any query, and than any answer.
      onOpened: () => stream.write(emitFrame(query)),
      onData(chunk) {
        const answer = reader.push(chunk).find((message) => hasId(message, id));
        if (answer !== undefined) finish(answer);
      },
      onEnd: () => finish(),
      onRefused: () => finish(),
      onReset: () => finish(),
    });
    return stream;
  };
  const answer = await ask(byUdp);
  const isCutOff = ((answer?.[2] ?? 0) & truncated) !== 0;
  return isCutOff ? ((await ask(byTcp)) ?? answer) : answer;
}
