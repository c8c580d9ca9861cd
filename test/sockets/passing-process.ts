/**
 * A process that passes connections to its listener on to 127.0.0.1:PORT, with another one that stands by: prints its port and the pid of
 * that one, and what it has an account of whenever it is asked by SIGUSR2.
 */

import {once} from 'node:events';
import {type AddressInfo, createServer} from 'node:net';
import {pass} from '../../agent/intercept/pass.ts';
import {connectSocket} from '../../sockets/connect.ts';
import {adoptSocket} from '../../sockets/native-socket.ts';
import {Passage} from '../../sockets/passage.ts';
import {standbyCounts, startStandby} from '../../sockets/standby.ts';

const port = Number(process.argv[2]);
const destination = {address: new Uint8Array([127, 0, 0, 1]), port};
const pid = startStandby();

const server = createServer(
  {allowHalfOpen: true, pauseOnConnect: true, noDelay: true},
  (socket) => {
    const client = adoptSocket(socket);
    if (client === undefined) throw new Error('no addon');
    const passage = new Passage(client, {destination});
    const application = connectSocket(destination, 60_000);
    application.handler = {
      onConnect() {
        passage.join(application);
        void pass(client, application, []).then(() => socket.destroy());
      },
      onData: () => undefined,
      onEnd: () => undefined,
      onClose: () => client.destroy(true),
    };
  },
);
process.on('SIGUSR2', () => process.stdout.write(`${JSON.stringify(standbyCounts())}\n`));
server.listen(0, '127.0.0.1');
await once(server, 'listening');
process.stdout.write(`${(server.address() as AddressInfo).port} ${pid}\n`);
