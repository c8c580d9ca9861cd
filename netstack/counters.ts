/**
 * What the stack has seen and dropped, one plain number per reason. Never reset; the driver reads
 * them for diagnostics and the tests to see why nothing happened.
 */
export interface Counters {
  /** Frames given to `process`. */
  framesIn: number;
  /** Packets that `emit` took. */
  framesOut: number;
  /** Dropped: no IP packet, or one whose headers contradict each other. */
  malformed: number;
  /** Dropped: a checksum did not match. */
  badChecksum: number;
  /** Dropped: the source is not an address of the namespace. */
  foreignSource: number;
  /** Dropped: multicast and broadcast (MLD, mDNS, SSDP …). */
  groupDestination: number;
  /** Dropped: a protocol that we do not carry. */
  unknownProtocol: number;
  /** Fragments taken in. */
  fragments: number;
  /** Packets made whole of fragments. */
  reassembled: number;
  /** Packets given up: a fragment was late, overlapped another, or made no sense. */
  reassemblyFailed: number;
  /** Packets given up: too many of them at once. */
  reassemblyLimit: number;

  /** Connections that a program began. */
  tcpOpened: number;
  /** Connections that we began, into the namespace. */
  connects: number;
  /** Those that did not come to be. */
  connectsFailed: number;
  /** Connections established. */
  tcpEstablished: number;
  /** SYNs answered by RST: too many unanswered dials. */
  pendingLimit: number;
  /** SYNs answered by RST, and connects refused: too many connections. */
  flowLimit: number;
  /** SYNs of a dial in progress: the program's kernel is still waiting. */
  synDuplicates: number;
  /** Segments for no connection of ours, answered by RST. */
  strayed: number;
  /** Segments outside of the window, or whose ACK is. */
  unacceptable: number;
  /** Challenge ACKs not sent: more than the rate allows. */
  challengesSuppressed: number;
  /** Out-of-order data thrown away: no room. */
  assemblerLimit: number;
  /** Segments sent again by timer. */
  timeouts: number;
  /** Segments sent again because of three duplicate ACKs. */
  fastRetransmits: number;
  /** Probes of a closed window. */
  windowProbes: number;
  /** Connections given up because the program's kernel stopped answering. */
  gaveUp: number;
  /** Tombstones forgotten before their time. */
  timeWaitLimit: number;

  /** UDP flows begun. */
  udpOpened: number;
  /** UDP flows that made room for another. */
  udpEvicted: number;
  /** Datagrams for the program dropped: its queue was full. */
  udpQueueLimit: number;
  /** Datagrams dropped: too large for IP, or of the other IP version. */
  udpUnsendable: number;
  /** Flows closed because the program's kernel says that nobody listens. */
  udpUnreachable: number;

  /** ICMP errors of ours not sent: more than the rate allows. */
  icmpRateLimit: number;
  /** Replies dropped: too many wait for the device. */
  controlLimit: number;
}

/** All zeros. */
export function createCounters(): Counters {
  return {
    framesIn: 0,
    framesOut: 0,
    malformed: 0,
    badChecksum: 0,
    foreignSource: 0,
    groupDestination: 0,
    unknownProtocol: 0,
    fragments: 0,
    reassembled: 0,
    reassemblyFailed: 0,
    reassemblyLimit: 0,
    tcpOpened: 0,
    connects: 0,
    connectsFailed: 0,
    tcpEstablished: 0,
    pendingLimit: 0,
    flowLimit: 0,
    synDuplicates: 0,
    strayed: 0,
    unacceptable: 0,
    challengesSuppressed: 0,
    assemblerLimit: 0,
    timeouts: 0,
    fastRetransmits: 0,
    windowProbes: 0,
    gaveUp: 0,
    timeWaitLimit: 0,
    udpOpened: 0,
    udpEvicted: 0,
    udpQueueLimit: 0,
    udpUnsendable: 0,
    udpUnreachable: 0,
    icmpRateLimit: 0,
    controlLimit: 0,
  };
}
