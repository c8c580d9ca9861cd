/**
 * A session of mirrord over a connection that is there already, descriptor 3: TOKEN PROGRAM ARGUMENT…. What `mirrord
 * exec` does once the port-forward to the agent is up, so that the tunnel can be led over any link.
 */

import {Socket} from 'node:net';
import {linkAgent} from '../../../layer/agent-link.ts';
import {runInContext} from '../../../layer/session.ts';

const connectionFd = 3;
const [token = '', ...argv] = process.argv.slice(2);
const {promise: never} = Promise.withResolvers<Error>();
const tell = (message: string): void => {
  process.stderr.write(`${message}\n`);
};

const connection = new Socket({fd: connectionFd, readable: true, writable: true});
connection.setNoDelay(true);
using link = await linkAgent(connection, token, never);
const end = await runInContext(link, {
  target: 'bench',
  argv,
  env: process.env,
  log: () => undefined,
  warn: tell,
  info: tell,
});
process.exitCode = 'code' in end ? end.code : 1;
