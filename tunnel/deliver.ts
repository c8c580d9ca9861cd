/** Hands a frame of a stream to it. */

import {ProtocolError} from './errors.ts';
import {FRAME, type FrameView, parseErrno, readOffset} from './frames.ts';
import type {Stream} from './stream.ts';

/** Throws ProtocolError when the frame does not suit the stream. */
export function deliver(
  stream: Stream,
  message: Uint8Array,
  frame: FrameView,
  datagramBytes: number,
): void {
  const {type, start, end} = frame;
  if (type === FRAME.data) {
    stream.onData(message.subarray(start, end));
  } else if (type === FRAME.datagram) {
    if (end - start > datagramBytes) throw new ProtocolError('DATAGRAM_TOO_BIG');
    stream.onDatagram(message.subarray(start, end));
  } else if (type === FRAME.credit) {
    stream.onCredit(readOffset(message, start));
  } else if (type === FRAME.opened) {
    stream.onOpened(readOffset(message, start), message.slice(start + 8, end));
  } else if (type === FRAME.fin) {
    stream.onFin(readOffset(message, start));
  } else if (type === FRAME.refused) {
    stream.onRefused(parseErrno(message, start, end));
  } else if (type === FRAME.reset) {
    stream.onReset(parseErrno(message, start, end));
  } else if (type === FRAME.stop) {
    stream.onStop(parseErrno(message, start, end));
  }
}
