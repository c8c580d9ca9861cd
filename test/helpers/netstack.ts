/**
 * A stack under test with a clock of its own and segments in packetdrill's notation:
 *
 *     < S 1000:1000(0) win 65535 <mss 1460,nop,wscale 7>     from the program's kernel
 *     > S. 0:0(0) ack 1001 win 65535 <mss 1460,nop,wscale 7> from the stack
 *
 * Sequence numbers of the program are as written; those of the stack are relative to its ISN, both
 * in what it sends and in what acknowledges it. Flags: S F R P . (ACK) E W U. A payload is the
 * stream itself: byte n of a direction is `byteAt(n)`, so that content is checked with position.
 */
import {Stack, type StackOptions} from '../../netstack/stack.ts';
import type {Echo, StackHandler, TcpFlow, UdpFlow} from '../../netstack/types.ts';
import {checksum, concat, frame, ip, type ParsedPacket, parse, pseudo} from './packet.ts';

export const PROGRAM4 = ip('10.1.2.3');
export const SERVER4 = ip('192.0.2.7');
export const PROGRAM6 = ip('fd00::3');
export const SERVER6 = ip('2001:db8::7');

/** Byte `offset` of any test stream. */
export function byteAt(offset: number): number {
  return (offset * 31 + (offset >> 8)) & 0xff;
}

/** Bytes [start, start + length) of the test stream. */
export function stream(start: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let at = 0; at < length; at += 1) {
    bytes[at] = byteAt(start + at);
  }
  return bytes;
}

/** A seeded generator of numbers in [0, 1) (mulberry32). */
export function seeded(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** What a flow's handler has been told, in order: `data 100` (bytes so far are added up). */
export interface FlowLog {
  readonly flow: TcpFlow;
  readonly events: string[];
  /** Bytes received, and whether they were the test stream. */
  received: number;
  isIntact: boolean;
  acked: number;
}

export interface RigOptions {
  readonly version?: 4 | 6;
  readonly mtu?: number;
  readonly gso?: boolean;
  readonly windowBudget?: number;
  readonly limits?: StackOptions['limits'];
  /** Called for each connection; by default it is accepted with 1 MiB of credit. */
  readonly onTcp?: (flow: TcpFlow) => void;
  readonly onUdp?: (flow: UdpFlow) => void;
  readonly onEcho?: (echo: Echo) => void;
  readonly seed?: number;
  /** The program's port. */
  readonly port?: number;
}

const FLAGS: Record<string, number> = {F: 1, S: 2, R: 4, P: 8, '.': 16, U: 32, E: 64, W: 128};

export class Rig {
  readonly stack: Stack;
  now = 1_000;
  /** Packets that the stack has emitted and nobody has looked at. */
  readonly sent: ParsedPacket[] = [];
  readonly flows: FlowLog[] = [];
  readonly source: Uint8Array;
  readonly destination: Uint8Array;
  port: number;
  readonly serverPort = 80;
  /** The ISN of the stack, learnt from its SYN-ACK. */
  iss = 0;
  /** How many packets the device still takes. */
  room = Number.POSITIVE_INFINITY;

  constructor(options: RigOptions = {}) {
    const version = options.version ?? 4;
    this.source = version === 4 ? PROGRAM4 : PROGRAM6;
    this.destination = version === 4 ? SERVER4 : SERVER6;
    this.port = options.port ?? 40_000;
    const handler: StackHandler = {
      onTcp: (flow) => {
        this.watch(flow);
        (options.onTcp ?? ((f: TcpFlow) => f.accept(1 << 20)))(flow);
      },
      onUdp: options.onUdp ?? (() => {}),
      onEcho: options.onEcho ?? (() => {}),
    };
    this.stack = new Stack(
      {
        mtu: options.mtu ?? 1500,
        addresses: [PROGRAM4, PROGRAM6],
        random: seeded(options.seed ?? 1),
        gso: options.gso ?? true,
        ...(options.windowBudget !== undefined && {windowBudget: options.windowBudget}),
        ...(options.limits === undefined ? {} : {limits: options.limits}),
      },
      handler,
    );
  }

  get flow(): TcpFlow {
    return this.log.flow;
  }

  /** The log of the last connection. */
  get log(): FlowLog {
    const log = this.flows.at(-1);
    if (log === undefined) {
      throw new Error('there is no connection');
    }
    return log;
  }

  watch(flow: TcpFlow): void {
    const log: FlowLog = {flow, events: [], received: 0, isIntact: true, acked: 0};
    this.flows.push(log);
    flow.handler = {
      onData: (chunk) => {
        log.isIntact &&= Buffer.compare(chunk, stream(log.received, chunk.length)) === 0;
        log.received += chunk.length;
        log.events.push(`data ${chunk.length}`);
      },
      onEnd: () => log.events.push('end'),
      onAcked: (offset) => {
        log.acked = offset;
        log.events.push(`acked ${offset}`);
      },
      onReset: (reason) => log.events.push(reason),
      onClose: () => log.events.push('close'),
    };
  }

  /** Gives the stack a frame, from inside of a larger buffer whose rest is rubbish. */
  inject(bytes: Uint8Array): void {
    const ring = new Uint8Array(bytes.length + 64).fill(0xa5);
    ring.set(bytes, 32);
    this.stack.process(ring, 32, bytes.length, this.now);
    ring.fill(0x5a);
  }

  /** Lets the stack send, and returns nothing: see `expect` and `take`. */
  dispatch(): void {
    this.stack.dispatch(this.now, (packet) => {
      if (this.room <= 0) {
        return false;
      }
      this.room -= 1;
      const head = packet.head.subarray(0, packet.headLength);
      this.sent.push(parse(concat(head, ...packet.parts.slice(0, packet.partCount))));
      return true;
    });
  }

  /** Everything sent since the last look. */
  take(): ParsedPacket[] {
    this.dispatch();
    return this.sent.splice(0);
  }

  /** Segments sent since the last look, in notation. */
  takeText(): string[] {
    return this.take().map((packet) => this.describe(packet));
  }

  /** Advances the clock to `ms` from now, and dispatches at each deadline before it. */
  advance(ms: number): void {
    const end = this.now + ms;
    for (let rounds = 0; rounds < 100_000; rounds += 1) {
      const at = this.stack.pollAt();
      if (at === undefined || at > end) {
        break;
      }
      this.now = Math.max(this.now, at);
      this.dispatch();
    }
    this.now = end;
    this.dispatch();
  }

  /** Injects segments and returns what the stack sends in answer to all of them, as a batch. */
  tcp(...lines: string[]): string[] {
    for (const line of lines) {
      this.inject(this.build(line));
    }
    return this.takeText();
  }

  /** Opens a connection: SYN 1000, SYN-ACK, ACK; the window is 65,535 × 2^7. */
  establish(options = 'mss 1460,nop,wscale 7', window = 65_535): void {
    this.inject(this.build(`< S 1000:1000(0) win 65535 <${options}>`));
    this.takeText();
    this.inject(this.build(`< . 1001:1001(0) ack 1 win ${window}`));
    this.take();
    this.log.events.length = 0;
  }

  /** Builds the frame of a line of notation. */
  build(line: string): Uint8Array {
    const match =
      /^< (?<flags>[SFRPEWU.]+) (?<seq>\d+):(?<end>\d+)\((?<length>\d+)\)(?: ack (?<ack>-?\d+))?(?: win (?<win>\d+))?(?: <(?<options>.*)>)?$/.exec(
        line,
      );
    if (match?.groups === undefined) {
      throw new Error(`cannot read ${line}`);
    }
    const {flags = '', seq = '0', end = '0', length = '0', ack, win, options} = match.groups;
    if ((Number(seq) + Number(length)) % 2 ** 32 !== Number(end)) {
      throw new Error(`${line}: seq + length is not the end`);
    }
    const optionBytes = options === undefined ? new Uint8Array(0) : buildOptions(options);
    const head = new Uint8Array(20 + optionBytes.length);
    const view = new DataView(head.buffer);
    view.setUint16(0, this.port);
    view.setUint16(2, this.serverPort);
    view.setUint32(4, Number(seq));
    view.setUint32(8, ack === undefined ? 0 : (this.iss + Number(ack)) >>> 0);
    view.setUint8(12, (head.length / 4) << 4);
    view.setUint8(
      13,
      [...flags].reduce((sum, flag) => sum | (FLAGS[flag] ?? 0), 0),
    );
    view.setUint16(14, Number(win ?? 65_535));
    head.set(optionBytes, 20);
    // The stream begins at the first byte after the SYN of the connection's ISN.
    const text = stream((Number(seq) - this.firstByte) >>> 0, Number(length));
    const segment = concat(head, text);
    const sum = checksum(pseudo(this.source, this.destination, 6, segment.length), segment);
    segment[16] = sum >> 8;
    segment[17] = sum & 0xff;
    return frame({
      source: this.source,
      destination: this.destination,
      protocol: 6,
      transport: segment,
    });
  }

  /** The sequence number of byte 0 of the program's stream. */
  firstByte = 1001;

  /** Writes a packet of the stack in notation; throws if its payload is not the test stream. */
  describe(packet: ParsedPacket): string {
    if (packet.protocol !== 6) {
      const [type, code] = packet.transport;
      return packet.protocol === 17 ? 'udp' : `icmp ${type}/${code}`;
    }
    const {transport} = packet;
    const view = new DataView(transport.buffer, transport.byteOffset, transport.byteLength);
    const bits = view.getUint8(13);
    const headerLength = (view.getUint8(12) >> 4) * 4;
    const length = transport.length - headerLength;
    const isSyn = (bits & 2) !== 0;
    if (isSyn) {
      this.iss = view.getUint32(4);
    }
    // Exact numbers of a RST without state are the peer's, not relative to our ISN.
    const isStateless = (bits & 4) !== 0 && view.getUint32(4) === 0;
    const seq = isStateless ? 0 : (view.getUint32(4) - this.iss) >>> 0;
    const payload = transport.subarray(headerLength);
    if (length > 0 && Buffer.compare(payload, stream(seq - 1, length)) !== 0) {
      throw new Error(`the ${length} bytes at ${seq} are not the stream`);
    }
    const flags = Object.entries(FLAGS)
      .filter(([, bit]) => bits & bit)
      .map(([flag]) => flag)
      .join('');
    const parts = [`> ${flags} ${seq}:${(seq + length) >>> 0}(${length})`];
    if (bits & 16) {
      parts.push(`ack ${view.getUint32(8)}`);
    }
    parts.push(`win ${view.getUint16(14)}`);
    if (headerLength > 20) {
      parts.push(`<${describeOptions(transport.subarray(20, headerLength))}>`);
    }
    return parts.join(' ');
  }
}

/** `mss 1460,nop,wscale 7,sackOK,TS,eol,raw 1e02`: the options of a segment, padded with nops. */
function buildOptions(text: string): Uint8Array {
  const bytes = text.split(',').flatMap((option) => {
    const [name = '', value = ''] = option.trim().split(' ');
    switch (name) {
      case 'mss':
        return [2, 4, Number(value) >> 8, Number(value) & 0xff];
      case 'wscale':
        return [3, 3, Number(value)];
      case 'sackOK':
        return [4, 2];
      case 'TS':
        return [8, 10, 1, 2, 3, 4, 0, 0, 0, 0];
      case 'eol':
        return [0];
      case 'nop':
        return [1];
      case 'raw':
        return [...Buffer.from(value, 'hex')];
      default:
        throw new Error(`unknown option ${name}`);
    }
  });
  while (bytes.length % 4 !== 0) {
    bytes.push(1);
  }
  return Uint8Array.from(bytes);
}

function describeOptions(bytes: Uint8Array): string {
  const parts: string[] = [];
  for (let at = 0; at < bytes.length; ) {
    const kind = bytes[at];
    if (kind === 1) {
      parts.push('nop');
      at += 1;
      continue;
    }
    const length = bytes[at + 1] ?? 0;
    if (kind === 2) {
      parts.push(`mss ${((bytes[at + 2] ?? 0) << 8) | (bytes[at + 3] ?? 0)}`);
    } else if (kind === 3) {
      parts.push(`wscale ${bytes[at + 2]}`);
    } else {
      parts.push(`kind ${kind}`);
    }
    at += Math.max(2, length);
  }
  return parts.join(',');
}
