/**
 * What the benchmarks' clients talk to, in a pod:
 *
 *   7     echo
 *   5001  bulk: a line `up N` is followed by N bytes, which are answered by a line; `down N` is answered by N bytes
 *
 * No connection is half-closed, which port-forwards can't carry. (Nor can iperf3 be used: it ends a test by
 * resetting a connection, on which kubectl port-forward gives up.)
 */

import {createServer, type Socket} from 'node:net';

/** Larger than any buffer on the way. */
const block = Buffer.alloc(1024 * 1024, 'mirrord');

function receive(socket: Socket, bytes: number, already: number): void {
  let left = bytes - already;
  const count = (length: number): void => {
    left -= length;
    if (left <= 0) socket.end('done\n');
  };
  count(0);
  socket.on('data', ({length}) => count(length));
}

function send(socket: Socket, bytes: number): void {
  let left = bytes;
  const write = (): void => {
    while (left > 0) {
      const piece = block.subarray(0, left);
      left -= piece.length;
      if (!socket.write(piece)) return;
    }
  };
  socket.on('drain', write);
  write();
}

function serve(socket: Socket): void {
  socket.on('error', () => socket.destroy()); // the client's business
  socket.once('data', (first: Buffer) => {
    const end = first.indexOf('\n');
    const [direction, count] = first.toString('latin1', 0, end).split(' ');
    if (direction === 'up') receive(socket, Number(count), first.length - end - 1);
    else send(socket, Number(count));
  });
}

createServer({noDelay: true}, (socket) => {
  socket.on('error', () => socket.destroy());
  socket.pipe(socket);
}).listen(7);
createServer({noDelay: true}, serve).listen(5001);
