import {type ChildProcess, spawn} from 'node:child_process';
import {once} from 'node:events';
import {createInterface, type Interface} from 'node:readline';
import {fileURLToPath} from 'node:url';
import test from 'ava';
import {Rig, stream} from '../helpers/netstack.ts';
import {concat, parse, VIRTIO} from '../helpers/packet.ts';
import {HANDSHAKE, type Move, SCENARIOS, withoutWindow} from '../helpers/scenarios.ts';

const program = fileURLToPath(new URL('programs/linux-peer.py', import.meta.url));

/** Linux, which answers on a TUN device of a namespace of its own. */
class Linux {
  readonly #child: ChildProcess;
  readonly #lines: Interface;

  constructor() {
    this.#child = spawn('unshare', ['-Urn', 'python3', program], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    this.#lines = createInterface({input: this.#child.stdout as NodeJS.ReadableStream});
  }

  /** Packets in and calls; packets out. */
  async ask(what: (string | number)[][]): Promise<Uint8Array[]> {
    const answer = once(this.#lines, 'line');
    this.#child.stdin?.write(`${JSON.stringify(what)}\n`);
    const [line] = await answer;
    return (JSON.parse(`${line}`) as string[]).map((hex) => Buffer.from(hex, 'hex'));
  }

  async close(): Promise<void> {
    this.#child.stdin?.end();
    await once(this.#child, 'close');
  }
}

/** Translates a move; `rig` knows the notation. */
function translate(rig: Rig, move: Move, written: {bytes: number}): (string | number)[][] {
  if (move === 'end' || move === 'reset') return [[move]];
  if ('write' in move) {
    const bytes = stream(written.bytes, move.write);
    written.bytes += bytes.length;
    return [['write', Buffer.from(bytes).toString('hex')]];
  }
  return move.map((line) => [
    'packet',
    Buffer.from(rig.build(line).subarray(VIRTIO)).toString('hex'),
  ]);
}

const linux = new Linux();
test.after.always(async () => await linux.close());

let port = 20_000;
for (const {title, because, isClosed = false, isEstablished = false, steps} of SCENARIOS) {
  const own = because === undefined ? '' : ` (not as we do: ${because})`;
  test.serial(`Linux: ${title}${own}`, async (t) => {
    const rig = new Rig({port});
    port += 1;
    const written = {bytes: 0};
    const play = async (move: Move, isLate = false): Promise<string[]> => {
      const request = translate(rig, move, written);
      const packets = await linux.ask(isLate ? [...request, ['wait']] : request);
      return packets.map((bytes) =>
        withoutWindow(rig.describe(parse(concat(new Uint8Array(VIRTIO), bytes)))),
      );
    };
    if (isClosed) await linux.ask([['unlisten']]);
    try {
      if (isEstablished) {
        for (const {move, answer} of HANDSHAKE) t.deepEqual(await play(move), answer);
        t.deepEqual(await linux.ask([['accept']]), []);
      }
      for (const {move, answer, linux: other, isLate} of steps) {
        t.deepEqual(await play(move, isLate), other ?? answer, JSON.stringify(move));
      }
    } finally {
      await linux.ask([[isClosed ? 'listen' : 'forget']]);
    }
  });
}
