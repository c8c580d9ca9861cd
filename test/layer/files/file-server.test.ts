import test from 'ava';
import fc from 'fast-check';
import {FileServer} from '../../../layer/files/file-server.ts';
import {IN_HEADER_BYTES, OPCODE} from '../../../layer/files/fuse/protocol.ts';
import {filePolicy} from '../../../layer/files/policy.ts';
import {Sources} from '../../../layer/files/sources.ts';
import {until} from '../../helpers/agent.ts';
import {openTarget, type Target} from '../../helpers/file-target.ts';

const none = {readWrite: [], readOnly: [], local: [], notFound: [], mapping: {}};
const around = {home: '/home/ann', cwd: '/', temporary: '/tmp'};

interface Served {
  server: FileServer;
  /** The errno of each reply, by the request's number. */
  replies: Map<number, number>;
  send(opcode: number, unique: number, body: Uint8Array, node?: number): void;
}

/** A server all of whose files are a target's, far from this machine's. */
function serve({files}: Target): Served {
  const replies = new Map<number, number>();
  const server = new FileServer({
    sources: new Sources({
      policy: filePolicy({...none, mode: 'write'}, around),
      pod: files,
      host: files,
    }),
    scaffold: new Map(),
    identity: {uid: 0, gid: 0},
    firstBytes: 128_000,
    now: () => performance.now(),
    write: (head) => {
      const reply = Buffer.from(head);
      replies.set(Number(reply.readBigUInt64LE(8)), -reply.readInt32LE(4));
    },
  });
  return {
    server,
    replies,
    send(opcode, unique, body, node = 1) {
      const bytes = Buffer.alloc(IN_HEADER_BYTES + body.length);
      bytes.writeUInt32LE(bytes.length, 0);
      bytes.writeUInt32LE(opcode, 4);
      bytes.writeBigUInt64LE(BigInt(unique), 8);
      bytes.writeBigUInt64LE(BigInt(node), 16);
      bytes.set(body, IN_HEADER_BYTES);
      server.receive(bytes);
    },
  };
}

test('whatever is asked, each request has one answer, and none is a bug', async (t) => {
  const {server, replies, send} = serve(await openTarget(t));
  const silent: readonly number[] = [OPCODE.forget, OPCODE.batchForget, OPCODE.interrupt];
  const opcodes = Object.values(OPCODE).filter((opcode) => !silent.includes(opcode));
  const small = fc.uint8Array({maxLength: 120});
  const request = fc.record({
    opcode: fc.constantFrom(...opcodes),
    // Names, small numbers and noise.
    body: fc.oneof(
      small,
      small.map((bytes) => bytes.map((byte) => (byte < 200 ? 0 : byte % 4))),
      fc.constantFrom('a', 'b', 'a\0b').map((name) => Buffer.from(`${name}\0`)),
    ),
    node: fc.integer({min: 0, max: 6}),
  });
  const requests = fc.sample(request, {numRuns: 3000, seed: 20_261_122});
  for (const [index, {opcode, body, node}] of requests.entries())
    send(opcode, index + 1, body, node);
  await until(() => replies.size === requests.length);
  t.is(server.counters.bugs, 0);
  t.true(server.counters.malformed > 100);
});

test('what the kernel forgets is not kept', async (t) => {
  const {server, replies, send} = serve(await openTarget(t));
  send(OPCODE.lookup, 1, Buffer.from('wait\0'));
  send(OPCODE.lookup, 2, Buffer.from('wait\0'));
  await until(() => replies.size === 2);
  t.is(server.sizes.nodes, 2);
  const one = Buffer.alloc(8);
  one.writeUInt32LE(1);
  send(OPCODE.forget, 3, one, 2);
  t.is(server.sizes.nodes, 2);
  send(OPCODE.forget, 4, one, 2);
  t.is(server.sizes.nodes, 1);
});

test('a request that hangs fails with EINTR after it was interrupted', async (t) => {
  const target = await openTarget(t);
  const hanging = {
    ...target,
    files: Object.create(target.files, {request: {value: () => new Promise(() => {})}}),
  };
  const stuck = serve(hanging);
  stuck.send(OPCODE.lookup, 9, Buffer.from('x\0'));
  const interrupted = Buffer.alloc(8);
  interrupted.writeUInt32LE(9);
  stuck.send(OPCODE.interrupt, 10, interrupted);
  await until(() => stuck.replies.has(9));
  t.is(stuck.replies.get(9), 4);
  t.is(stuck.server.counters.interrupted, 1);
});
