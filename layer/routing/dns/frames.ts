/** DNS over TCP: each message after its length (RFC 1035, section 4.2.2). Pure. */

/** Collects the messages of one direction of a connection. Holds one message at most. */
export class FrameReader {
  #pending = Buffer.alloc(0);

  /** Bytes that wait for the rest of their message. */
  get pendingBytes(): number {
    return this.#pending.length;
  }

  /** Takes bytes; returns the messages that are whole now, which may be kept. */
  push(chunk: Uint8Array): Uint8Array[] {
    this.#pending = Buffer.concat([this.#pending, chunk]);
    const messages: Uint8Array[] = [];
    for (;;) {
      if (this.#pending.length < 2) return messages;
      const end = 2 + this.#pending.readUInt16BE(0);
      if (this.#pending.length < end) return messages;
      messages.push(this.#pending.subarray(2, end));
      this.#pending = this.#pending.subarray(end);
    }
  }
}

/** Returns a message with its length in front. */
export function emitFrame(message: Uint8Array): Buffer {
  const frame = Buffer.alloc(2 + message.length);
  frame.writeUInt16BE(message.length);
  frame.set(message, 2);
  return frame;
}
