/**
 * Two of our stacks over a link that loses, repeats, reorders and damages packets, in virtual time. One
 * connects (the IN role), the other one accepts (OUT); both send a stream, read at their own pace, and
 * close when they like. Everything follows from the plan, its seed included.
 */
import {Stack} from '../../netstack/stack.ts';
import type {OutPacket, TcpConnection, TcpFlow, TcpHandler} from '../../netstack/types.ts';
import {PROGRAM4, PROGRAM6, SERVER4, SERVER6, seeded, stream} from './netstack.ts';
import {checksum, concat, parse, pseudo, VIRTIO} from './packet.ts';

/** What one end does. */
export interface EndPlan {
  /** Bytes that it sends before it ends. */
  readonly send: number;
  /** Bytes of one write. */
  readonly chunk: number;
  /** The credit that it gives at a time, bytes: the window. */
  readonly credit: number;
  /** Milliseconds from bytes received to credit for as many more. */
  readonly readMs: number;
  /** How many numbers its ISN is below 2^32; undefined: wherever it falls. */
  readonly belowWrap?: number | undefined;
}

export interface LinkPlan {
  readonly seed: number;
  readonly version: 4 | 6;
  readonly mtu: number;
  readonly gso: boolean;
  /** Probabilities, for each packet. */
  readonly loss: number;
  readonly duplicate: number;
  readonly reorder: number;
  readonly corrupt: number;
  /** That the device is full, for each packet. */
  readonly full: number;
  /** Milliseconds one way. */
  readonly delay: number;
  readonly client: EndPlan;
  readonly server: EndPlan;
}

/** Bytes that an end has written and not seen acknowledged, at most. */
const UNACKED = 65_536;
/** Steps after which a plan counts as stuck. */
const MAX_STEPS = 400_000;
/** How much later a packet that is overtaken comes, ms. */
const REORDER_MS = 30;
const SERVER_PORT = 80;
const CLIENT_PORT = 40_000;

interface Arrival {
  readonly at: number;
  readonly to: End;
  readonly bytes: Uint8Array;
}

class End {
  readonly plan: EndPlan;
  readonly stack: Stack;
  /** Its clock is that much ahead of the link's. */
  readonly ahead: number;
  connection: TcpConnection | undefined;
  received = 0;
  written = 0;
  acked = 0;
  granted: number;
  hasEnded = false;
  heardEnd = false;
  /** How it ended. */
  over: string | undefined;
  failure: string | undefined;
  /** When the next credit is due. */
  readAt = Number.POSITIVE_INFINITY;

  constructor(
    plan: EndPlan,
    link: LinkPlan,
    {peer, ahead}: {peer: Uint8Array; ahead: number},
    now: () => number,
  ) {
    this.plan = plan;
    this.ahead = ahead;
    this.granted = plan.credit;
    this.stack = new Stack(
      {mtu: link.mtu, addresses: [peer], random: seeded(link.seed), gso: link.gso},
      {
        onTcp: (flow) => {
          if (this.connection !== undefined) {
            this.#acceptLate(flow);
            return;
          }
          this.connection = flow;
          flow.handler = this.handler(now);
          flow.accept(this.granted);
        },
        onUdp: () => {},
        onEcho: () => {},
      },
    );
  }

  /** A repeated SYN that comes when the connection is over begins another: it must come to nothing. */
  #acceptLate(flow: TcpFlow): void {
    const fail = (what: string) => (): void => {
      this.failure = `${what} of a late SYN`;
    };
    flow.handler = {
      onData: fail('data'),
      onEnd: fail('the end'),
      onAcked: fail('an ACK'),
      onReset: () => undefined,
      onClose: fail('the close'),
    };
    if (this.over === undefined) this.failure = 'a second connection beside the first';
    flow.accept(this.granted);
  }

  handler(now: () => number): TcpHandler {
    const finish = (how: string): void => {
      if (this.over !== undefined) this.failure = `${how} after ${this.over}`;
      this.over = how;
    };
    return {
      onData: (chunk) => {
        if (this.over !== undefined || this.heardEnd) this.failure = 'data after the end';
        if (Buffer.compare(chunk, stream(this.received, chunk.length)) !== 0) {
          this.failure = `wrong bytes at ${this.received}`;
        }
        this.received += chunk.length;
        if (this.received > this.granted) this.failure = 'more was taken than granted';
        this.readAt = Math.min(this.readAt, now() + this.plan.readMs);
      },
      onEnd: () => {
        if (this.heardEnd) this.failure = 'two ends';
        this.heardEnd = true;
      },
      onAcked: (offset) => {
        if (offset <= this.acked || offset > this.written) this.failure = `acked ${offset}`;
        this.acked = offset;
      },
      onReset: (reason) => finish(reason),
      onRefused: (errno) => finish(errno),
      onClose: () => finish('close'),
    };
  }

  /** Reads and writes what is due. */
  act(now: number): void {
    const {connection, plan} = this;
    if (this.over !== undefined) this.readAt = Number.POSITIVE_INFINITY;
    if (connection === undefined || this.over !== undefined) return;
    if (this.readAt <= now) {
      this.readAt = Number.POSITIVE_INFINITY;
      this.granted = this.received + plan.credit;
      connection.grant(this.granted);
    }
    while (this.written < plan.send && this.written - this.acked < UNACKED) {
      const length = Math.min(plan.chunk, plan.send - this.written);
      connection.write(stream(this.written, length));
      this.written += length;
    }
    if (this.written === plan.send && !this.hasEnded) {
      this.hasEnded = true;
      connection.end();
    }
  }

  pollAt(): number {
    const at = this.stack.pollAt();
    return at === undefined ? Number.POSITIVE_INFINITY : at - this.ahead;
  }
}

/** The packet as one long one with complete checksums: what is damaged on the way shows. */
function seal(packet: OutPacket): Uint8Array {
  const head = packet.head.subarray(0, packet.headLength);
  const bytes = concat(head, ...packet.parts.slice(0, packet.partCount));
  const {source, destination, protocol, transport, virtio} = parse(bytes);
  if ((virtio.flags & 1) === 0) return bytes;
  bytes.fill(0, 0, VIRTIO);
  transport.fill(0, virtio.csumOffset, virtio.csumOffset + 2);
  const sum = checksum(pseudo(source, destination, protocol, transport.length), transport);
  transport.set([sum >> 8, sum & 0xff], virtio.csumOffset);
  return bytes;
}

/** SEG.SEQ of a packet, and whether it is a SYN. */
function sequence({head}: OutPacket, version: 4 | 6): {seq: number; isSyn: boolean} {
  const view = new DataView(head.buffer, head.byteOffset + VIRTIO + (version === 4 ? 20 : 40));
  return {seq: view.getUint32(4), isSyn: (view.getUint8(13) & 2) !== 0};
}

/** The ISN of the end's first connection, as it is with a clock that starts at `start`. */
function isnOf(link: LinkPlan, start: number, isClient: boolean): number {
  let isn = 0;
  const [client, server] = addresses(link.version);
  const stack = new Stack(
    {mtu: 1500, addresses: [server, client], random: seeded(link.seed), gso: true},
    {onTcp: (flow) => flow.accept(0), onUdp: () => {}, onEcho: () => {}},
  );
  const look = (packet: OutPacket): boolean => {
    const bytes = concat(packet.head.subarray(0, packet.headLength));
    isn = sequence(packet, link.version).seq;
    if (!isClient) stack.process(bytes, 0, bytes.length, start);
    return true;
  };
  stack.dispatch(start, () => true); // it learns the time
  stack.connectTcp(
    {address: client, port: CLIENT_PORT},
    {address: server, port: SERVER_PORT},
    {onData() {}, onEnd() {}, onAcked() {}, onReset() {}, onClose() {}},
  );
  stack.dispatch(start, look);
  return isn;
}

function addresses(version: 4 | 6): [client: Uint8Array, server: Uint8Array] {
  return version === 4 ? [SERVER4, PROGRAM4] : [SERVER6, PROGRAM6];
}

/** Where the end's clock has to start for its ISN to be `belowWrap` below 2^32, give or take 250. */
function clockFor(link: LinkPlan, plan: EndPlan, isClient: boolean): number {
  const start = 1_000;
  if (plan.belowWrap === undefined) return start;
  const missing = (2 ** 32 - plan.belowWrap - isnOf(link, start, isClient)) >>> 0;
  return start + Math.floor(missing / 250);
}

/**
 * Runs the plan to its end; returns what went wrong, undefined if nothing did. `onIsn` is told the ISNs
 * that were used, the client's first.
 */
export function simulateLink(
  link: LinkPlan,
  onIsn: (isn: number) => void = () => {},
): string | undefined {
  const random = seeded(link.seed);
  const [clientAddress, serverAddress] = addresses(link.version);
  let now = 0;
  const clock = (): number => now;
  const client = new End(
    link.client,
    link,
    {peer: serverAddress, ahead: clockFor(link, link.client, true)},
    clock,
  );
  const server = new End(
    link.server,
    link,
    {peer: clientAddress, ahead: clockFor(link, link.server, false)},
    clock,
  );
  const ends = [client, server];
  const wire: Arrival[] = [];
  const send = (to: End, packet: OutPacket): boolean => {
    if (random() < link.full) return false;
    const bytes = seal(packet);
    const {seq, isSyn} = sequence(packet, link.version);
    if (isSyn) onIsn(seq);
    const copies = random() < link.loss ? 0 : random() < link.duplicate ? 2 : 1;
    for (let copy = 0; copy < copies; copy += 1) {
      const late = random() < link.reorder ? random() * REORDER_MS : 0;
      const arrived = bytes.slice();
      if (random() < link.corrupt) {
        const at = VIRTIO + Math.floor(random() * (bytes.length - VIRTIO));
        arrived[at] = (arrived[at] ?? 0) ^ (1 << Math.floor(random() * 8));
      }
      wire.push({at: now + link.delay + late, to, bytes: arrived});
    }
    return true;
  };

  client.stack.dispatch(client.ahead, () => true); // it learns the time
  const connection = client.stack.connectTcp(
    {address: clientAddress, port: CLIENT_PORT},
    {address: serverAddress, port: SERVER_PORT},
    client.handler(clock),
  );
  if (typeof connection === 'string') return connection;
  client.connection = connection;
  connection.grant(client.granted);

  for (let step = 0; step < MAX_STEPS; step += 1) {
    for (const end of ends) end.act(now);
    client.stack.dispatch(now + client.ahead, (packet) => send(server, packet));
    server.stack.dispatch(now + server.ahead, (packet) => send(client, packet));
    const failure = client.failure ?? server.failure;
    if (failure !== undefined) return failure;
    wire.sort((a, b) => a.at - b.at);
    const next = Math.min(
      wire[0]?.at ?? Number.POSITIVE_INFINITY,
      ...ends.map((end) => Math.min(end.pollAt(), end.readAt)),
    );
    if (next === Number.POSITIVE_INFINITY) return verdict(link, client, server);
    // A full device is tried again a little later.
    now = Math.max(next, now + (next <= now ? 0.5 : 0));
    while ((wire[0]?.at ?? Number.POSITIVE_INFINITY) <= now) {
      const {to, bytes} = wire.shift() as Arrival;
      to.stack.process(bytes, 0, bytes.length, now + to.ahead);
    }
  }
  return `stuck: ${ends.map((end) => `${end.received} of its peer's, ${end.over}`).join('; ')}`;
}

function verdict(link: LinkPlan, client: End, server: End): string | undefined {
  for (const [end, peer, name] of [
    [client, server, 'client'],
    [server, client, 'server'],
  ] as const) {
    if (end.received !== peer.plan.send) return `${name}: ${end.received} of ${peer.plan.send}`;
    // A tombstone that lasts 5 s does not outlast the pauses between repeats after some losses: who waits
    // for the last ACK then gets a RST from a peer that has closed in good order.
    const mayBeLost = link.loss + link.corrupt > 0 && peer.over === 'close';
    const isCutShort = mayBeLost && end.over === 'reset' && end.heardEnd;
    if (!isCutShort) {
      if (end.over !== 'close' || !end.heardEnd) return `${name}: ${end.over}`;
      if (end.acked !== end.plan.send) return `${name}: acked ${end.acked} of ${end.plan.send}`;
    }
    const held = Object.entries(end.stack.usage()).filter(([, count]) => count !== 0);
    if (held.length > 0) return `${name} holds ${JSON.stringify(Object.fromEntries(held))}`;
  }
  return undefined;
}
