import test from 'ava';
import {connectClient} from '../../../agent/intercept/tunnel-socket.ts';
import type {SocketHandler, StreamSocket} from '../../../sockets/types.ts';
import type {MuxStream, StreamHandler} from '../../../tunnel/types.ts';

/** A stream whose other end is the test: `said` is what it was told, in order. */
class Far {
  readonly said: string[] = [];
  writable = 1 << 20;
  consumed = 0;
  handler: StreamHandler = {};

  async open(): Promise<StreamSocket> {
    return connectClient((handler) => {
      this.handler = handler;
      queueMicrotask(() => handler.onOpened?.(new Uint8Array(0)));
      const stream: Partial<MuxStream> & {writable: number} = {
        writable: 0,
        write: (chunk) => {
          this.writable -= chunk.length;
          this.said.push(Buffer.from(chunk).toString());
        },
        end: () => void this.said.push('END'),
        reset: (errno) => void this.said.push(errno),
        consumed: (offset) => {
          this.consumed = offset;
        },
      };
      Object.defineProperty(stream, 'writable', {get: () => this.writable});
      return stream as MuxStream;
    }, 1000);
  }

  say(text: string): void {
    const memory = Buffer.from(text);
    this.handler.onLentData?.(memory);
    memory.fill('#'); // it was lent
  }
}

/** Keeps what it hears. */
function ear(): SocketHandler & {readonly heard: string[]} {
  const heard: string[] = [];
  return {
    heard,
    onData: (bytes) => heard.push(Buffer.from(bytes).toString()),
    onEnd: () => heard.push('END'),
    onFlushed: () => heard.push('FLUSHED'),
    onClose: (error) => heard.push(error?.code ?? 'CLOSED'),
  };
}

/** What happens on a socket from now on. */
function hear(socket: StreamSocket): string[] {
  const handler = ear();
  socket.handler = handler;
  return handler.heard;
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test('what nobody reads is kept in order, and not acknowledged; its end comes behind it', async (t) => {
  const far = new Far();
  const socket = await far.open();
  far.say('one');
  far.say('two');
  far.handler.onEnd?.();
  await turn();
  t.is(far.consumed, 0);
  const heard = hear(socket);
  socket.readBytes = 1024;
  t.deepEqual(heard, [], 'not in the call of whoever reads');
  await turn();
  t.deepEqual(heard, ['one', 'two', 'END']);
  t.is(far.consumed, 6);
});

test('an end that nothing came before waits for who reads, too', async (t) => {
  const far = new Far();
  const socket = await far.open();
  far.handler.onEnd?.();
  await turn();
  const heard = hear(socket);
  socket.readBytes = 1024;
  await turn();
  t.deepEqual(heard, ['END']);
});

test('who stops to read while he is told keeps the rest waiting', async (t) => {
  const far = new Far();
  const socket = await far.open();
  const hearer = ear();
  socket.handler = {
    ...hearer,
    onData(bytes) {
      hearer.onData(bytes);
      socket.readBytes = 0;
    },
  };
  socket.readBytes = 1024;
  for (const text of ['one', 'two']) far.say(text);
  await turn();
  t.deepEqual(hearer.heard, ['one']);
  t.is(far.consumed, 3);
  socket.readBytes = 1024;
  await turn();
  t.deepEqual(hearer.heard, ['one', 'two']);
});

test('what the tunnel has no room for waits, and the end behind it', async (t) => {
  const far = new Far();
  const socket = await far.open();
  const heard = hear(socket);
  far.writable = 3;
  const memory = Buffer.from('hello');
  socket.writeLent(memory);
  memory.fill('#');
  socket.end();
  t.is(socket.bufferedBytes, 2);
  t.deepEqual(far.said, ['hel']);
  await turn();
  t.deepEqual(heard, ['FLUSHED']);
  far.writable = 10;
  far.handler.onWritable?.();
  t.is(socket.bufferedBytes, 0);
  t.deepEqual(far.said, ['hel', 'lo', 'END']);
});

test('a program that takes no more gets no more, and slows nobody', async (t) => {
  const far = new Far();
  const socket = await far.open();
  far.writable = 0;
  socket.writeLent(Buffer.from('hello'));
  far.handler.onStop?.('EPIPE');
  t.is(socket.bufferedBytes, 0);
  t.deepEqual(far.said, []);
});

test('it is reset, unless both ends were said; then it closes by itself', async (t) => {
  const broken = new Far();
  const socket = await broken.open();
  const heard = hear(socket);
  socket.end();
  socket.destroy();
  t.deepEqual(broken.said, ['END', 'ECONNRESET']);
  t.deepEqual(heard, ['CLOSED']);
  const whole = new Far();
  const other = await whole.open();
  const otherHeard = hear(other);
  other.readBytes = 1024;
  other.end();
  whole.handler.onEnd?.();
  whole.handler.onClose?.();
  t.deepEqual(whole.said, ['END']);
  t.deepEqual(otherHeard, ['END', 'CLOSED']);
});

test('a reset of the program’s is told as one', async (t) => {
  const far = new Far();
  const socket = await far.open();
  const heard = hear(socket);
  far.handler.onReset?.('ECONNRESET');
  t.deepEqual(heard, ['ECONNRESET']);
  t.true(socket.isClosed);
  t.deepEqual(far.said, []);
});
