/**
 * Everything that could grow is bounded here. Each limit has a reason and a counter.
 */
export interface Limits {
  /** Connections, tombstones excluded. More than the ephemeral ports of the namespace twice over. */
  readonly flows: number;
  /**
   * Dials without an answer: more than one address has ephemeral ports (28,232), and so few that those
   * which nobody answers leave room for others. Peers with 10 to 8,192 here drop SYNs in silence and
   * stall programs for a second at a time.
   */
  readonly pending: number;
  /** How long a dial may take before it is given up, after the last SYN of the program: ms. */
  readonly pendingMs: number;
  /** TIME-WAIT tombstones: at 470 connections a second to one port, the kernel's own pace. */
  readonly timeWait: number;
  /** How long a tombstone answers a repeated FIN: ms. */
  readonly timeWaitMs: number;
  /** Out-of-order pieces of one connection. */
  readonly outOfOrderSegments: number;
  /** Out-of-order bytes of one connection. */
  readonly outOfOrderBytes: number;
  /** Out-of-order bytes of all connections together. */
  readonly outOfOrderTotalBytes: number;
  /** Queued chunks in one packet: the kernel takes 1,024 iovecs (IOV_MAX). */
  readonly partsPerPacket: number;
  /** UDP flows; the least recently used one makes room. */
  readonly udpFlows: number;
  /** Datagrams that wait for the device, per flow. */
  readonly udpQueueDatagrams: number;
  /** Bytes that wait for the device, per flow. */
  readonly udpQueueBytes: number;
  /** Bytes that wait for the device, all UDP flows together. */
  readonly udpQueueTotalBytes: number;
  /** Bytes of packets that lack fragments. */
  readonly reassemblyBytes: number;
  /** Packets that lack fragments. */
  readonly reassemblyPackets: number;
  /** How long to wait for a missing fragment: ms (Linux net.ipv4.ipfrag_time). */
  readonly reassemblyMs: number;
  /** ICMP errors per second. */
  readonly icmpPerSecond: number;
  /** ICMP errors at once. */
  readonly icmpBurst: number;
  /** Stateless replies (RST, ICMP, echo) that wait for the device. */
  readonly controlPackets: number;
  /** Bytes of them. */
  readonly controlBytes: number;
}

export const DEFAULT_LIMITS: Limits = {
  flows: 65_536,
  pending: 32_768,
  // Longer than a kernel keeps repeating its SYN: 127 s with net.ipv4.tcp_syn_retries = 6.
  pendingMs: 150_000,
  timeWait: 16_384,
  timeWaitMs: 5_000,
  outOfOrderSegments: 1_024,
  outOfOrderBytes: 1 << 20,
  outOfOrderTotalBytes: 64 << 20,
  partsPerPacket: 256,
  udpFlows: 16_384,
  udpQueueDatagrams: 128,
  udpQueueBytes: 256 << 10,
  udpQueueTotalBytes: 16 << 20,
  reassemblyBytes: 4 << 20,
  reassemblyPackets: 256,
  reassemblyMs: 30_000,
  icmpPerSecond: 1_000,
  icmpBurst: 50,
  controlPackets: 4_096,
  controlBytes: 4 << 20,
};
