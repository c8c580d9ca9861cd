/**
 * The streams that outgoing traffic is carried by, whoever is at the other end: the agent, by the tunnel
 * (`tunnel/mux.ts`), or this machine (`host-dialer.ts`). What a stream promises is told in `tunnel/types.ts`.
 */

import type {MuxStream, StreamHandler, StreamKind} from '../tunnel/types.ts';

/** Bytes both ways, with credit. What is no tunnel's is sent at once anyway. */
export type ByteStream = Pick<MuxStream, 'writable' | 'write' | 'end' | 'reset' | 'consumed'> &
  Partial<Pick<MuxStream, 'hurry'>>;

/** Bytes or datagrams, depending on its kind. */
export type OutgoingStream = ByteStream & Pick<MuxStream, 'sendDatagram'>;

/** Opens a stream; calls no handler before it has returned. */
export type OpenStream = (
  kind: StreamKind,
  body: Uint8Array,
  handler: StreamHandler,
) => OutgoingStream;
