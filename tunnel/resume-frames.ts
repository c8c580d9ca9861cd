/**
 * RESUME, with which the layer goes on with a session over a new connection, instead of HELLO.
 *
 *     uint32    magic "mird"
 *     uint16    version of the session
 *     32 bytes  token
 *     16 bytes  ticket, from WELCOME
 *     uint64    messages received
 *
 * The agent answers RESUMED with a uint64, the messages that it has received, or CLOSE.
 */

import {ProtocolError} from './errors.ts';
import {
  FRAME,
  newFrame,
  readOffset,
  readUint16,
  readUint32,
  writeOffset,
  writeUint16,
  writeUint32,
} from './frames.ts';
import {checkVersion, MAGIC, TOKEN_BYTES, VERSIONS, type VersionRange} from './handshake.ts';
import {HEADER_BYTES, RESUME_BYTES, RESUME_TICKET_BYTES} from './limits.ts';

const TOKEN_AT = 6;
const TICKET_AT = TOKEN_AT + TOKEN_BYTES;
const RECEIVED_AT = TICKET_AT + RESUME_TICKET_BYTES;

export interface ResumeRequest {
  readonly version: number;
  readonly token: Uint8Array;
  readonly ticket: Uint8Array;
  readonly received: number;
}

/** Returns a new RESUME frame. */
export function emitResume({version, token, ticket, received}: ResumeRequest): Uint8Array {
  const bytes = newFrame(FRAME.resume, 0, RESUME_BYTES);
  writeUint32(bytes, HEADER_BYTES, MAGIC);
  writeUint16(bytes, HEADER_BYTES + 4, version);
  bytes.set(token, HEADER_BYTES + TOKEN_AT);
  bytes.set(ticket, HEADER_BYTES + TICKET_AT);
  writeOffset(bytes, HEADER_BYTES + RECEIVED_AT, received);
  return bytes;
}

/**
 * Reads a RESUME that fills `payload`. Throws ProtocolError HANDSHAKE_MALFORMED, VERSION_MISMATCH or
 * FRAME_MALFORMED.
 */
export function parseResume(payload: Uint8Array, versions: VersionRange = VERSIONS): ResumeRequest {
  if (readUint32(payload, 0) !== MAGIC) throw new ProtocolError('HANDSHAKE_MALFORMED');
  const version = readUint16(payload, 4);
  checkVersion(version, versions);
  return {
    version,
    token: payload.slice(TOKEN_AT, TICKET_AT),
    ticket: payload.slice(TICKET_AT, RECEIVED_AT),
    received: readOffset(payload, RECEIVED_AT),
  };
}
