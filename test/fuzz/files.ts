/**
 * Fuzzes what serves the pod's files, from both sides: the kernel asks good and bad things in any order, and the agent
 * answers well, badly, late, twice, or with noise. Promises: nothing throws, also not later; each request is answered
 * once, if only when the agent is gone; nothing is left that waits, and no fault counts as ours.
 */
import assert from 'node:assert/strict';
import {FileClient} from '../../layer/files/file-client.ts';
import {OPCODE} from '../../layer/files/fuse/protocol.ts';
import {FILE_OPERATION, FILES_VERSION, type FileOperation} from '../../tunnel/files.ts';
import type {StreamHandler} from '../../tunnel/types.ts';
import {fields, fuse, fuseKernel} from '../helpers/fuse-kernel.ts';
import {Dice, type FuzzTarget, flip} from './fuzzer.ts';

type Damage = readonly (readonly [number, number])[];

type Step =
  /** The kernel asks. */
  | {
      readonly do: 'ask';
      readonly opcode: number;
      readonly node: number;
      readonly hex: string;
      readonly damage: Damage;
    }
  /** The agent answers one of the requests that wait. */
  | {
      readonly do: 'answer';
      readonly which: number;
      readonly errno: number;
      /** How many bytes more or less than there should be. */
      readonly off: number;
      readonly mode: number;
      readonly n: number;
      readonly damage: Damage;
    }
  /** It says something that is no answer. */
  | {readonly do: 'noise'; readonly hex: string}
  | {readonly do: 'turn'};

const operations = new Map<number, FileOperation>(
  Object.entries(FILE_OPERATION).map(([name, number]) => [number, name as FileOperation]),
);
const unanswered: readonly number[] = [OPCODE.forget, OPCODE.batchForget, OPCODE.interrupt];
/** Turns in which all must have come to an end. */
const patience = 200;

/** An agent at the other end of a stream; requests are kept until they are answered. */
class Agent {
  readonly waiting: {id: number; operation: FileOperation}[] = [];
  handler: StreamHandler | undefined;
  isOver = false;
  #bytes = Buffer.alloc(0);

  open(handler: StreamHandler) {
    this.handler = handler;
    return {
      writable: 4_194_304,
      write: (bytes: Uint8Array) => this.#take(bytes),
      end() {},
      reset: () => {
        this.isOver = true;
      },
      consumed() {},
    };
  }

  say(bytes: Uint8Array): void {
    if (!this.isOver) this.handler?.onLentData?.(bytes);
  }

  #take(bytes: Uint8Array): void {
    this.#bytes = Buffer.concat([this.#bytes, bytes]);
    while (this.#bytes.length >= 4) {
      const size = 4 + this.#bytes.readUInt32LE(0);
      if (this.#bytes.length < size) return;
      // But for the bit that says that it may be done later.
      const operation = operations.get((this.#bytes[8] ?? 0) & 0x7f);
      assert.ok(operation !== undefined, 'a request that no agent knows');
      this.waiting.push({id: this.#bytes.readUInt32LE(4), operation});
      this.#bytes = this.#bytes.subarray(size);
    }
  }
}

function attributes(mode: number, n: number): Uint8Array {
  const bytes = Buffer.alloc(88);
  bytes.writeBigUInt64LE(BigInt(n), 0);
  bytes.writeBigUInt64LE(BigInt(n), 8);
  bytes.writeUInt32LE(mode, 60);
  bytes.writeUInt32LE(n % 3, 64);
  return bytes;
}

function entries(mode: number, n: number): Uint8Array {
  const all = Array.from({length: n % 40}, (_, index) => {
    const name = Buffer.from(`${index}`);
    const length = Buffer.from([name.length, 0]);
    return fields(BigInt(n > 5000 ? 7 : index + 1), attributes(mode, n), length, name);
  });
  return Buffer.concat(all);
}

/** What an honest agent might answer. */
function honest(operation: FileOperation, mode: number, n: number): Uint8Array {
  switch (operation) {
    case 'open':
      return fields(n, attributes(mode, n), new Uint8Array(n % 2 === 0 ? n % 9000 : 0));
    case 'create':
    case 'tmpfile':
      return fields(n, attributes(mode, n));
    case 'opendir':
      return fields(n, Buffer.from([n & 1]), entries(mode, n));
    case 'readdir':
      return entries(mode, n);
    case 'read':
    case 'readlink':
    case 'getxattr':
    case 'listxattr':
      return new Uint8Array(n).fill(0x2f);
    case 'write':
    case 'writeall':
    case 'append':
    case 'appendall':
      return fields(n);
    case 'lseek':
      return fields(BigInt(n));
    case 'statfs':
      return new Uint8Array(80).fill(n);
    case 'hello':
      return fields(FILES_VERSION, 0, 0);
    case 'stat':
    case 'mkdir':
    case 'symlink':
    case 'link':
    case 'name':
    case 'setattr':
    case 'mknod':
      return attributes(mode, n);
    default:
      return new Uint8Array(0);
  }
}

function answerTo(
  {id, operation}: Agent['waiting'][number],
  step: Step & {do: 'answer'},
): Uint8Array {
  const {errno, off, mode, n, damage} = step;
  const right = errno === 0 ? honest(operation, mode, n) : new Uint8Array(0);
  const payload = Buffer.alloc(Math.max(0, right.length + off));
  payload.set(right.subarray(0, payload.length));
  flip(payload, damage);
  return fields(8 + payload.length, id, errno, payload);
}

async function run(steps: readonly Step[]): Promise<void> {
  const agent = new Agent();
  const files = new FileClient((handler) => agent.open(handler));
  using kernel = fuseKernel(files);
  let thrown: unknown;
  const onThrown = (error: unknown): void => {
    thrown ??= error ?? new Error('undefined was thrown');
  };
  process.on('uncaughtException', onThrown);
  process.on('unhandledRejection', onThrown);
  let asked = 0;
  let silent = 0;
  try {
    for (const step of steps) {
      if (step.do === 'ask') {
        const body = Buffer.from(step.hex, 'hex');
        flip(body, step.damage);
        if (unanswered.includes(step.opcode)) silent++;
        kernel.send(step.opcode, ++asked, body, step.node);
      } else if (step.do === 'answer') {
        const [request] = agent.waiting.splice(step.which % Math.max(1, agent.waiting.length), 1);
        if (request !== undefined) agent.say(answerTo(request, step));
      } else if (step.do === 'noise') agent.say(Buffer.from(step.hex, 'hex'));
      else await new Promise(setImmediate);
    }
    agent.handler?.onClose?.();
    for (let turn = 0; turn < patience && kernel.errnos.size + silent < asked; turn++) {
      await new Promise(setImmediate);
    }
    await new Promise(setImmediate);
    assert.equal(thrown, undefined);
    // What is not asked properly is answered as well, whatever it is.
    assert.ok(kernel.errnos.size + silent >= asked, 'a request is not answered');
    assert.equal(kernel.strays, 0, 'a request is answered twice');
    assert.equal(kernel.server.counters.bugs, 0, 'a fault of ours');
  } finally {
    process.off('uncaughtException', onThrown);
    process.off('unhandledRejection', onThrown);
  }
}

/** A body as the kernel would send it, most of the time. */
function drawBody(dice: Dice, opcode: number): Uint8Array {
  const handle = BigInt(1 + dice.below(6));
  const name = dice.of('a', 'b', 'c', '0', '1', '2', 'x'.repeat(255));
  const offset = BigInt(dice.of(0, 0, 4096, 131_072, 1_048_576, dice.size()));
  switch (opcode) {
    case OPCODE.open:
    case OPCODE.opendir:
      return fuse.open(dice.of(0, 1, 2, 0o1000, 0o2001, 0o2002, 0o4010001));
    case OPCODE.create:
    case OPCODE.tmpfile:
      return fuse.create(name, dice.of(1, 2, 0o101, 0o10001));
    case OPCODE.read:
      return fuse.read(handle, offset, dice.of(1, 4096, 131_072, dice.size()));
    case OPCODE.readdir:
    case OPCODE.readdirplus: {
      const places = [
        offset,
        BigInt(dice.below(40)),
        0x7fff_ffff_ffff_fff0n,
        0x7fff_ffff_fff0_0000n,
      ];
      return fuse.read(handle, places[dice.below(4)] ?? 0n, dice.of(24, 512, 4096, 65_536));
    }
    case OPCODE.write:
      return fuse.write(handle, offset, new Uint8Array(dice.size() % 9000), dice.of(0, 0, 1));
    case OPCODE.flush:
    case OPCODE.fsync:
    case OPCODE.fsyncdir:
    case OPCODE.release:
    case OPCODE.releasedir:
      return fuse.end(handle);
    case OPCODE.setattr:
      return fields(dice.below(512), 0, handle, offset, new Uint8Array(64));
    case OPCODE.rename:
      return fields(BigInt(1 + dice.below(4)), name, 'b');
    case OPCODE.rename2:
      return fields(BigInt(1 + dice.below(4)), dice.below(3), 0, name, 'b');
    case OPCODE.interrupt:
      return fields(BigInt(dice.below(100)));
    case OPCODE.link:
      return fields(BigInt(1 + dice.below(6)), name);
    case OPCODE.fallocate:
      return fields(handle, offset, BigInt(dice.size()), dice.below(4), 0);
    case OPCODE.lseek:
      return fields(handle, offset, 3 + dice.below(2), 0);
    case OPCODE.setxattr:
      return fields(4, dice.below(3), 'user.x', 'abcd');
    case OPCODE.removexattr:
      return fields('user.x');
    case OPCODE.listxattr:
      return fields(dice.of(0, 100), 0);
    case OPCODE.access:
      return fields(dice.below(8), 0);
    case OPCODE.symlink:
      return fields(name, 'target');
    case OPCODE.mkdir:
      return fields(0o755, 0, name);
    case OPCODE.mknod:
      return fields(0o100644, 0, 0, 0, name);
    case OPCODE.getxattr:
      return fields(dice.of(0, 100), 0, 'user.x');
    case OPCODE.lookup:
    case OPCODE.unlink:
    case OPCODE.rmdir:
      return fields(name);
    default:
      return fields(handle, offset, dice.size(), dice.below(8), 0n);
  }
}

const opcodes = Object.values(OPCODE);

function drawStep(dice: Dice, wild: number): Step {
  if (dice.chance(0.15)) return {do: 'turn'};
  if (dice.chance(0.5)) {
    const usual = dice.of(
      OPCODE.lookup,
      OPCODE.open,
      OPCODE.opendir,
      OPCODE.read,
      OPCODE.readdirplus,
    );
    const busy = dice.of(
      OPCODE.write,
      OPCODE.flush,
      OPCODE.create,
      OPCODE.tmpfile,
      OPCODE.link,
      OPCODE.release,
    );
    const any = opcodes[dice.below(opcodes.length)] ?? OPCODE.lookup;
    const opcode = dice.chance(0.5) ? usual : dice.chance(0.5) ? busy : any;
    const isNoise = dice.chance(wild * 0.3);
    const body = isNoise ? Buffer.from(dice.hex(dice.below(90)), 'hex') : drawBody(dice, opcode);
    return {
      do: 'ask',
      opcode: dice.chance(wild * 0.1) ? dice.below(60) : opcode,
      node: dice.chance(0.9) ? 1 + dice.below(6) : dice.below(2 ** 31),
      hex: Buffer.from(body).toString('hex'),
      damage: dice.chance(wild) ? dice.damage() : [],
    };
  }
  if (dice.chance(wild * 0.02)) return {do: 'noise', hex: dice.hex(dice.below(40))};
  return {
    do: 'answer',
    which: dice.chance(0.8) ? 0 : dice.below(50),
    errno: dice.chance(0.2) ? dice.of(2, 5, 11, 13, 28, 4095, 4096, 2 ** 32 - 1) : 0,
    off: dice.chance(wild * 0.3) ? dice.of(-1, 1, -88, 8, 1_000_000) : 0,
    mode: dice.of(0o100644, 0o100644, 0o040755, 0o040755, 0o120777, 0o020600, dice.below(2 ** 32)),
    n: dice.size(),
    damage: dice.chance(wild) ? dice.damage() : [],
  };
}

export const filesTarget: FuzzTarget<Step> = {
  name: 'files',
  generate(random) {
    const dice = new Dice(random);
    const wild = dice.of(0, 0.2, 1);
    return Array.from({length: 20 + dice.below(200)}, () => drawStep(dice, wild));
  },
  run,
};
