/**
 * A WebSocket server that repeats every message, text or binary; over plain HTTP it tells who it is.
 */

import {WebSocketServer} from 'ws';
import {jsonServer} from './answer.ts';

const server = jsonServer((seen) => seen);

new WebSocketServer({server, maxPayload: 16 * 1024 * 1024}).on('connection', (socket) => {
  socket.on('message', (data, isBinary) => socket.send(data, {binary: isBinary}));
  socket.on('error', () => socket.terminate());
});

server.listen(8080);
