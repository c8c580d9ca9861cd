/**
 * What a stack holds at the moment. For diagnostics, and for tests that nothing is left behind: when all
 * flows are over and all deadlines past, every number is zero.
 */
export interface Usage {
  /** TCP connections, from the SYN to their end; tombstones excluded. */
  readonly tcpFlows: number;
  /** Those of them whose dial is not answered. */
  readonly tcpPending: number;
  /** TIME-WAIT tombstones. */
  readonly tcpTombstones: number;
  /** Out-of-order bytes of all connections. */
  readonly tcpOutOfOrderBytes: number;
  readonly udpFlows: number;
  /** Datagrams that wait for the device. */
  readonly udpQueuedDatagrams: number;
  /** Bytes of them. */
  readonly udpQueuedBytes: number;
  /** Packets that lack fragments. */
  readonly reassemblyPackets: number;
  /** Bytes of them. */
  readonly reassemblyBytes: number;
  /** Replies that wait for the device. */
  readonly controlPackets: number;
  /** Bytes of them. */
  readonly controlBytes: number;
  /** Deadlines. */
  readonly timers: number;
}
