/**
 * The channels inside of a port-forward's WebSocket, by subprotocol. Sans-IO.
 *
 * `SPDY/3.1+portforward.k8s.io` (KEP-4006; kubectl's since 1.31): the bytes of SPDY, whatever messages they come in.
 * Behind the API server it is SPDY to the very end, so nobody has to put messages together.
 *
 * `v4.channel.k8s.io`, which any API server knows: a message's first byte names its channel, 0 for the data and 1 for
 * what went wrong; the first message of each holds the port's number in two more bytes. Every message is put
 * together and unmasked byte by byte where the pod runs, which costs it twice as much per byte.
 */

import {Spdy, type SpdySink} from './spdy.ts';

const spdyProtocol = 'SPDY/3.1+portforward.k8s.io';
const channelProtocol = 'v4.channel.k8s.io';

/** What we speak, the better first: an API server that does not know the first takes the second. */
export const protocols: readonly string[] = [spdyProtocol, channelProtocol];

/** Reads and writes the channels of one port. */
export interface Channels {
  /** The bytes in front of data. */
  readonly headBytes: number;
  /** Returns what is to be sent first. */
  open(port: number): Uint8Array | undefined;
  /** A message begins, if that means anything. */
  begin?(): void;
  /** Takes its next bytes. Throws an error when they make no sense. */
  push(piece: Uint8Array): void;
  /** Writes the head of so many bytes of data so that it ends at `end`. */
  writeHead(buffer: Buffer, end: number, bytes: number): void;
  /** Returns what asks for a sign of life; undefined: a ping of the WebSocket does. */
  ping(): Uint8Array | undefined;
}

/** Returns the channels of a subprotocol. */
export function channelsOf(protocol: string, sink: SpdySink): Channels {
  return protocol === spdyProtocol ? new Spdy(sink) : new ByteChannels(sink);
}

const dataChannel = 0;
const errorChannel = 1;
/** The first message of a channel: its byte, and the port in two. */
const portBytes = 2;

class ByteChannels implements Channels {
  readonly headBytes = 1;
  readonly #sink: SpdySink;
  /** What of the port's number each channel has said. */
  readonly #portBytes = [0, 0];
  #channel: number | undefined;

  constructor(sink: SpdySink) {
    this.#sink = sink;
  }

  open(): undefined {
    return undefined;
  }

  begin(): void {
    this.#channel = undefined;
  }

  push(piece: Uint8Array): void {
    let rest = piece;
    if (this.#channel === undefined) {
      this.#channel = piece[0] ?? 0;
      rest = piece.subarray(1);
    }
    const channel = this.#channel;
    const known = this.#portBytes[channel];
    if (known === undefined) throw new RangeError(`there is no channel ${channel}`);
    if (known < portBytes) {
      if (known + rest.length > portBytes) throw new RangeError('no number of a port');
      this.#portBytes[channel] = known + rest.length;
      const isOpen = this.#portBytes.every((bytes) => bytes === portBytes);
      if (isOpen && rest.length > 0) this.#sink.onOpen();
    } else if (rest.length > 0) {
      if (channel === dataChannel) this.#sink.onData(rest);
      else if (channel === errorChannel) this.#sink.onComplaint(rest);
    }
  }

  writeHead(buffer: Buffer, end: number): void {
    buffer[end - 1] = dataChannel;
  }

  ping(): undefined {
    return undefined;
  }
}
