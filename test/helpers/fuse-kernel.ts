/** A kernel's side of /dev/fuse: asks a FileServer, and hears the answers. */

import os from 'node:os';
import type {FileClient} from '../../layer/files/file-client.ts';
import {FileServer} from '../../layer/files/file-server.ts';
import type {FileSystem} from '../../layer/files/file-system.ts';
import {
  IN_HEADER_BYTES,
  NOTIFY_STORE,
  OPCODE,
  type Opcode,
} from '../../layer/files/fuse/protocol.ts';
import {filePolicy} from '../../layer/files/policy.ts';
import {Sources} from '../../layer/files/sources.ts';

const {EINVAL} = os.constants.errno;
const none = {readWrite: [], readOnly: [], local: [], notFound: [], mapping: {}};
const around = {home: '/home/ann', cwd: '/', temporary: '/tmp'};

/** What a request is answered with. */
export interface FuseAnswer {
  readonly errno: number;
  readonly body: Buffer;
}

export interface FuseKernel extends Disposable {
  readonly server: FileServer;
  /** Answers that nobody waits for. */
  readonly strays: number;
  /** Nodes whose attributes are said to be old. */
  readonly outdated: readonly number[];
  readonly given: readonly Given[];
  /** Answers by the number of the request, of `send`. */
  readonly errnos: ReadonlyMap<number, number>;
  /** Sends a request with a number of one's own. */
  send(opcode: number, unique: number, body: Uint8Array, node?: number): void;
  /** Asks, and waits for the answer. */
  ask(name: Opcode, body?: Uint8Array, node?: number): Promise<FuseAnswer>;
}

/** What the kernel's cache is given of a node, and how much of it is said to come. */
export interface Given {
  readonly node: number;
  readonly length: number;
  readonly content: Buffer;
}

/** A server all of whose files are in `files`, far from this machine's. `onGiven`: what it is told that gives to the cache. */
export function fuseKernel(
  files: FileClient | FileSystem,
  {
    firstBytes = 128_000,
    now = () => performance.now(),
    onGiven = 0,
    notFound = [] as readonly string[],
  } = {},
): FuseKernel {
  const waiting = new Map<number, (answer: FuseAnswer) => void>();
  const errnos = new Map<number, number>();
  /** How much each write wants to have written. */
  const writing = new Map<number, number>();
  const outdated: number[] = [];
  const given: Given[] = [];
  let last = 1_000_000;
  let strays = 0;
  const policy = filePolicy({...none, notFound, mode: 'write'}, around);
  const system = 'client' in files ? files : {client: files};
  const server = new FileServer({
    sources: new Sources({policy, pod: system, host: system}),
    scaffold: new Map(),
    identity: {uid: 0, gid: 0},
    firstBytes,
    now,
    write(head, parts) {
      const reply = Buffer.concat([head, ...parts]);
      const unique = Number(reply.readBigUInt64LE(8));
      if (unique === 0) {
        const node = Number(reply.readBigUInt64LE(16));
        if (reply.readInt32LE(4) !== NOTIFY_STORE) outdated.push(node);
        else given.push({node, length: reply.readUInt32LE(32), content: reply.subarray(40)});
        return onGiven;
      }
      if (reply.readUInt32LE(0) !== reply.length) throw new Error('a reply has a wrong length');
      const errno = 0 - reply.readInt32LE(4);
      // "Linux fs/fuse/dev.c: fuse_dev_do_write": it is no reply then, and who asked waits.
      if (errno < 0 || errno >= 512) return -EINVAL;
      if (errnos.has(unique)) strays++;
      // "Linux fs/fuse/file.c: fuse_direct_io" has it noted as a fault of the kernel's own (WARN_ON).
      const most = writing.get(unique);
      if (errno === 0 && most !== undefined && reply.readUInt32LE(16) > most) {
        throw new Error('more is written than was to be');
      }
      errnos.set(unique, errno);
      waiting.get(unique)?.({errno, body: reply.subarray(head.length)});
      waiting.delete(unique);
      return 0;
    },
  });
  const send = (opcode: number, unique: number, body: Uint8Array, node = 1): void => {
    const bytes = Buffer.alloc(IN_HEADER_BYTES + body.length);
    bytes.writeUInt32LE(bytes.length, 0);
    bytes.writeUInt32LE(opcode, 4);
    bytes.writeBigUInt64LE(BigInt(unique), 8);
    bytes.writeBigUInt64LE(BigInt(node), 16);
    bytes.set(body, IN_HEADER_BYTES);
    if (opcode === OPCODE.write && body.length >= 20) {
      writing.set(unique, bytes.readUInt32LE(IN_HEADER_BYTES + 16));
    }
    server.receive(bytes);
    bytes.fill(0xa5); // the ring is overwritten
  };
  return {
    server,
    errnos,
    outdated,
    given,
    get strays() {
      return strays;
    },
    send,
    async ask(name, body = new Uint8Array(0), node = 1) {
      const unique = ++last;
      return await new Promise((resolve) => {
        waiting.set(unique, resolve);
        send(OPCODE[name], unique, body, node);
      });
    },
    [Symbol.dispose]: () => server[Symbol.dispose](),
  };
}

/** Fields of a request: numbers of 4 bytes, big ones of 8, texts with a zero byte, bytes as they are. */
export function fields(...values: (number | bigint | string | Uint8Array)[]): Uint8Array {
  const parts = values.map((value) => {
    if (typeof value === 'string') return Buffer.from(`${value}\0`);
    if (typeof value === 'object') return value;
    const bytes = Buffer.alloc(typeof value === 'bigint' ? 8 : 4);
    if (typeof value === 'bigint') bytes.writeBigUInt64LE(BigInt.asUintN(64, value));
    else bytes.writeUInt32LE(value >>> 0);
    return bytes;
  });
  return Buffer.concat(parts);
}

/** The bodies of some requests. */
export const fuse = {
  open: (flags: number) => fields(flags, 0),
  create: (name: string, flags: number) => fields(flags, 0o644, 0, 0, name),
  read: (handle: bigint, offset: bigint, size: number) => fields(handle, offset, size, 0, 0n, 0, 0),
  write: (handle: bigint, offset: bigint, data: Uint8Array, flags = 0) =>
    fields(handle, offset, data.length, flags, 0n, 0, 0, data),
  /** FLUSH, FSYNC and RELEASE begin alike. */
  end: (handle: bigint) => fields(handle, 0, 0, 0n),
};
