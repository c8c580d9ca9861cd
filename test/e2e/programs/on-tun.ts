/**
 * on-tun.ts OPTIONS PROGRAM ARG…: runs a program in a sandbox whose TUN is served by the netstack alone: no
 * tunnel, no agent. What answers at an address hangs on the port (`serve`). When the program has ended,
 * writes a line of JSON: what the stack's handlers were told, and its counters.
 */
import {writeSync} from 'node:fs';
import {addressBytes} from '../../../layer/address.ts';
import {createSandbox} from '../../../layer/sandbox/sandbox.ts';
import {driveTun} from '../../../layer/tun.ts';
import {Stack} from '../../../netstack/stack.ts';
import type {Errno, StackHandler, TcpFlow, UdpFlow} from '../../../netstack/types.ts';
import {VIRTIO_LENGTH} from '../../../netstack/wire/virtio.ts';

export interface OnTunOptions {
  readonly mtu: number;
  /** As if the kernel had refused GSO packets. */
  readonly withoutGso?: boolean;
  /** The device takes no super-segments; all windows together may be so large, bytes. */
  readonly withoutTso?: number;
  /** More kernel settings. */
  readonly sysctls?: Readonly<Record<string, string>>;
}

export interface OnTunReport {
  /** By port: how TCP connections ended, in the order of their ends. */
  readonly ends: Readonly<Record<string, string[]>>;
  /** By port: the sizes of datagrams. */
  readonly datagrams: Readonly<Record<string, number[]>>;
  /** Whether the kernel takes GSO packets. */
  readonly takesGso: boolean;
  /** The largest packet that was read, bytes. */
  readonly largest: number;
  readonly counters: Readonly<Record<string, number>>;
  readonly usage: Readonly<Record<string, number>>;
}

/** A connect or datagram to port 2000 + n fails with the nth of these. */
const ERRNOS: readonly Errno[] = [
  'ECONNREFUSED',
  'ENETUNREACH',
  'EHOSTUNREACH',
  'EACCES',
  'EPERM',
  'ENOPROTOOPT',
  'EPROTO',
  'ETIMEDOUT',
];
const ADDRESSES = ['10.1.2.3', 'fd00::3'];
const CREDIT = 1 << 20;
/** Switches TSO off, as ethtool(8) does: SIOCETHTOOL with ETHTOOL_STSO. */
const TSO_OFF = `
import ctypes, fcntl, socket, struct
value = ctypes.create_string_buffer(struct.pack('II', 0x1f, 0))
request = struct.pack('16sP16x', b'eth0', ctypes.addressof(value))
fcntl.ioctl(socket.socket(socket.AF_INET, socket.SOCK_DGRAM), 0x8946, request)
`;
/** What a path lets through to port 9000. */
const PATH_MTU = 1_300;

const [json = '{}', ...argv] = process.argv.slice(2);
const options = JSON.parse(json) as OnTunOptions;
const ends: Record<string, string[]> = {};
const datagrams: Record<string, number[]> = {};
let largest = 0;
let takesGso = false;

/**
 * 7, 11 and 13 echo; 9 discards; 19 says as many bytes as it is asked for by a number; 21 ends first, with a
 * greeting; 23 resets after the first bytes.
 */
function serve(flow: TcpFlow): void {
  const {port} = flow.destination;
  const finish = (how: string): void => {
    ends[port] ??= [];
    ends[port].push(how);
  };
  const errno = ERRNOS[port - 2_000];
  if (errno !== undefined) {
    flow.refuse(errno);
    driver.kick();
    return;
  }
  let received = 0;
  let left = 0;
  let acked = 0;
  let written = 0;
  const say = (): void => {
    while (left > 0 && written - acked < CREDIT) {
      const block = Buffer.alloc(Math.min(left, 65_536));
      for (let at = 0; at < block.length; at += 4)
        block.writeUInt32LE(((written + at) * 7) >>> 0, at);
      left -= block.length;
      written += block.length;
      flow.write(block);
      if (left === 0) flow.end();
    }
  };
  flow.handler = {
    onData(chunk) {
      received += chunk.length;
      if (port === 7 || port === 11 || port === 13) flow.write(chunk.slice());
      if (port === 19) left = Number(Buffer.from(chunk).toString());
      if (port === 19) say();
      if (port === 23) flow.reset();
      flow.grant(received + CREDIT);
      driver.kick();
    },
    onEnd() {
      finish('end');
      flow.end();
      driver.kick();
    },
    onAcked(offset) {
      acked = offset;
      say();
      driver.kick();
    },
    onReset: finish,
    onClose: () => finish('close'),
  };
  flow.accept(CREDIT);
  if (port === 21) {
    flow.write(Buffer.from('hello'));
    flow.end();
  }
  driver.kick();
}

/** 7 echoes, 9 discards; 2000 + n fails, and answers too; a datagram to 9000 is too long for its path. */
function serveUdp(flow: UdpFlow): void {
  flow.handler = {
    onDatagram(to, payload) {
      datagrams[to.port] ??= [];
      datagrams[to.port]?.push(payload.length);
      const errno = ERRNOS[to.port - 2_000];
      if (errno !== undefined) flow.fail(to, errno);
      if (to.port === 9_000 && payload.length > PATH_MTU) flow.fail(to, 'EMSGSIZE', PATH_MTU);
      if (errno !== undefined) flow.send(to, Buffer.from('alive'));
      if (to.port === 7) flow.send(to, payload);
      driver.kick();
    },
    onClose: () => undefined,
  };
}

const handler: StackHandler = {
  onTcp: serve,
  onUdp: serveUdp,
  onEcho(echo) {
    driver.stack.echoReply(echo);
    driver.kick();
  },
};

const sandbox = createSandbox({
  argv,
  env: process.env,
  descriptors: [0, 1, 2],
  hostname: 'on-tun',
  addresses: ADDRESSES,
  ipv6: true,
  mtu: options.mtu,
  files: [],
  hostDiagnostics: false,
  log: () => undefined,
});
for (const [name, value] of Object.entries(options.sysctls ?? {})) {
  sandbox.launcher.sysctl(name, value);
}
if (options.withoutTso !== undefined) sandbox.launcher.run('/usr/bin/python3', ['-c', TSO_OFF]);
const driver = driveTun({
  fd: sandbox.tunFd,
  tap: {
    onRead(_frame, _offset, length) {
      largest = Math.max(largest, length - VIRTIO_LENGTH);
    },
    onWritten: () => undefined,
  },
  createStack(gso) {
    takesGso = gso;
    return new Stack(
      {
        mtu: options.mtu,
        addresses: ADDRESSES.map(addressBytes),
        random: Math.random,
        gso: gso && options.withoutGso !== true,
        ...(options.withoutTso !== undefined && {windowBudget: options.withoutTso}),
      },
      handler,
    );
  },
});
sandbox.launcher.process.once('exit', (code, signal) => {
  const {counters} = driver.stack;
  const report: OnTunReport = {
    ends,
    datagrams,
    takesGso,
    largest,
    counters: {...counters, ...driver.counters},
    usage: {...driver.stack.usage()},
  };
  writeSync(1, `\n${JSON.stringify(report)}\n`);
  driver[Symbol.dispose]();
  sandbox[Symbol.dispose]();
  process.exitCode = code ?? (signal === null ? 0 : 1);
});
sandbox.launcher.exec('container');
