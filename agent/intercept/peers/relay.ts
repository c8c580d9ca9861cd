/**
 * Joins a stream that a leader has opened and the one into the client's program: bytes, ends, stops and resets, both
 * ways. Credit is passed through: what one side does not take waits here, within the window of the other, and is
 * consumed when it was written.
 */

import type {ErrnoName, MuxStream, StreamHandler} from '../../../tunnel/types.ts';

/** What was written before a reset gets so long to leave, ms: a reader sees it before the reset, as of one kernel. */
const FLUSH_MS = 1_000;

/** One direction. */
class Direction {
  readonly #from: () => MuxStream | undefined;
  readonly #to: () => MuxStream | undefined;
  readonly #queue: Uint8Array[] = [];
  #written = 0;
  #ending: 'end' | {readonly errno: ErrnoName} | undefined;
  #isUnwanted = false;
  #timer: NodeJS.Timeout | undefined;

  constructor(from: () => MuxStream | undefined, to: () => MuxStream | undefined) {
    this.#from = from;
    this.#to = to;
  }

  push(chunk: Uint8Array): void {
    if (this.#isUnwanted) return;
    this.#queue.push(chunk);
    this.flush();
  }

  end(): void {
    this.#ending = 'end';
    this.flush();
  }

  reset(errno: ErrnoName): void {
    this.#ending = {errno};
    this.flush();
    if (this.#queue.length > 0) this.#timer = setTimeout(() => this.drop(), FLUSH_MS);
  }

  /** Nobody takes any more of it. */
  drop(): void {
    this.#isUnwanted = true;
    this.#queue.length = 0;
    this.flush();
  }

  /** Writes what is taken now. */
  flush(): void {
    const to = this.#to();
    if (to === undefined) return;
    for (let first = this.#queue[0]; first !== undefined; first = this.#queue[0]) {
      const count = Math.min(first.length, to.writable);
      if (count === 0) break;
      to.write(first.subarray(0, count));
      this.#written += count;
      if (count === first.length) this.#queue.shift();
      else this.#queue[0] = first.subarray(count);
    }
    this.#from()?.consumed(this.#written);
    if (this.#queue.length > 0 || this.#ending === undefined) return;
    clearTimeout(this.#timer);
    if (this.#ending === 'end') to.end();
    else to.reset(this.#ending.errno);
  }
}

/** Continues `offered` by what `open` opens, and says yes or no to it as that does. `open` may throw: its tunnel is over. */
export function relayStream(
  offered: MuxStream,
  open: (handler: StreamHandler) => MuxStream,
  onRefused: () => void,
): void {
  let leader: MuxStream | undefined = offered;
  let client: MuxStream | undefined;
  const inwards = new Direction(
    () => leader,
    () => client,
  );
  const outwards = new Direction(
    () => client,
    () => leader,
  );
  offered.handler = {
    onData: (chunk) => inwards.push(chunk),
    onEnd: () => inwards.end(),
    onWritable: () => outwards.flush(),
    onStop(errno) {
      client?.stop(errno);
      outwards.drop();
    },
    onReset(errno) {
      leader = undefined;
      inwards.reset(errno);
    },
    onClose() {
      leader = undefined;
    },
  };
  try {
    client = open({
      onOpened(body) {
        leader?.accept(body);
        outwards.flush();
      },
      onRefused(errno) {
        client = undefined;
        onRefused();
        leader?.refuse(errno);
      },
      onData: (chunk) => outwards.push(chunk),
      onEnd: () => outwards.end(),
      onWritable: () => inwards.flush(),
      onStop(errno) {
        leader?.stop(errno);
        inwards.drop();
      },
      onReset(errno) {
        client = undefined;
        outwards.reset(errno);
      },
      onClose() {
        client = undefined;
      },
    });
    inwards.flush();
  } catch {
    onRefused();
    offered.refuse('EHOSTUNREACH');
  }
}
