/**
 * What the agent counts over all its clients, and how it tells: the text format of Prometheus, 0.0.4.
 *
 * Numbers only: nothing of the target's, no name, no address. What a tunnel counts itself is read when somebody asks,
 * so that counting costs the hot path nothing; what it has counted is kept when it goes.
 */

import {DatagramSocket} from '../sockets/datagram-socket.ts';
import {standbyCounts} from '../sockets/standby.ts';
import type {MuxCounters} from '../tunnel/mux-types.ts';
import type {StreamKind} from '../tunnel/types.ts';
import type {Capacity} from './capacity.ts';
import type {CaptureCounts} from './intercept/capture/capture.ts';
import {waitingCopies} from './intercept/waiting-copies.ts';
import {counter, gauge, type Samples} from './metrics-text.ts';

/** What of the target's traffic goes through the agent. */
export interface Incoming {
  readonly connections: number;
  /** Those of them that the agent stays for, after it has left. */
  readonly lingering: number;
  readonly captured: CaptureCounts;
  /** Copies of connections and requests that were given up, as a program did not take them in time. */
  readonly slowCopies: number;
}

/** What the process says of itself. */
export interface ProcessFacts {
  /** Of mirrord. */
  readonly version: string;
  readonly node: string;
  readonly arch: string;
  readonly uptimeSeconds: number;
  readonly cpuSeconds: number;
  readonly residentBytes: number;
}

/** What is added up over tunnels. */
const SUMMED = [
  ...(['bytesIn', 'bytesOut', 'datagramsDroppedFull', 'datagramsDroppedLate'] as const),
  ...(['suspended', 'resumed', 'queueStalls', 'retentionStalls'] as const),
] as const;
type Sums = Record<(typeof SUMMED)[number], number>;

interface StreamCounts {
  open: number;
  total: number;
  refused: number;
}

const PREFIX = 'mirrord_agent_';

/** Counters of an agent. */
export class Metrics {
  /** Connections to the endpoint itself that were one too many. */
  scrapesRefused = 0;
  readonly #capacity: Capacity | undefined;
  readonly #incoming: Incoming | undefined;
  readonly #tunnels = new Set<Readonly<MuxCounters>>();
  #clientsTotal = 0;
  readonly #gone = newSums();
  readonly #streams: Record<StreamKind, StreamCounts> = {
    tcp: {open: 0, total: 0, refused: 0},
    udp: {open: 0, total: 0, refused: 0},
    echo: {open: 0, total: 0, refused: 0},
    call: {open: 0, total: 0, refused: 0},
    unix: {open: 0, total: 0, refused: 0},
  };

  /** `capacity`: what clients share. */
  constructor(capacity?: Capacity, incoming?: Incoming) {
    this.#capacity = capacity;
    this.#incoming = incoming;
  }

  /** A client has shown its token; `counters` are those of its tunnel, which go on counting. */
  clientJoined(counters: Readonly<MuxCounters>): void {
    this.#clientsTotal++;
    this.#tunnels.add(counters);
  }

  /** The tunnel of these counters is over. */
  clientLeft(counters: Readonly<MuxCounters>): void {
    if (this.#tunnels.delete(counters)) addTo(this.#gone, counters);
  }

  /** A client has opened a stream. */
  streamOpened(kind: StreamKind): void {
    this.#streams[kind].open++;
    this.#streams[kind].total++;
  }

  /** Such a stream is over, whether it came to anything or not. */
  streamClosed(kind: StreamKind): void {
    this.#streams[kind].open--;
  }

  /** A client has as many streams of a kind as it may. */
  streamRefused(kind: StreamKind): void {
    this.#streams[kind].refused++;
  }

  /** Returns the text: lines that end with a line feed. */
  render({version, node, arch, uptimeSeconds, cpuSeconds, residentBytes}: ProcessFacts): string {
    const sums = newSums();
    for (const counters of [this.#gone, ...this.#tunnels]) addTo(sums, counters);
    const build = `{version="${version}",node="${node}",arch="${arch}"}`;
    return [
      gauge(`${PREFIX}build_info`, 'What runs here; always 1.', [[build, 1]]),
      gauge(`${PREFIX}uptime_seconds`, 'Since the agent is at its target.', uptimeSeconds),
      gauge(
        `${PREFIX}clients_connected`,
        'Clients, absent ones too that may come back.',
        this.#tunnels.size,
      ),
      counter(`${PREFIX}clients_total`, 'Clients that have shown the token.', this.#clientsTotal),
      counter(`${PREFIX}connections_lost_total`, 'Connections that broke.', sums.suspended),
      counter(`${PREFIX}connections_resumed_total`, 'Clients that came back.', sums.resumed),
      gauge(`${PREFIX}streams_open`, 'Streams of clients, by kind.', this.#byKind('open')),
      counter(`${PREFIX}streams_total`, 'Streams that were opened.', this.#byKind('total')),
      counter(
        `${PREFIX}streams_refused_total`,
        'Streams above what one client may have.',
        this.#byKind('refused'),
      ),
      counter(`${PREFIX}tunnel_received_bytes_total`, 'Bytes from clients.', sums.bytesIn),
      counter(`${PREFIX}tunnel_sent_bytes_total`, 'Bytes to clients.', sums.bytesOut),
      counter(
        `${PREFIX}datagrams_dropped_total`,
        'Datagrams to clients that were one too many, or late.',
        [
          ['{reason="full"}', sums.datagramsDroppedFull],
          ['{reason="late"}', sums.datagramsDroppedLate],
        ],
      ),
      counter(
        `${PREFIX}datagrams_unsent_total`,
        'Datagrams of clients that the kernel took too late.',
        DatagramSocket.dropped,
      ),
      ...(this.#incoming === undefined ? [] : renderIncoming(this.#incoming)),
      counter(`${PREFIX}memory_stalls_total`, 'Times that something waited for memory.', [
        ['{use="queued"}', sums.queueStalls],
        ['{use="kept"}', sums.retentionStalls],
      ]),
      ...(this.#capacity === undefined ? [] : renderCapacity(this.#capacity)),
      counter(
        `${PREFIX}scrapes_refused_total`,
        'Connections to this endpoint that were one too many.',
        this.scrapesRefused,
      ),
      counter('process_cpu_seconds_total', 'Time on a CPU.', cpuSeconds),
      gauge('process_resident_memory_bytes', 'Memory.', residentBytes),
    ].join('');
  }

  #byKind(what: keyof StreamCounts): Samples {
    return Object.entries(this.#streams).map(([kind, counts]) => [
      `{kind="${kind}"}`,
      counts[what],
    ]);
  }
}

function renderIncoming({connections, lingering, captured, slowCopies}: Incoming): string[] {
  return [
    gauge(
      `${PREFIX}incoming_connections`,
      'Connections to the target that go through the agent.',
      connections,
    ),
    gauge(
      `${PREFIX}lingering_connections`,
      'Those of them that the agent, which has left, stays for.',
      lingering,
    ),
    counter(
      `${PREFIX}captured_packets_total`,
      'Copies of packets that were read, for who mirrors.',
      captured.packets,
    ),
    counter(`${PREFIX}captured_packets_lost_total`, 'Copies of packets that were of no use.', [
      ['{reason="full"}', captured.dropped],
      ['{reason="checksum"}', captured.broken],
      ['{reason="truncated"}', captured.truncated],
    ]),
    gauge(
      `${PREFIX}captured_connections`,
      'Connections that are put together from copies of packets.',
      captured.open,
    ),
    counter(`${PREFIX}captured_connections_total`, 'Those that ever were.', captured.connections),
    counter(`${PREFIX}copies_cut_off_total`, 'Copies for programs that were given up.', [
      ['{reason="lost"}', captured.cutOff],
      ['{reason="slow"}', slowCopies],
    ]),
    ...renderStandby(),
  ];
}

function renderStandby(): string[] {
  const {passing, held, bytes, refusedConnections, refusedBytes} = standbyCounts();
  return [
    gauge(`${PREFIX}standby_connections`, 'What would happen to them if the agent was killed.', [
      ['{end="goes on"}', passing],
      ['{end="breaks"}', held],
    ]),
    gauge(`${PREFIX}standby_memory_bytes`, 'What is kept of them for that.', bytes),
    counter(
      `${PREFIX}standby_connections_refused_total`,
      'Connections that would break, being one too many.',
      refusedConnections,
    ),
    counter(
      `${PREFIX}standby_refused_bytes_total`,
      'What could not be kept, so that connections would break.',
      refusedBytes,
    ),
  ];
}

function renderCapacity({memory, clientsRefused, connectionsDropped}: Capacity): string[] {
  const {windows, held, queued, kept} = memory;
  const uses = Object.entries({windows, held, queued, kept, copies: waitingCopies});
  const of = (read: 'bytes' | 'peakBytes' | 'capBytes'): Samples =>
    uses.map(([use, pool]) => [`{use="${use}"}`, pool[read]]);
  return [
    gauge(`${PREFIX}memory_bytes`, 'What clients use of the memory they share.', of('bytes')),
    gauge(`${PREFIX}memory_peak_bytes`, 'The most they used at a time.', of('peakBytes')),
    gauge(`${PREFIX}memory_limit_bytes`, 'What they may use.', of('capBytes')),
    counter(`${PREFIX}clients_refused_total`, 'Clients that were one too many.', clientsRefused),
    counter(
      `${PREFIX}connections_dropped_total`,
      'Connections to the target that were reset for want of memory.',
      connectionsDropped,
    ),
  ];
}

function newSums(): Sums {
  return Object.fromEntries(SUMMED.map((name) => [name, 0])) as Sums;
}

function addTo(sums: Sums, counters: Readonly<Sums>): void {
  for (const name of SUMMED) sums[name] += counters[name];
}
