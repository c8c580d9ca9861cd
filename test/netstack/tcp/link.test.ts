import test from 'ava';
import fc from 'fast-check';
import {Rig, seeded, stream} from '../../helpers/netstack.ts';
import {ModelPeer} from '../../helpers/netstack-peer.ts';
import {parse} from '../../helpers/packet.ts';

interface Link {
  readonly seed: number;
  /** Probabilities of each packet, both ways. */
  readonly loss: number;
  readonly duplicate: number;
  readonly reorder: number;
  readonly up: number;
  readonly down: number;
  readonly chunk: number;
  readonly buffer: number;
  readonly credit: number;
  readonly segment: number;
  readonly gso: boolean;
  readonly isn: number;
  readonly shrinks?: boolean;
}

/** Runs a whole connection over the link, and says what went wrong. */
function simulate(link: Link): string | undefined {
  const random = seeded(link.seed);
  const rig = new Rig({gso: link.gso, seed: link.seed, onTcp: (flow) => flow.accept(link.credit)});
  const peer = new ModelPeer({
    source: rig.source,
    destination: rig.destination,
    toSend: link.up,
    buffer: link.buffer,
    readSize: Math.max(1, Math.floor(link.buffer / 3)),
    segment: link.segment,
    isn: link.isn,
    ...(link.shrinks !== undefined && {shrinks: link.shrinks}),
  });
  /** Packets under way: [arrival, towards the stack, bytes]. */
  const wire: Array<[number, boolean, Uint8Array]> = [];
  const put = (toStack: boolean, bytes: Uint8Array): void => {
    const copies = random() < link.loss ? 0 : random() < link.duplicate ? 2 : 1;
    for (let copy = 0; copy < copies; copy += 1) {
      wire.push([
        rig.now + (random() < link.reorder ? Math.floor(random() * 30) : 0),
        toStack,
        bytes,
      ]);
    }
  };
  let written = 0;
  let ended = false;
  let overrun = false;
  let granted = link.credit;
  const isOver = (): boolean => peer.isDone && (rig.log.events.at(-1) ?? '') === 'close';
  for (let round = 0; round < 60_000; round += 1) {
    rig.now += 5;
    for (const packet of peer.send(rig.now, true)) {
      put(true, packet);
    }
    const due = wire.filter(([at]) => at <= rig.now);
    wire.splice(0, wire.length, ...wire.filter(([at]) => at > rig.now));
    for (const [, toStack, bytes] of due) {
      if (toStack) {
        rig.inject(bytes);
      } else {
        peer.receive(parse(bytes), rig.now);
      }
    }
    const log = rig.flows[0];
    if (log !== undefined) {
      // The remote end: takes what came some time later, sends at most 64 KiB ahead of the ACKs.
      overrun ||= log.received > granted;
      if (random() < 0.2 && log.received + link.credit > granted) {
        granted = log.received + link.credit;
        log.flow.grant(granted);
      }
      while (written < link.down && written - log.acked < 65_536) {
        const length = Math.min(link.chunk, link.down - written);
        log.flow.write(stream(written, length));
        written += length;
      }
      if (written === link.down && !ended) {
        ended = true;
        log.flow.end();
      }
    }
    rig.dispatch();
    for (const packet of rig.sent.splice(0)) {
      peer.observe(packet);
      put(false, packet.bytes);
    }
    if (peer.failure !== undefined || peer.isReset) {
      return peer.failure ?? 'reset';
    }
    if (rig.flows.length > 0 && isOver()) {
      break;
    }
  }
  if (!isOver()) {
    return `not done: ${peer.bytesRead} of ${link.down} down, ${rig.log.received} of ${link.up} up, ${rig.log.events.at(-1)}`;
  }
  if (rig.log.received !== link.up || !rig.log.isIntact) {
    return `up: ${rig.log.received} of ${link.up}`;
  }
  if (peer.bytesRead !== link.down || rig.log.acked !== link.down) {
    return `down: ${peer.bytesRead}, acked ${rig.log.acked} of ${link.down}`;
  }
  if (overrun) {
    return 'more was taken than granted';
  }
  if (peer.retracted >= 128) {
    return `the window has moved left by ${peer.retracted}`;
  }
  rig.advance(20_000);
  return rig.stack.pollAt() === undefined ? undefined : 'a timer is left';
}

const common = {
  seed: fc.integer(),
  up: fc.nat(60_000),
  down: fc.nat(60_000),
  chunk: fc.integer({min: 1, max: 9_000}),
  buffer: fc.integer({min: 2_000, max: 80_000}),
  credit: fc.integer({min: 4_000, max: 200_000}),
  segment: fc.constantFrom(100, 1460, 14_600),
  gso: fc.boolean(),
  isn: fc.oneof(fc.nat(0xffffffff), fc.constant(0xffffff00)),
};

test('over a perfect link all bytes arrive in both directions', (t) => {
  const links = fc.record({
    ...common,
    loss: fc.constant(0),
    duplicate: fc.constant(0),
    reorder: fc.constant(0),
  });
  fc.assert(
    fc.property(links, (link) => {
      t.is(simulate(link), undefined);
    }),
    {numRuns: 100, seed: 1},
  );
});

test('over a link that loses, repeats and reorders all bytes arrive in both directions', (t) => {
  const links = fc.record({
    ...common,
    loss: fc.double({min: 0, max: 0.2, noNaN: true}),
    duplicate: fc.double({min: 0, max: 0.3, noNaN: true}),
    reorder: fc.double({min: 0, max: 0.5, noNaN: true}),
  });
  fc.assert(
    fc.property(links, (link) => {
      t.is(simulate(link), undefined);
    }),
    {numRuns: 300, seed: 2},
  );
});

test('to a peer that takes back its window all bytes arrive, in both directions', (t) => {
  const links = fc.record({
    ...common,
    loss: fc.constantFrom(0, 0.05),
    duplicate: fc.constant(0),
    reorder: fc.constant(0),
    shrinks: fc.constant(true),
  });
  fc.assert(
    fc.property(links, (link) => {
      t.is(simulate(link), undefined);
    }),
    {numRuns: 100, seed: 3},
  );
});
