/**
 * The reasons for which a tunnel ends, as numbers on the wire and names in code.
 *
 * A peer that breaks the protocol ends the tunnel, never only a stream: after a breach nothing that
 * it says can be relied on. Failures of one flow are errnos and cross inside REFUSED, RESET, STOP.
 */

/** Every code: its number on the wire (stable, never reused) and what it means. */
export const PROTOCOL_CODES = {
  NO_ERROR: {number: 0, text: 'the tunnel was closed in good order'},
  CONNECTION_LOST: {number: 1, text: 'the connection under the tunnel ended'},
  PEER_DEAD: {number: 2, text: 'nothing was heard from the peer for too long'},
  INTERNAL: {number: 3, text: 'the peer has a bug and gave up'},
  TARGET_GONE: {number: 4, text: 'the target process ended'},
  GOING_AWAY: {number: 5, text: 'the peer is shutting down'},
  HANDSHAKE_TIMEOUT: {number: 16, text: 'no handshake came in time'},
  HANDSHAKE_EXPECTED: {number: 17, text: 'a frame came before the handshake was over'},
  HANDSHAKE_MALFORMED: {number: 18, text: 'the handshake makes no sense'},
  VERSION_MISMATCH: {number: 19, text: 'layer and agent have no protocol version in common'},
  BAD_TOKEN: {number: 20, text: 'the session token is wrong'},
  TOO_MANY_CLIENTS: {number: 21, text: 'the agent has as many clients as it takes'},
  RESUME_UNKNOWN: {number: 24, text: 'the agent does not know this session any more'},
  RESUME_COUNT: {number: 25, text: 'messages are acknowledged that cannot have come'},
  RESUME_TIMEOUT: {number: 26, text: 'the connection was lost and did not come back in time'},
  MESSAGE_NOT_BINARY: {number: 32, text: 'a text message came'},
  MESSAGE_TOO_BIG: {number: 33, text: 'a message is larger than the limit'},
  FRAME_UNKNOWN: {number: 34, text: 'a frame has a type that this version does not know'},
  FRAME_TRUNCATED: {number: 35, text: 'a frame is longer than the message that holds it'},
  FRAME_TOO_BIG: {number: 36, text: 'a frame is larger than its type allows'},
  FRAME_MALFORMED: {number: 37, text: 'the fields of a frame make no sense'},
  WEBSOCKET_MALFORMED: {number: 38, text: 'the frames of the WebSocket make no sense'},
  STREAM_ID: {number: 48, text: 'a stream was opened with a wrong id'},
  STREAM_UNKNOWN: {number: 49, text: 'a frame names a stream that was never opened'},
  STREAM_KIND: {number: 50, text: 'a frame does not suit the kind of its stream'},
  STREAM_STATE: {number: 51, text: 'a frame does not suit the state of its stream'},
  TOO_MANY_STREAMS: {number: 52, text: 'more streams were opened than the limit'},
  OPEN_RATE: {number: 53, text: 'streams were opened faster than the limit'},
  FLOW_CONTROL: {number: 54, text: 'more bytes came than were granted'},
  FINAL_OFFSET: {number: 55, text: 'a stream ended at another offset than its bytes say'},
  DATAGRAM_TOO_BIG: {number: 56, text: 'a datagram is larger than the limit'},
  PING_RATE: {number: 64, text: 'pings came faster than the limit'},
  CONTROL_BACKLOG: {number: 65, text: 'the peer demands answers but does not read them'},
  BODY_MALFORMED: {number: 80, text: 'the body of a stream or datagram makes no sense'},
  CALL_ITEM_TOO_BIG: {number: 81, text: 'an item of a call is larger than the limit'},
  CALL_MALFORMED: {
    number: 82,
    text: 'an item of a call is no valid MessagePack, or not of its type',
  },
  CALL_TOO_DEEP: {number: 83, text: 'an item of a call is nested too deep'},
} as const satisfies Record<string, {number: number; text: string}>;

/** The name of a reason for which a tunnel ends. */
export type ProtocolCode = keyof typeof PROTOCOL_CODES;

const byNumber = new Map<number, ProtocolCode>(
  Object.entries(PROTOCOL_CODES).map(([name, {number}]) => [number, name as ProtocolCode]),
);

/** Returns the code with this number on the wire; `INTERNAL` for one we have never heard of. */
export function codeFromNumber(number: number): ProtocolCode {
  return byNumber.get(number) ?? 'INTERNAL';
}

/** Ends one tunnel. `origin` tells who noticed: the peer's CLOSE carries its view of our fault. */
export class ProtocolError extends Error {
  readonly code: ProtocolCode;
  readonly origin: 'here' | 'peer';

  constructor(code: ProtocolCode, origin: 'here' | 'peer' = 'here') {
    super(PROTOCOL_CODES[code].text);
    this.name = 'ProtocolError';
    this.code = code;
    this.origin = origin;
  }
}
