/**
 * Measures throughput over one connection to `peer.ts`: HOST PORT up|down BYTES. Prints `{"mbps"}`, Mbit/s.
 * Without imports of ours, as a pod runs it, too, from its standard input.
 */

import {connect} from 'node:net';

const [host = '', port = '', direction = '', count = ''] = process.argv.slice(-4);
const bytes = Number(count);
const block = Buffer.alloc(1024 * 1024, 'mirrord');

const socket = connect(Number(port), host);
let left = bytes;
let beginAt = 0;

/** At the last byte's arrival, or the other end's word of it. */
function end(): void {
  const seconds = (performance.now() - beginAt) / 1000;
  process.stdout.write(`${JSON.stringify({mbps: (bytes * 8) / seconds / 1e6})}\n`);
  socket.destroy();
}

function write(): void {
  while (left > 0) {
    const piece = block.subarray(0, left);
    left -= piece.length;
    if (!socket.write(piece)) return;
  }
}

socket.on('error', (error) => {
  process.stderr.write(`${error.message}\n`);
  process.exit(1);
});
socket.on('close', () => {
  if (left > 0) process.exitCode = 1;
});
socket.on('connect', () => {
  beginAt = performance.now();
  socket.write(`${direction} ${bytes}\n`);
  if (direction === 'up') {
    socket.once('data', end).on('drain', write);
    write();
  } else {
    socket.on('data', ({length}) => {
      left -= length;
      if (left === 0) end();
    });
  }
});
