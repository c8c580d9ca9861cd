/** A stream socket, as whoever reads and writes it sees it; over the kernel's (`native-socket.ts`) or Node's (`duplex-socket.ts`). */

/** An address (4 or 16 bytes) and a port. */
export interface SocketEndpoint {
  readonly address: Uint8Array;
  readonly port: number;
}

/** What happens on a socket. Nothing is called any more after `onClose`. */
export interface SocketHandler {
  /** A connection that was on its way is there. */
  onConnect?(): void;
  /** Something can be read: returns how much may be. Without it, `readBytes` counts as it was set last. */
  onReadable?(): number;
  /** Bytes in order. Their memory is used again as soon as this returns. */
  onData(bytes: Uint8Array): void;
  /** The peer sends no more. */
  onEnd(): void;
  /** What waited was offered to the kernel: `bufferedBytes` is what it has left. */
  onFlushed?(): void;
  /** It is over, by `error` or because of us. Once. */
  onClose(error: NodeJS.ErrnoException | undefined): void;
}

export interface StreamSocket {
  handler: SocketHandler | undefined;
  /** Bytes that wait here until the kernel takes them. */
  readonly bufferedBytes: number;
  /** Whether something may be written. */
  readonly isWritable: boolean;
  readonly isClosed: boolean;
  /** At most so many bytes are read at a time; 0: nothing, until it is set anew. 0 at first. */
  readBytes: number;
  /** Writes bytes, which must stay as they are until `taken` is called; not if the socket closes before. */
  write(bytes: Uint8Array, taken?: () => void): void;
  /** Writes bytes whose memory is somebody else's: what the kernel does not take in this turn is copied. */
  writeLent(bytes: Uint8Array): void;
  /** Gives the kernel now what was written in this turn; else that happens at its end. */
  flush(): void;
  /** Nothing more is written: ends this direction after what waits. */
  end(): void;
  /** Ends it at once; `isReset`: by a RST. */
  destroy(isReset?: boolean): void;
}

/** A stream that something better than Node's streams can stand in for. */
export interface SocketSource {
  /** From now on it is read and written by this socket. Its end is the stream's, and the other way round. */
  becomeSocket(): StreamSocket;
}
