/**
 * Outgoing traffic: what the program opens on the netstack becomes a stream of the tunnel.
 *
 * A connection's SYN is answered once the agent is connected; a failure there fails the connect here.
 * Credit is passed through in both directions, offset for offset: the window that the program sees is
 * what the tunnel takes, and the agent is given credit for what the program's kernel has acknowledged.
 * So nothing is queued here, and a stopped reader stops the writer at the other end.
 *
 * A UDP stream stands for one source port of the program; one echo stream a family for all pings.
 *
 * Not all flows are the agent's: `route` names who opens the stream of each (`routing/router.ts`). A port of the
 * program may then have a UDP stream to several.
 */

import {
  type Echo,
  type Endpoint,
  ERRNOS,
  type Errno,
  type IpAddress,
  type StackHandler,
  type TcpFlow,
  type UdpFlow,
} from '../netstack/types.ts';
import {
  emitEchoHead,
  emitEndpoint,
  emitFamily,
  type Family,
  parseEchoReply,
  parseUdpReport,
} from '../tunnel/messages.ts';
import type {StreamHandler} from '../tunnel/types.ts';
import type {Route} from './routing/router.ts';
import type {OpenStream, OutgoingStream} from './streams.ts';

/** Ping ids whose source address is remembered; each running ping has one. */
const echoIdLimit = 1_024;
/** Peers of a UDP flow that are remembered; others are asked about again. */
const udpPeerLimit = 64;

export interface OutgoingOptions {
  /** Opens a stream to the agent: pings always leave from the pod. */
  open: OpenStream;
  /** Who opens the stream of a flow. */
  route: Route;
  /** Something changed on a flow: let the stack dispatch. */
  kick: () => void;
  /** A datagram was dropped because too many wait. */
  crowd: () => void;
  /** Gives the program the answer to a ping. */
  echoReply: (reply: Echo) => void;
}

const connectErrnos: ReadonlySet<string> = new Set(ERRNOS);

/** The nearest errno that can be shown to the program, of the one that the agent met. */
export function presentableErrno(name: string): Errno {
  if (connectErrnos.has(name)) return name as Errno;
  switch (name) {
    case 'ENETDOWN':
    case 'EADDRNOTAVAIL': // no source address for it, or no port left
      return 'ENETUNREACH';
    default:
      return 'EHOSTUNREACH'; // EHOSTDOWN, and limits of the agent's own (EMFILE, …)
  }
}

function familyOf(address: IpAddress): Family {
  return address.length === 4 ? 4 : 6;
}

function connectTcp(flow: TcpFlow, {route, kick}: OutgoingOptions): void {
  let sent = 0;
  let isConnected = false;
  /** The pod's side broke: a failed connect, or a reset connection. */
  const abort = (errno: string): void => {
    if (isConnected) flow.reset();
    else flow.refuse(presentableErrno(errno));
    kick();
  };
  const receive = (chunk: Uint8Array): void => {
    flow.write(chunk);
    kick();
  };
  const open = route('tcp', flow.source, flow.destination);
  const stream = open('tcp', emitEndpoint(flow.destination), {
    onOpened() {
      isConnected = true;
      flow.accept(sent + stream.writable);
      kick();
    },
    onRefused: abort,
    onData: receive,
    onLentData: receive,
    onEnd() {
      flow.end();
      kick();
    },
    onWritable() {
      flow.grant(sent + stream.writable);
      kick();
    },
    onStop: abort,
    onReset: abort,
  });
  flow.handler = {
    onData(chunk) {
      sent += chunk.length;
      stream.write(chunk);
    },
    onEnd: () => stream.end(),
    onAcked: (offset) => stream.consumed(offset),
    onReset: () => stream.reset('ECONNRESET'),
    onClose: () => undefined, // both directions have ended, and the stream with them
  };
}

/** A peer of a UDP flow: the head of datagrams to it, and who carries them. */
interface UdpPeer {
  readonly to: Endpoint;
  readonly head: Uint8Array;
  readonly stream: OutgoingStream;
}

function isSame(a: Endpoint, b: Endpoint): boolean {
  if (a === b) return true; // the stack gives the same one again and again
  return a.port === b.port && a.address.every((byte, i) => byte === b.address[i]);
}

function openUdp(flow: UdpFlow, {route, kick, crowd}: OutgoingOptions): void {
  // Most programs send to one peer, or to a few in turn: what was found out about each is kept.
  let last: UdpPeer | undefined;
  const peers = new Map<string, UdpPeer>();
  const streams = new Map<OpenStream, OutgoingStream>();
  const closeStreams = (): void => {
    for (const stream of streams.values()) stream.reset('ECANCELED');
  };
  /** One of the streams is gone: the next datagram starts anew. */
  const forget = (): void => {
    closeStreams();
    flow.close();
  };
  const handler: StreamHandler = {
    onDatagram(bytes) {
      const report = parseUdpReport(bytes);
      if (report.type === 'datagram') flow.send(report.from, report.payload);
      else flow.fail(report.to, presentableErrno(report.errno), report.mtu);
      kick();
    },
    onRefused: forget,
    onEnd: forget,
    onReset: forget,
  };
  const streamTo = (to: Endpoint): OutgoingStream => {
    const open = route('udp', flow.source, to);
    const known = streams.get(open);
    if (known !== undefined) return known;
    const opened = open('udp', emitFamily(familyOf(flow.source.address)), handler);
    streams.set(open, opened);
    return opened;
  };
  const peerAt = (to: Endpoint): UdpPeer => {
    const head = emitEndpoint(to);
    const key = Buffer.from(head).toString('latin1');
    const known = peers.get(key);
    if (known !== undefined) return known;
    const first = peers.keys().next();
    if (peers.size >= udpPeerLimit && first.done !== true) peers.delete(first.value);
    const peer = {to, head, stream: streamTo(to)};
    peers.set(key, peer);
    return peer;
  };
  flow.handler = {
    onDatagram(to, payload) {
      if (last === undefined || !isSame(to, last.to)) last = peerAt(to);
      if (!last.stream.sendDatagram(payload, last.head)) crowd();
    },
    onClose: closeStreams,
  };
}

/** The pings of one family: their stream, and which address each of them came from. */
class Pings {
  readonly #options: OutgoingOptions;
  readonly #family: Family;
  readonly #sources = new Map<number, IpAddress>();
  #stream: OutgoingStream | undefined;

  constructor(family: Family, options: OutgoingOptions) {
    this.#family = family;
    this.#options = options;
  }

  send({source, destination, id, seq, payload}: Echo): void {
    if (!this.#sources.has(id) && this.#sources.size >= echoIdLimit) {
      const oldest = this.#sources.keys().next();
      if (oldest.done !== true) this.#sources.delete(oldest.value);
    }
    this.#sources.set(id, source.slice());
    this.#stream ??= this.#open();
    this.#stream.sendDatagram(payload, emitEchoHead({address: destination, id, seq}));
  }

  #open(): OutgoingStream {
    const {open, kick, echoReply} = this.#options;
    const forget = (): void => {
      this.#stream = undefined;
    };
    return open('echo', emitFamily(this.#family), {
      onDatagram: (bytes) => {
        const {address, id, seq, payload} = parseEchoReply(bytes, this.#family);
        const asker = this.#sources.get(id);
        if (asker === undefined) return;
        // Directions are the request's: the answer goes from its destination to its source.
        echoReply({source: asker, destination: address, id, seq, payload});
        kick();
      },
      onRefused: forget,
      onEnd: forget,
      onReset: forget,
    });
  }
}

/** Makes the handler that a stack needs for all outgoing traffic to go to the agent. */
export function createOutgoing(options: OutgoingOptions): StackHandler {
  const pings = {4: new Pings(4, options), 6: new Pings(6, options)};
  return {
    onTcp: (flow) => connectTcp(flow, options),
    onUdp: (flow) => openUdp(flow, options),
    onEcho: (echo) => pings[familyOf(echo.source)].send(echo),
  };
}
