/** An application as people write them, in a pod beside nginx: PORT BYTES. */

import {createServer} from 'node:http';

const [port, bytes] = process.argv.slice(2).map(Number);
const body = 'x'.repeat(bytes ?? 0);

createServer((_request, response) => {
  response.setHeader('Content-Type', 'text/plain');
  response.end(body);
}).listen(port);
