/**
 * The agent: a plain Node program that dials out of a pod for a program somewhere else.
 *
 * It is started inside the target's namespaces (network, user, UTS), with the host's /proc. In this
 * mode it has one client, at the other end of an inherited socket pair, listens nowhere, and exits
 * when that connection ends or no token comes within the communication timeout. Modes with a
 * listening socket will pass their connections to the same `AgentServer`.
 */

import {randomBytes} from 'node:crypto';
import {Socket} from 'node:net';
import {EchoSocket, type EchoSockets} from './dial/echo.ts';
import {makeLog} from './log.ts';
import {type AgentOptions, parseOptions, UsageError} from './options.ts';
import {AgentServer} from './server.ts';

const log = makeLog(process.env['MIRRORD_AGENT_LOG'], (line) => process.stderr.write(line));

/** Takes a ping socket over. Where the pod's kernel made none (`ping_group_range`), pings get no answer. */
function adoptEcho(family: 4 | 6, fd: number | undefined): EchoSockets {
  if (fd === undefined) return {};
  try {
    return {[family]: new EchoSocket(family, fd, log)};
  } catch (error) {
    log.debug('no ping socket', {family, error: String(error)});
    return {};
  }
}

function main(): void {
  let options: AgentOptions;
  try {
    options = parseOptions(process.argv.slice(2), process.env);
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    log.error(error.message, {code: error.code});
    process.exitCode = 2;
    return;
  }
  const {echo4Fd, echo6Fd, targetPid, token, handshakeTimeoutMs} = options;
  const server = new AgentServer({
    targetPid,
    token,
    handshakeTimeoutMs,
    echoSockets: {...adoptEcho(4, echo4Fd), ...adoptEcho(6, echo6Fd)},
    ownPorts: new Set(),
    log,
    random: () => randomBytes(4).readUInt32BE() / 0x1_0000_0000,
  });
  const connection = new Socket({fd: options.connectionFd, readable: true, writable: true});
  connection.on('close', () => process.exit());
  server.serve(connection);
  // A bug in one flow must not take the others down; where it comes from a message, its session
  // ends. Only set here: what fails before should end the process.
  process.on('uncaughtException', (error) => log.error('bug', {error: error.stack ?? `${error}`}));
}

main();
