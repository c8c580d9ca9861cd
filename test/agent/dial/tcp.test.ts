import {createHash} from 'node:crypto';
import {once} from 'node:events';
import type {Socket} from 'node:net';
import test from 'ava';
import {parseEndpoint} from '../../../tunnel/messages.ts';
import {dial, LOOPBACK4, listen, startAgent} from '../../helpers/agent.ts';
import {feed, pattern} from '../../helpers/tunnel.ts';
import {until} from '../../helpers/until.ts';

test('bytes come back from an echo server, over IPv4 and IPv6', async (t) => {
  const {layer} = await startAgent(t);
  for (const host of ['127.0.0.1', '::1']) {
    const endpoint = await listen(t, (socket) => socket.pipe(socket), host);
    const {stream, ear} = dial(layer, endpoint);
    const bytes = pattern(1_000_000);
    feed(stream, ear, bytes, () => stream.end());
    await ear.event('close');
    t.true(ear.bytes.equals(bytes));
    t.deepEqual(ear.events, ['opened', 'end', 'close']);
  }
  t.is(layer.streamCount, 0);
});

test('the answer to OPEN is the address of the socket in the pod', async (t) => {
  const {layer} = await startAgent(t);
  const accepted = Promise.withResolvers<Socket>();
  const endpoint = await listen(t, accepted.resolve);
  const {ear} = dial(layer, endpoint);
  const socket = await accepted.promise;
  await ear.event('opened');
  const answer = parseEndpoint(ear.opened ?? new Uint8Array());
  t.deepEqual([...answer.address], [...LOOPBACK4]);
  t.is(socket.remotePort, answer.port);
});

test('early bytes reach the server as soon as it has accepted', async (t) => {
  const {layer} = await startAgent(t);
  const got = Promise.withResolvers<Buffer>();
  const endpoint = await listen(t, (socket) => socket.once('data', got.resolve));
  dial(layer, endpoint).stream.write(Buffer.from('early'));
  t.is(String(await got.promise), 'early');
});

test('a program that ends first still gets the answer', async (t) => {
  const {layer} = await startAgent(t);
  const endpoint = await listen(t, (socket) => {
    socket.resume().on('end', () => socket.end('bye'));
  });
  const {stream, ear} = dial(layer, endpoint);
  stream.end();
  await ear.event('close');
  t.is(String(ear.bytes), 'bye');
});

test('a server that ends first still gets what the program sends', async (t) => {
  const {layer} = await startAgent(t);
  const got = Promise.withResolvers<string>();
  const endpoint = await listen(t, async (socket) => {
    socket.end();
    let text = '';
    for await (const chunk of socket) text += chunk;
    got.resolve(text);
  });
  const {stream, ear} = dial(layer, endpoint);
  await ear.event('end');
  t.false(ear.events.includes('close'));
  stream.write(Buffer.from('still here'));
  stream.end();
  t.is(await got.promise, 'still here');
  await ear.event('close');
});

test('a RST of the server resets the stream with ECONNRESET', async (t) => {
  const {layer} = await startAgent(t);
  const endpoint = await listen(t, (socket) => {
    socket.once('data', () => socket.resetAndDestroy());
  });
  const {stream, ear} = dial(layer, endpoint);
  await ear.event('opened');
  stream.write(new Uint8Array(1));
  t.is(await ear.event('reset'), 'reset ECONNRESET');
});

test('a reset of the program is a RST for the server', async (t) => {
  const {layer} = await startAgent(t);
  const error = Promise.withResolvers<NodeJS.ErrnoException>();
  const endpoint = await listen(t, (socket) => {
    socket.on('error', error.resolve);
    socket.resume();
  });
  const {stream, ear} = dial(layer, endpoint);
  await ear.event('opened');
  stream.reset('ECONNRESET');
  t.is((await error.promise).code, 'ECONNRESET');
});

test('a closed port refuses with ECONNREFUSED', async (t) => {
  const {layer} = await startAgent(t);
  const {ear} = dial(layer, {address: LOOPBACK4, port: 1});
  t.is(await ear.event('refused'), 'refused ECONNREFUSED');
  t.is(layer.streamCount, 0);
});

test('port 0 is refused, and the session goes on', async (t) => {
  const {layer} = await startAgent(t);
  t.is(
    await dial(layer, {address: LOOPBACK4, port: 0}).ear.event('refused'),
    'refused ECONNREFUSED',
  );
  t.false(layer.isClosed);
});

test('a connect that nobody answers is given up when the stream is reset', async (t) => {
  const {layer} = await startAgent(t);
  // TEST-NET-1 goes nowhere; where a firewall answers, there is nothing to be given up.
  const {stream, ear} = dial(layer, {address: new Uint8Array([192, 0, 2, 1]), port: 80});
  const endpoint = await listen(t, (socket) => socket.pipe(socket));
  const other = dial(layer, endpoint);
  await other.ear.event('opened');
  if (ear.events.length === 0) stream.reset('ECANCELED');
  other.stream.reset('ECANCELED');
  await until(() => layer.streamCount === 0);
  t.false(layer.isClosed);
});

test('a hundred MiB arrive unchanged at the server', async (t) => {
  const {layer} = await startAgent(t);
  const piece = pattern(1 << 20);
  const want = createHash('sha256');
  const got = createHash('sha256');
  const endpoint = await listen(t, (socket) => {
    socket.on('data', (chunk) => got.update(chunk)).on('end', () => socket.end());
  });
  const {stream, ear} = dial(layer, endpoint);
  let left = 100;
  const next = (): void => {
    if (left-- === 0) {
      stream.end();
      return;
    }
    want.update(piece);
    feed(stream, ear, piece, next);
  };
  next();
  await ear.event('close');
  t.is(got.digest('hex'), want.digest('hex'));
});

test('a hundred MiB arrive unchanged at the program', async (t) => {
  const {layer} = await startAgent(t);
  const piece = pattern(1 << 20);
  const want = createHash('sha256');
  const got = createHash('sha256');
  const endpoint = await listen(t, async (socket) => {
    for (let left = 100; left > 0; left--) {
      want.update(piece);
      if (!socket.write(piece)) await once(socket, 'drain');
    }
    socket.end();
  });
  const {stream, ear} = dial(layer, endpoint);
  let received = 0;
  ear.onData = (chunk) => {
    got.update(chunk);
    received += chunk.length;
    stream.consumed(received);
  };
  await ear.event('end');
  t.is(received, 100 << 20);
  t.is(got.digest('hex'), want.digest('hex'));
});

test('a program that stops reading stops the server, within the credit', async (t) => {
  const {layer} = await startAgent(t);
  let written = 0;
  let isBlocked = false;
  const endpoint = await listen(t, (socket) => {
    const piece = new Uint8Array(65_536);
    const go = (): void => {
      for (;;) {
        written += piece.length;
        if (!socket.write(piece)) break;
      }
      isBlocked = true;
      socket.once('drain', go);
    };
    go();
  });
  const {stream, ear} = dial(layer, endpoint, {consume: false});
  await ear.until(() => ear.received === 262_144);
  await until(() => isBlocked);
  t.is(ear.received, 262_144);
  // Whatever else was written is in buffers of the kernel: nothing of it waits in the agent.
  const other = dial(layer, await listen(t, (socket) => socket.end('x')));
  await other.ear.event('end');
  t.is(ear.received, 262_144, 'another connection passes it');
  const before = written;
  stream.consumed(262_144);
  await ear.until(() => ear.received > 262_144);
  await until(() => written > before || ear.received >= 393_216);
  t.pass();
});

test('a server that stops reading stops the program, within the credit', async (t) => {
  const {layer} = await startAgent(t);
  const accepted = Promise.withResolvers<Socket>();
  const endpoint = await listen(t, (socket) => accepted.resolve(socket.pause()));
  const {stream, ear} = dial(layer, endpoint);
  let sent = 0;
  const piece = new Uint8Array(65_536);
  const go = (): void => {
    while (stream.writable > 0) {
      const count = Math.min(piece.length, stream.writable);
      stream.write(piece.subarray(0, count));
      sent += count;
    }
  };
  ear.onWritable = go;
  await ear.event('opened');
  go();
  const socket = await accepted.promise;
  // Another connection that came later is served although this one is stuck.
  let last = -1;
  await until(async () => {
    const echo = dial(layer, await listen(t, (other) => other.end('x')));
    await echo.ear.event('end');
    const isStuck = sent === last;
    last = sent;
    return isStuck;
  });
  t.is(stream.writable, 0);
  t.true(sent < 32 << 20, `${sent} bytes`);
  let read = 0;
  socket.on('data', (chunk) => (read += chunk.length)).resume();
  await until(() => read > last);
  t.true(sent > last);
});

test('five hundred connections at a time each get their own bytes', async (t) => {
  const {layer} = await startAgent(t);
  const endpoint = await listen(t, (socket) => socket.pipe(socket));
  const all = Array.from({length: 500}, async (_, index) => {
    const {stream, ear} = dial(layer, endpoint);
    const bytes = pattern(2000, index);
    feed(stream, ear, bytes, () => stream.end());
    await ear.event('close');
    return ear.bytes.equals(bytes);
  });
  t.true((await Promise.all(all)).every(Boolean));
  t.is(layer.streamCount, 0);
});

test('when the tunnel ends, the connections of the pod are reset', async (t) => {
  const {layer} = await startAgent(t);
  const error = Promise.withResolvers<NodeJS.ErrnoException>();
  const endpoint = await listen(t, (socket) => socket.on('error', error.resolve).resume());
  const {ear} = dial(layer, endpoint);
  await ear.event('opened');
  layer.close();
  t.is((await error.promise).code, 'ECONNRESET');
  t.deepEqual(ear.events, ['opened', 'reset ECONNRESET']);
});

test('a program that does not want to read any more lets the server go on', async (t) => {
  const {layer} = await startAgent(t);
  const piece = new Uint8Array(1 << 20);
  const endpoint = await listen(t, async (socket) => {
    for (let left = 20; left > 0; left--) if (!socket.write(piece)) await once(socket, 'drain');
    socket.end();
    socket.resume();
  });
  const {stream, ear} = dial(layer, endpoint, {consume: false});
  await ear.until(() => ear.received > 0);
  stream.stop('ECANCELED');
  stream.end();
  await ear.event('close');
  t.true(ear.received <= 262_144);
});
