/**
 * Fuzzes the netstack: valid sequences of TCP, UDP and ICMP in any order, some of their packets damaged,
 * cut or with any virtio header; verbs on flows at any moment, from handlers too; a device that is full;
 * time that passes. Promises: nothing throws, each packet that leaves is well-formed, no limit is
 * exceeded, handlers are called as the contract says, and in the end nothing is left.
 */
import assert from 'node:assert/strict';
import {DEFAULT_LIMITS} from '../../netstack/limits.ts';
import {Stack} from '../../netstack/stack.ts';
import {
  ERRNOS,
  type Errno,
  type OutPacket,
  type TcpConnection,
  type TcpFlow,
  type TcpHandler,
  type UdpFlow,
} from '../../netstack/types.ts';
import {PROGRAM4, PROGRAM6, SERVER4, SERVER6, seeded, stream} from '../helpers/netstack.ts';
import {checksum, concat, frame, icmp, ipHeader, parse, pseudo, udp} from '../helpers/packet.ts';
import {Dice, type FuzzTarget, flip} from './fuzzer.ts';

type Damage = readonly (readonly [number, number])[];

interface Place {
  readonly version: 4 | 6;
  /** The program's port; what the handlers do hangs on it. */
  readonly port: number;
}

interface Arrival {
  /** virtio_net_hdr: flags, gso_type, gso_size. */
  readonly virtio: readonly [number, number, number];
  readonly damage: Damage;
  /** Bytes that are missing at the end. */
  readonly cut: number;
}

type Step =
  | (Place &
      Arrival & {
        readonly do: 'segment';
        readonly flags: number;
        /** Relative to what the peers expect of each other. */
        readonly seq: number;
        readonly ack: number;
        readonly window: number;
        readonly length: number;
        readonly options: string;
      })
  | (Place &
      Arrival & {
        readonly do: 'datagram';
        readonly to: number;
        readonly length: number;
        /** Types of IPv6 extension headers that come before it. */
        readonly extensions: readonly number[];
      })
  | (Place &
      Arrival & {
        readonly do: 'fragment';
        readonly protocol: number;
        readonly id: number;
        readonly offset: number;
        readonly more: boolean;
        readonly length: number;
      })
  | (Place &
      Arrival & {
        readonly do: 'icmp';
        readonly type: number;
        readonly code: number;
        readonly length: number;
      })
  /** The program's kernel refuses a datagram from that port. */
  | (Place & Arrival & {readonly do: 'unreachable'; readonly from: number})
  | {readonly do: 'raw'; readonly hex: string}
  | {readonly do: 'wait'; readonly ms: number}
  | {readonly do: 'dispatch'; readonly room: number}
  | (Place & {readonly do: 'connect'})
  | {readonly do: 'verb'; readonly flow: number; readonly verb: Verb; readonly n: number};

type Verb = 'accept' | 'refuse' | 'grant' | 'write' | 'end' | 'reset' | 'send' | 'fail' | 'close';

/** Small, so that they are reached. */
const LIMITS = {
  ...DEFAULT_LIMITS,
  flows: 12,
  pending: 5,
  timeWait: 3,
  outOfOrderSegments: 6,
  outOfOrderBytes: 20_000,
  outOfOrderTotalBytes: 40_000,
  partsPerPacket: 8,
  udpFlows: 4,
  udpQueueDatagrams: 4,
  udpQueueBytes: 70_000,
  udpQueueTotalBytes: 150_000,
  reassemblyBytes: 100_000,
  reassemblyPackets: 3,
  controlPackets: 30,
  controlBytes: 100_000,
};
const SERVER_PORT = 80;
const OPTIONS = [
  '',
  '020405b401030307',
  '0204000101010402',
  '0103030e02040fff',
  '05000000',
  '1e0c0001aabbccdd00000000',
];
/** Longer than any deadline. */
const LONG_MS = 400_000;

/** How a flow ended, and what its handler was told. */
class Watched {
  readonly flow: TcpConnection;
  granted = 0;
  received = 0;
  written = 0;
  acked = 0;
  hasEnded = false;
  over: string | undefined;

  constructor(flow: TcpConnection) {
    this.flow = flow;
  }

  finish(how: string): void {
    assert.equal(this.over, undefined, `${how} after ${this.over}`);
    this.over = how;
  }

  handler(port: number): TcpHandler {
    return {
      onConnected: () => assert.equal(this.over, undefined),
      onRefused: (errno) => this.finish(errno),
      onData: (chunk) => {
        assert.equal(this.over, undefined, 'data after the end');
        assert.ok(!this.hasEnded, 'data after the FIN');
        assert.ok(chunk.length > 0, 'empty data');
        this.received += chunk.length;
        assert.ok(this.received <= this.granted, 'more than was granted');
        if (port % 4 === 3) this.write(chunk.slice());
        if (port % 8 === 7) this.grant(this.received + 10_000);
        if (port % 8 === 5 && this.received > 5_000) this.reset();
      },
      onEnd: () => {
        assert.equal(this.over, undefined);
        assert.ok(!this.hasEnded, 'two ends');
        this.hasEnded = true;
        if (port % 4 === 3) this.flow.end();
      },
      onAcked: (offset) => {
        assert.ok(offset > this.acked && offset <= this.written, `acked ${offset}`);
        this.acked = offset;
        if (port % 8 === 6 && offset > 3_000) this.reset();
      },
      onReset: (reason) => this.finish(reason),
      onClose: () => this.finish('close'),
    };
  }

  grant(limit: number): void {
    this.granted = Math.max(this.granted, limit);
    this.flow.grant(limit);
  }

  write(chunk: Uint8Array): void {
    this.written += chunk.length;
    this.flow.write(chunk);
  }

  reset(): void {
    if (this.over === undefined) this.over = 'reset by us';
    this.flow.reset();
  }
}

/** What the peers of one port expect of each other, as the packets of the stack tell. */
interface Expectation {
  /** What the stack acknowledges. */
  ours: number;
  /** What it will send next. */
  theirs: number;
}

class Round {
  readonly #stack: Stack;
  #now = 1_000;
  readonly #flows: Watched[] = [];
  readonly #udpFlows: UdpFlow[] = [];
  readonly #expected = new Map<string, Expectation>();

  constructor() {
    this.#stack = new Stack(
      {mtu: 1500, addresses: [PROGRAM4, PROGRAM6], random: seeded(1), gso: true, limits: LIMITS},
      {
        onTcp: (flow) => this.#onTcp(flow),
        onUdp: (flow) => this.#onUdp(flow),
        onEcho: (echo) => this.#stack.echoReply(echo),
      },
    );
  }

  #onTcp(flow: TcpFlow): void {
    const watched = new Watched(flow);
    this.#flows.push(watched);
    const {port} = flow.source;
    flow.handler = watched.handler(port);
    watched.granted = 20_000;
    if (port % 4 === 2) {
      watched.over = 'refused';
      flow.refuse(ERRNOS[port % ERRNOS.length] as Errno);
    } else if (port % 4 !== 0) {
      flow.accept(watched.granted);
    }
  }

  #onUdp(flow: UdpFlow): void {
    if (flow.source.port % 8 === 1) return; // nobody takes it
    this.#udpFlows.push(flow);
    let isOver = false;
    flow.handler = {
      onDatagram(to, payload) {
        assert.ok(!isOver, 'a datagram after the end');
        if (flow.source.port % 2 === 0) flow.send(to, payload);
        if (flow.source.port % 8 === 3) flow.close();
      },
      onClose() {
        assert.ok(!isOver, 'closed twice');
        isOver = true;
      },
    };
  }

  step(step: Step): void {
    switch (step.do) {
      case 'segment':
      case 'datagram':
      case 'fragment':
      case 'icmp':
      case 'unreachable':
        this.#inject(this.#packet(step), step);
        break;
      case 'raw':
        this.#process(Buffer.from(step.hex, 'hex'));
        break;
      case 'wait':
        this.#advance(step.ms);
        break;
      case 'dispatch':
        this.#dispatch(step.room);
        break;
      case 'connect':
        this.#connect(step);
        break;
      case 'verb':
        this.#verb(step);
        break;
    }
    this.#checkLimits();
  }

  #packet(step: Exclude<Step, {do: 'raw' | 'wait' | 'dispatch' | 'connect' | 'verb'}>): Uint8Array {
    const [source, destination] = step.version === 4 ? [PROGRAM4, SERVER4] : [PROGRAM6, SERVER6];
    const [flags, gsoType, gsoSize] = step.virtio;
    const base = {source, destination, flags, gsoType, gsoSize};
    const text = stream(0, 'length' in step ? step.length : 0);
    switch (step.do) {
      case 'segment':
        return frame({...base, protocol: 6, transport: this.#segment(step, source, destination)});
      case 'datagram': {
        const datagram = udp([source, step.port], [destination, step.to], text);
        const isExtended = step.version === 6;
        return extended(base, isExtended ? step.extensions : [], datagram);
      }
      case 'icmp': {
        const {type, code} = step;
        const transport = icmp([source, destination], {type, code, rest: step.port}, text);
        return frame({...base, protocol: step.version === 4 ? 1 : 58, transport});
      }
      case 'unreachable': {
        const refused = udp([destination, step.from], [source, step.port], stream(0, 8));
        const fields = {source: destination, destination: source, protocol: 17, transport: refused};
        const offender = concat(ipHeader(fields), refused);
        const [type, code, protocol] = step.version === 4 ? [3, 3, 1] : [1, 4, 58];
        const transport = icmp([source, destination], {type, code, rest: 0}, offender);
        return frame({...base, protocol, transport});
      }
      case 'fragment':
        return fragment(step, base, text);
    }
  }

  #segment(
    step: Extract<Step, {do: 'segment'}>,
    source: Uint8Array,
    destination: Uint8Array,
  ): Uint8Array {
    const key = `${step.version} ${step.port}`;
    const expected = this.#expected.get(key) ?? {ours: 1_000, theirs: 0};
    const options = Buffer.from(step.options, 'hex');
    const segment = new Uint8Array(20 + options.length + step.length);
    const view = new DataView(segment.buffer);
    view.setUint16(0, step.port);
    view.setUint16(2, SERVER_PORT);
    view.setUint32(4, (expected.ours + step.seq) >>> 0);
    view.setUint32(8, (expected.theirs + step.ack) >>> 0);
    view.setUint8(12, ((20 + options.length) / 4) << 4);
    view.setUint8(13, step.flags);
    view.setUint16(14, step.window);
    segment.set(options, 20);
    segment.set(stream(0, step.length), 20 + options.length);
    const sum = checksum(pseudo(source, destination, 6, segment.length), segment);
    segment.set([sum >> 8, sum & 0xff], 16);
    return segment;
  }

  #inject(packet: Uint8Array, {damage, cut}: Arrival): void {
    flip(packet, damage);
    this.#process(packet.subarray(0, Math.max(0, packet.length - cut)));
  }

  /** The packet is somewhere in a larger ring, whose memory is used again at once. */
  #process(packet: Uint8Array): void {
    const ring = new Uint8Array(packet.length + 64).fill(0xa5);
    ring.set(packet, 32);
    this.#stack.process(ring, 32, packet.length, this.#now);
    ring.fill(0x5a);
  }

  #dispatch(room: number): void {
    let left = room;
    this.#stack.dispatch(this.#now, (packet) => {
      if (left <= 0) return false;
      left -= 1;
      this.#look(packet);
      return true;
    });
    const at = this.#stack.pollAt();
    if (left > 0) assert.ok(at === undefined || at > this.#now, 'what was due is not done');
  }

  #look(packet: OutPacket): void {
    assert.ok(packet.partCount <= LIMITS.partsPerPacket, `${packet.partCount} parts`);
    const head = packet.head.subarray(0, packet.headLength);
    const bytes = concat(head, ...packet.parts.slice(0, packet.partCount));
    const {protocol, transport, virtio, source} = parse(bytes);
    assert.ok(bytes.length <= 10 + 40 + 65_535, 'longer than a packet can be');
    if (protocol !== 6) return;
    const view = new DataView(transport.buffer, transport.byteOffset, transport.byteLength);
    const flags = view.getUint8(13);
    const headerLength = (view.getUint8(12) >> 4) * 4;
    const length = transport.length - headerLength;
    assert.ok(virtio.gsoType === 0 || length > virtio.gsoSize, 'GSO of a single segment');
    const key = `${source.length === 4 ? 4 : 6} ${view.getUint16(2)}`;
    if (flags & 4) {
      this.#expected.delete(key);
      return;
    }
    const expected = this.#expected.get(key) ?? {ours: 1_000, theirs: 0};
    if (flags & 16) expected.ours = view.getUint32(8);
    expected.theirs = (view.getUint32(4) + length + (flags & 1) + ((flags >> 1) & 1)) >>> 0;
    this.#expected.set(key, expected);
  }

  #advance(ms: number): void {
    const end = this.#now + ms;
    for (let rounds = 0; ; rounds += 1) {
      assert.ok(rounds < 10_000, 'time stands still');
      const at = this.#stack.pollAt();
      if (at === undefined || at > end) break;
      this.#now = Math.max(this.#now, at);
      this.#dispatch(Number.POSITIVE_INFINITY);
    }
    this.#now = end;
  }

  #connect({version, port}: Place): void {
    const [program, client] = version === 4 ? [PROGRAM4, SERVER4] : [PROGRAM6, SERVER6];
    const told: {watched?: Watched} = {};
    const forward = (): TcpHandler => {
      assert.ok(told.watched !== undefined, 'a handler was called before connectTcp returned');
      return told.watched.handler(port);
    };
    const result = this.#stack.connectTcp(
      {address: client, port: SERVER_PORT},
      {address: program, port},
      {
        onConnected: () => forward().onConnected?.(),
        onRefused: (errno) => forward().onRefused?.(errno),
        onData: (chunk) => forward().onData(chunk),
        onEnd: () => forward().onEnd(),
        onAcked: (offset) => forward().onAcked(offset),
        onReset: (reason) => forward().onReset(reason),
        onClose: () => forward().onClose(),
      },
    );
    if (typeof result === 'string') return;
    told.watched = new Watched(result);
    told.watched.grant(20_000);
    this.#flows.push(told.watched);
  }

  #verb({flow: index, verb, n}: Extract<Step, {do: 'verb'}>): void {
    if (verb === 'send' || verb === 'fail' || verb === 'close') {
      const flow = this.#udpFlows[index % Math.max(1, this.#udpFlows.length)];
      const from = {address: n % 2 === 0 ? SERVER4 : SERVER6, port: 7};
      if (verb === 'send') flow?.send(from, stream(0, n));
      else if (verb === 'fail') flow?.fail(from, ERRNOS[n % ERRNOS.length] as Errno, n);
      else flow?.close();
      return;
    }
    const watched = this.#flows[index % Math.max(1, this.#flows.length)];
    if (watched === undefined) return;
    const {flow} = watched;
    switch (verb) {
      case 'accept':
        watched.granted = Math.max(watched.granted, n);
        if ('accept' in flow) (flow as TcpFlow).accept(watched.granted);
        break;
      case 'refuse':
        if (watched.over === undefined) watched.over = 'refused';
        if ('refuse' in flow) (flow as TcpFlow).refuse(ERRNOS[n % ERRNOS.length] as Errno);
        break;
      case 'grant':
        watched.grant(watched.received + n);
        break;
      case 'write':
        watched.write(stream(0, n));
        break;
      case 'end':
        flow.end();
        break;
      case 'reset':
        watched.reset();
        break;
    }
  }

  #checkLimits(): void {
    const usage = this.#stack.usage();
    assert.ok(usage.tcpFlows <= LIMITS.flows, 'flows');
    assert.ok(usage.tcpPending <= LIMITS.pending && usage.tcpPending >= 0, 'pending');
    assert.ok(usage.tcpTombstones <= LIMITS.timeWait && usage.tcpTombstones >= 0, 'tombstones');
    assert.ok(usage.tcpOutOfOrderBytes <= LIMITS.outOfOrderTotalBytes + LIMITS.outOfOrderBytes);
    assert.ok(usage.tcpOutOfOrderBytes >= 0);
    assert.ok(usage.udpFlows <= LIMITS.udpFlows, 'udp flows');
    assert.ok(usage.udpQueuedBytes <= LIMITS.udpQueueTotalBytes, 'udp bytes');
    assert.ok(usage.reassemblyPackets <= LIMITS.reassemblyPackets, 'reassembly');
    assert.ok(usage.reassemblyBytes <= LIMITS.reassemblyBytes, 'reassembly bytes');
    assert.ok(usage.controlPackets <= LIMITS.controlPackets, 'control');
    assert.ok(usage.controlBytes <= LIMITS.controlBytes, 'control bytes');
  }

  /** The layer lets go of everything, and time passes. */
  finish(): void {
    this.#dispatch(Number.POSITIVE_INFINITY);
    for (const flow of this.#flows) flow.reset();
    this.#advance(LONG_MS);
    const held = Object.entries(this.#stack.usage()).filter(([, count]) => count !== 0);
    assert.deepEqual(held, [], 'something is left');
    assert.equal(this.#stack.pollAt(), undefined, 'a deadline is left');
  }
}

/** A datagram behind extension headers of eight bytes each: options that are padding, an atomic fragment … */
function extended(
  base: {source: Uint8Array; destination: Uint8Array},
  extensions: readonly number[],
  datagram: Uint8Array,
): Uint8Array {
  const heads = extensions.map((_, at) => {
    const next = extensions[at + 1] ?? 17;
    return Uint8Array.of(next, 0, extensions[at] === 44 ? 0 : 1, 4, 0, 0, 0, 0);
  });
  const transport = concat(...heads, datagram);
  return frame({...base, protocol: extensions[0] ?? 17, transport});
}

function fragment(
  step: Extract<Step, {do: 'fragment'}>,
  base: {source: Uint8Array; destination: Uint8Array},
  text: Uint8Array,
): Uint8Array {
  const {offset, more, id, protocol} = step;
  if (step.version === 6) {
    const head = new Uint8Array(8);
    const view = new DataView(head.buffer);
    view.setUint8(0, protocol);
    view.setUint16(2, ((offset << 3) & 0xfff8) | (more ? 1 : 0));
    view.setUint32(4, id);
    return frame({...base, protocol: 44, transport: concat(head, text)});
  }
  const bytes = frame({...base, protocol, transport: text});
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  view.setUint16(14, id);
  view.setUint16(16, (more ? 0x2000 : 0) | (offset & 0x1fff));
  view.setUint16(20, 0);
  view.setUint16(20, checksum(bytes.subarray(10, 30)));
  return bytes;
}

/** How wild a round is: what one in so many packets suffers. */
interface Mood {
  readonly wild: number;
  readonly ports: number;
}

const INTACT: Arrival = {virtio: [1, 0, 0], damage: [], cut: 0};

function drawArrival(dice: Dice, {wild}: Mood): Arrival {
  if (!dice.chance(wild)) return INTACT;
  const gso = dice.of(0, 1, 4, 5, 0x81, dice.below(256));
  return {
    virtio: dice.chance(0.5)
      ? [dice.of(0, 1), 0, 0]
      : [dice.below(4), gso, dice.of(0, 1, 1460, dice.below(65_536))],
    damage: dice.damage(),
    cut: dice.chance(0.2) ? dice.below(80) : 0,
  };
}

/** Mostly what a kernel would send next; sometimes anything. */
function drawSegment(dice: Dice, place: Place, mood: Mood): Step {
  const near = (): number =>
    dice.chance(mood.wild)
      ? dice.of(1, -1, dice.below(3_000), -dice.below(3_000), dice.below(2 ** 32))
      : 0;
  const flags = dice.of(16, 16, 16, 16, 24, 24, 17, 17, 25, 48);
  return {
    do: 'segment',
    ...place,
    flags: dice.chance(mood.wild) ? dice.of(2, 4, 20, 18, 0xc2, dice.below(256)) : flags,
    seq: near(),
    ack: near(),
    window: dice.of(65_535, 65_535, 1_000, 1, 0, dice.below(65_536)),
    length: dice.of(0, 0, 0, 1, 100, 1_460, dice.below(3_000), dice.of(0, 64_240)),
    options: '',
    ...drawArrival(dice, mood),
  };
}

/** SYN, and the ACK of what answers it. */
function drawHandshake(dice: Dice, place: Place, mood: Mood): Step[] {
  const common = {...place, seq: 0, window: 65_535, length: 0, ...drawArrival(dice, mood)};
  return [
    {
      do: 'segment',
      flags: 2,
      ack: 0,
      options: OPTIONS[dice.below(OPTIONS.length)] ?? '',
      ...common,
    },
    {do: 'dispatch', room: 10},
    {do: 'segment', flags: 16, ack: 0, options: '', ...common},
  ];
}

/** A datagram in pieces, in any order; one may be missing, or come twice. */
function drawPieces(dice: Dice, place: Place, mood: Mood): Step[] {
  const id = dice.below(4);
  const count = 2 + dice.below(4);
  const pieces = Array.from(
    {length: count},
    (_, at): Step => ({
      do: 'fragment',
      ...place,
      protocol: 17,
      id,
      offset: at * 8,
      more: at < count - 1,
      length: 64,
      ...drawArrival(dice, mood),
    }),
  );
  if (dice.chance(0.3)) pieces.splice(dice.below(count), 1, ...pieces.slice(0, dice.below(3)));
  return dice.chance(0.5) ? pieces.reverse() : pieces;
}

function drawSteps(dice: Dice, mood: Mood): Step[] {
  const place: Place = {version: dice.of(4, 4, 6), port: 1 + dice.below(mood.ports)};
  const arrival = drawArrival(dice, mood);
  const kind = dice.random();
  if (kind < 0.4) {
    // Four times the same: duplicate ACKs.
    const segment = drawSegment(dice, place, mood);
    return dice.chance(0.05) ? [segment, segment, segment, segment] : [segment];
  }
  if (kind < 0.5) return drawHandshake(dice, place, mood);
  if (kind < 0.58) {
    const length = Math.min(dice.size(), 65_000);
    const extensions = dice.chance(0.7)
      ? []
      : Array.from({length: dice.below(11)}, () => dice.of(60, 60, 0, 43, 44, 51, 59, 132));
    return [{do: 'datagram', ...place, to: dice.below(4), length, extensions, ...arrival}];
  }
  if (kind < 0.62) return drawPieces(dice, place, mood);
  if (kind < 0.65) {
    const offset = dice.of(0, 0, 1, 2, 8, dice.below(8_192));
    const length = dice.of(8, 8, 16, 64, dice.below(1_500));
    const protocol = dice.of(17, 6, 1, 58, 132);
    const [id, more] = [dice.below(4), dice.chance(0.6)];
    return [{do: 'fragment', ...place, protocol, id, offset, more, length, ...arrival}];
  }
  if (kind < 0.68) {
    const type = dice.of(8, 128, 3, 1, 12, 4, dice.below(256));
    return [
      {do: 'icmp', ...place, type, code: dice.below(5), length: dice.below(1_400), ...arrival},
    ];
  }
  if (kind < 0.7) return [{do: 'unreachable', ...place, from: dice.below(4), ...arrival}];
  if (kind < 0.72) return [{do: 'raw', hex: dice.hex(dice.below(120))}];
  if (kind < 0.77) return [{do: 'wait', ms: dice.of(0, 1, 50, 200, 1_000, 6_000, 20_000, 160_000)}];
  if (kind < 0.85) return [{do: 'dispatch', room: dice.of(0, 1, 3, 1_000)}];
  if (kind < 0.87) return [{do: 'connect', ...place}];
  const verb = dice.of<Verb>(
    'accept',
    'refuse',
    'grant',
    'write',
    'write',
    'end',
    'end',
    'reset',
    'send',
    'fail',
    'close',
  );
  return [{do: 'verb', flow: dice.below(20), verb, n: dice.size()}];
}

export const netstackTarget: FuzzTarget<Step> = {
  name: 'netstack',
  generate(random) {
    const dice = new Dice(random);
    const mood: Mood = {wild: dice.of(0, 0.02, 0.1, 0.5), ports: dice.of(2, 4, 20)};
    return Array.from({length: 20 + dice.below(180)}, () => drawSteps(dice, mood)).flat();
  },
  run(steps) {
    const round = new Round();
    for (const step of steps) round.step(step);
    round.finish();
  },
};
