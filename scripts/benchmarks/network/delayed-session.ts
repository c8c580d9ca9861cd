/**
 * A session of mirrord over a connection that is there already, descriptor 3: TOKEN OPTIONS PROGRAM ARGUMENT…. What
 * `mirrord exec` does once the port-forward to the agent is up, so that the tunnel can be led over any link. The
 * options are those of a session (SessionOptions), as JSON; MIRRORD_LOG=debug has what it counts on the standard error.
 */

import {Socket} from 'node:net';
import {linkAgent} from '../../../layer/agent-link.ts';
import {createLog} from '../../../layer/log.ts';
import {parseInherited} from '../../../layer/sandbox/inherited.ts';
import {runInContext, type SessionOptions} from '../../../layer/session.ts';

const connectionFd = 3;
const [token = '', more = '{}', ...argv] = process.argv.slice(2);
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
  inherited: parseInherited(),
  log: createLog(process.env['MIRRORD_LOG']),
  warn: tell,
  info: tell,
  ...(JSON.parse(more) as Partial<SessionOptions>),
});
process.exitCode = 'code' in end ? end.code : 1;
