/**
 * Measures round trips: HOST PORT COUNT. Sends a byte to an echo server, waits for it, and again, over one
 * connection. Prints `{"medianMs", "p99Ms"}`. Without imports of ours, as a pod runs it, too, from its standard input.
 */

import {connect} from 'node:net';

const [host = '', port = '', count = ''] = process.argv.slice(-3);
/** Until caches are warm, and the compiler has seen it. */
const unmeasured = 200;

const socket = connect(Number(port), host).setNoDelay(true);
const times: number[] = [];
let sentAt = 0;
const send = (): void => {
  sentAt = performance.now();
  socket.write('x');
};
socket.on('error', (error) => {
  process.stderr.write(`${error.message}\n`);
  process.exit(1);
});
socket.on('connect', send);
socket.on('data', () => {
  times.push(performance.now() - sentAt);
  if (times.length < unmeasured + Number(count)) send();
  else {
    const sorted = times.slice(unmeasured).sort((one, other) => one - other);
    const at = (share: number): number | undefined => sorted[Math.floor(share * sorted.length)];
    process.stdout.write(`${JSON.stringify({medianMs: at(0.5), p99Ms: at(0.99)})}\n`);
    socket.destroy();
  }
});
