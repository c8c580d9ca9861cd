/**
 * Packets as a kernel would write them to its TUN device, built and read by code that shares nothing
 * with the stack's own.
 */

/** Bytes of the virtio_net_hdr. */
export const VIRTIO = 10;

export interface PacketFields {
  readonly source: Uint8Array;
  readonly destination: Uint8Array;
  readonly protocol: number;
  readonly transport: Uint8Array;
  /** virtio_net_hdr: flags, gso_type, gso_size. */
  readonly flags?: number;
  readonly gsoType?: number;
  readonly gsoSize?: number;
}

/** Parses "10.0.0.1" or "fd00::1". */
export function ip(text: string): Uint8Array {
  if (!text.includes(':')) {
    return Uint8Array.from(text.split('.').map(Number));
  }
  const [left = '', right = ''] = text.split('::');
  const words = (part: string) => (part === '' ? [] : part.split(':').map((w) => parseInt(w, 16)));
  const [a, b] = [words(left), words(right)];
  const all = [...a, ...new Array(8 - a.length - b.length).fill(0), ...b];
  return Uint8Array.from(all.flatMap((word) => [word >> 8, word & 0xff]));
}

/** The other way round; IPv6 without shortening. */
export function ipText(address: Uint8Array): string {
  if (address.length === 4) {
    return address.join('.');
  }
  const words: string[] = [];
  for (let at = 0; at < 16; at += 2) {
    words.push((((address[at] ?? 0) << 8) | (address[at + 1] ?? 0)).toString(16));
  }
  return words.join(':');
}

export function concat(...parts: Uint8Array[]): Uint8Array {
  return Uint8Array.from(Buffer.concat(parts));
}

/** A naive Internet checksum over any number of pieces of even length (the last may be odd). */
export function checksum(...parts: Uint8Array[]): number {
  const bytes = concat(...parts);
  let sum = 0;
  for (let at = 0; at < bytes.length; at += 2) {
    sum += ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);
    sum = (sum & 0xffff) + (sum >> 16);
  }
  return ~sum & 0xffff;
}

/** The pseudo-header of TCP, UDP and ICMPv6 (the sum is the same in both versions). */
export function pseudo(from: Uint8Array, to: Uint8Array, protocol: number, length: number) {
  return concat(from, to, Uint8Array.of(0, protocol, length >> 8, length & 0xff));
}

export function ipHeader(fields: PacketFields, extra: {fragment?: number; id?: number} = {}) {
  const {source, destination, protocol, transport} = fields;
  if (source.length === 16) {
    const head = new Uint8Array(40);
    const view = new DataView(head.buffer);
    view.setUint8(0, 0x60);
    view.setUint16(4, transport.length);
    view.setUint8(6, protocol);
    view.setUint8(7, 64);
    head.set(source, 8);
    head.set(destination, 24);
    return head;
  }
  const head = new Uint8Array(20);
  const view = new DataView(head.buffer);
  view.setUint8(0, 0x45);
  view.setUint16(2, 20 + transport.length);
  view.setUint16(4, extra.id ?? 7);
  view.setUint16(6, extra.fragment ?? 0x4000);
  view.setUint8(8, 64);
  view.setUint8(9, protocol);
  head.set(source, 12);
  head.set(destination, 16);
  view.setUint16(10, checksum(head));
  return head;
}

/** A whole frame: virtio header, IP header, transport. */
export function frame(fields: PacketFields): Uint8Array {
  const virtio = new Uint8Array(VIRTIO);
  const view = new DataView(virtio.buffer);
  view.setUint8(0, fields.flags ?? 0);
  view.setUint8(1, fields.gsoType ?? 0);
  view.setUint16(4, fields.gsoSize ?? 0, true);
  return concat(virtio, ipHeader(fields), fields.transport);
}

/** A UDP datagram with a complete checksum. */
export function udp(
  [source, sourcePort]: readonly [Uint8Array, number],
  [destination, destinationPort]: readonly [Uint8Array, number],
  payload: Uint8Array,
): Uint8Array {
  const datagram = new Uint8Array(8 + payload.length);
  const view = new DataView(datagram.buffer);
  view.setUint16(0, sourcePort);
  view.setUint16(2, destinationPort);
  view.setUint16(4, datagram.length);
  datagram.set(payload, 8);
  const sum = checksum(pseudo(source, destination, 17, datagram.length), datagram);
  view.setUint16(6, sum === 0 ? 0xffff : sum);
  return datagram;
}

/** An ICMP (or ICMPv6) message with a complete checksum. */
export function icmp(
  [source, destination]: readonly [Uint8Array, Uint8Array],
  {type, code, rest}: {type: number; code: number; rest: number},
  data: Uint8Array,
): Uint8Array {
  const message = new Uint8Array(8 + data.length);
  const view = new DataView(message.buffer);
  view.setUint8(0, type);
  view.setUint8(1, code);
  view.setUint32(4, rest);
  message.set(data, 8);
  const head = source.length === 16 ? pseudo(source, destination, 58, message.length) : undefined;
  view.setUint16(2, head === undefined ? checksum(message) : checksum(head, message));
  return message;
}

export interface ParsedPacket {
  readonly virtio: {
    flags: number;
    gsoType: number;
    hdrLen: number;
    gsoSize: number;
    csumStart: number;
    csumOffset: number;
  };
  readonly source: Uint8Array;
  readonly destination: Uint8Array;
  readonly protocol: number;
  readonly transport: Uint8Array;
  readonly bytes: Uint8Array;
}

/** Takes a packet of the stack apart, and throws if its IP header or checksum is wrong. */
export function parse(bytes: Uint8Array): ParsedPacket {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const virtio = {
    flags: view.getUint8(0),
    gsoType: view.getUint8(1),
    hdrLen: view.getUint16(2, true),
    gsoSize: view.getUint16(4, true),
    csumStart: view.getUint16(6, true),
    csumOffset: view.getUint16(8, true),
  };
  const packet = bytes.subarray(VIRTIO);
  const version = (packet[0] ?? 0) >> 4;
  const length = version === 4 ? view.getUint16(VIRTIO + 2) : 40 + view.getUint16(VIRTIO + 4);
  if (length !== packet.length) {
    throw new Error(`the IP header promises ${length} bytes, there are ${packet.length}`);
  }
  const headerLength = version === 4 ? 20 : 40;
  if (version === 4 && checksum(packet.subarray(0, 20)) !== 0) {
    throw new Error('the IPv4 header checksum is wrong');
  }
  const at = version === 4 ? 12 : 8;
  const size = version === 4 ? 4 : 16;
  const parsed = {
    virtio,
    source: packet.subarray(at, at + size),
    destination: packet.subarray(at + size, at + 2 * size),
    protocol: packet[version === 4 ? 9 : 6] ?? 0,
    transport: packet.subarray(headerLength),
    bytes,
  };
  verifyTransport(parsed, headerLength);
  return parsed;
}

function verifyTransport(packet: ParsedPacket, headerLength: number): void {
  const {virtio, source, destination, protocol, transport} = packet;
  const head = pseudo(source, destination, protocol, transport.length);
  if ((virtio.flags & 1) === 0) {
    const complete = protocol === 1 ? checksum(transport) : checksum(head, transport);
    if (complete !== 0) {
      throw new Error('the transport checksum is wrong');
    }
    return;
  }
  if (virtio.csumStart !== headerLength || virtio.csumOffset !== (protocol === 6 ? 16 : 6)) {
    throw new Error(`csum_start ${virtio.csumStart}, csum_offset ${virtio.csumOffset}`);
  }
  const at = virtio.csumOffset;
  const field = ((transport[at] ?? 0) << 8) | (transport[at + 1] ?? 0);
  if (field !== (~checksum(head) & 0xffff)) {
    throw new Error('the partial checksum is not the pseudo-header sum');
  }
}
