/**
 * What the netstack shows to the rest of the house: packets on one side, flows on the other.
 *
 * The stack is sans-IO. Its driver (`layer/tun.ts`) calls `process` for each packet read from the
 * TUN device, `dispatch` after each batch and whenever `pollAt` says so, and hands it a clock: all
 * times are milliseconds of one monotonic clock. What a flow is connected to is the business of the
 * handlers below.
 */

/** An IP address in network byte order: 4 bytes for IPv4, 16 for IPv6. Never a mapped address. */
export type IpAddress = Uint8Array;

export interface Endpoint {
  readonly address: IpAddress;
  readonly port: number;
}

/**
 * The errnos that a failed connect or send may come back with, spelled as in Linux. Anything else
 * that a pod's kernel answers is mapped to the nearest of these by the caller.
 */
export const ERRNOS = [
  'ECONNREFUSED',
  'ECONNRESET',
  'ENETUNREACH',
  'EHOSTUNREACH',
  'EACCES',
  'EPERM',
  'ENOPROTOOPT',
  'EPROTO',
  'EMSGSIZE',
  'ETIMEDOUT',
] as const;
export type Errno = (typeof ERRNOS)[number];

/**
 * One packet for the TUN device: `head[0, headLength)` holds the virtio_net_hdr (10 bytes), the IP
 * and the transport header; the payload is `parts[0, partCount)`, one after another. The object and
 * `head` are reused: the sink must be done with them when it returns.
 */
export interface OutPacket {
  readonly head: Uint8Array;
  headLength: number;
  readonly parts: Uint8Array[];
  partCount: number;
}

/** Writes a packet to the device; false: the device is full, nothing was written, try later. */
export type Emit = (packet: OutPacket) => boolean;

/** Why a connection into the namespace did not come to be. */
export type ConnectErrno =
  /** Nobody listens there. */
  | 'ECONNREFUSED'
  /** The program's kernel was silent for two minutes. */
  | 'ETIMEDOUT'
  /** There is a connection between the same two ends, or the program begins one. */
  | 'EADDRINUSE'
  /** The table of flows is full. */
  | 'EMFILE'
  /** The two ends are the same, of two families, or no place to connect to. */
  | 'EADDRNOTAVAIL';

/** A TCP connection with a program of the sandbox. */
export interface TcpConnection {
  /** The end that opens it. */
  readonly source: Endpoint;
  /** Where that wants to go. */
  readonly destination: Endpoint;
  handler: TcpHandler | undefined;
  /** Raises the absolute offset up to which the program may send. Never lowers it. */
  grant(receiveLimit: number): void;
  /**
   * Queues a copy of bytes for the program, until its kernel has
   * acknowledged them. The caller bounds the queue: bytes written minus `onAcked` must stay within
   * the window it granted to its own peer.
   */
  write(chunk: Uint8Array): void;
  /** Sends FIN after what is queued. */
  end(): void;
  /** Sends what fits into the program's window, then RST. The flow is gone; no handler is called. */
  reset(): void;
}

/** A connection that a program opens: its source is an address of the namespace. */
export interface TcpFlow extends TcpConnection {
  /** Set by whoever takes the flow, before it accepts. */
  handler: TcpHandler | undefined;
  /**
   * Answers the SYN. The program may send up to `receiveLimit` bytes (an absolute stream offset:
   * the first byte is offset 0) until `grant` raises it.
   */
  accept(receiveLimit: number): void;
  /** Fails the connect as the pod's kernel would: RST, an ICMP error, or silence for ETIMEDOUT. */
  refuse(errno: Errno): void;
}

export interface TcpHandler {
  /** Of a connection into the namespace: the program's kernel has taken it. */
  onConnected?(): void;
  /** Of such a connection: it did not come to be, and is gone. */
  onRefused?(errno: ConnectErrno): void;
  /** In-order bytes. `chunk` is a view of the read buffer: valid only until the call returns. */
  onData(chunk: Uint8Array): void;
  /** The program shut down its sending side, after all `onData`. */
  onEnd(): void;
  /** The program's kernel has acknowledged all bytes of ours below this absolute offset. */
  onAcked(offset: number): void;
  /** The program reset the connection, gave up a pending connect, or stopped answering. The flow is gone. */
  onReset(reason: 'reset' | 'timeout'): void;
  /** Both directions are finished and acknowledged. The flow is gone. */
  onClose(): void;
}

/** All datagrams of one source address and port of the sandbox: one socket at the agent. */
export interface UdpFlow {
  readonly source: Endpoint;
  handler: UdpHandler | undefined;
  /** Sends a datagram to the program; `from` is the true sender. Keeps nothing: copies `payload`. */
  send(from: Endpoint, payload: Uint8Array): void;
  /** Tells the program that its last datagram to `to` failed (an ICMP error; EMSGSIZE: with `mtu`). */
  fail(to: Endpoint, errno: Errno, mtu?: number): void;
  /** Forgets the flow; no handler is called. */
  close(): void;
}

export interface UdpHandler {
  /** `payload` is a view, valid only until the call returns; `to` may be kept. */
  onDatagram(to: Endpoint, payload: Uint8Array): void;
  /** The flow was idle for its time, or made room for another: it is gone. */
  onClose(): void;
}

/** An ICMP or ICMPv6 echo request that a program sends. Answered by `Stack.echoReply`, or not at all. */
export interface Echo {
  readonly source: IpAddress;
  readonly destination: IpAddress;
  readonly id: number;
  readonly seq: number;
  /** A view, valid only until the call returns. */
  readonly payload: Uint8Array;
}

/** What happens on the stack. Set once, at construction. */
export interface StackHandler {
  /** A program connects. Set `flow.handler`; later call `accept` or `refuse`. */
  onTcp(flow: TcpFlow): void;
  /** A program sends its first datagram from a port. Set `flow.handler`; `onDatagram` follows. */
  onUdp(flow: UdpFlow): void;
  onEcho(echo: Echo): void;
}
