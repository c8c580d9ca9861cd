/**
 * What a running session tells other mirrord processes of its user, over HTTP on its unix socket:
 *
 *     GET  /info   what is shown to people (`SessionInfo`)
 *     GET  /join   what it takes to run another program inside (`SessionContext`), secrets and all
 *     POST /stop   ends the session's program, politely first
 *
 * The answers to /join and /stop stay open, and their end is the session's: whoever joined learns of it
 * even when mirrord was killed. The socket's mode is 0600. A session without a socket (there is no
 * directory that can be written to) runs all the same; it can only not be listed.
 */

import {chmodSync, renameSync, rmSync} from 'node:fs';
import {createServer, type IncomingMessage, type Server, type ServerResponse} from 'node:http';
import type {Log} from '../log.ts';
import type {PublishedPort} from '../published-ports.ts';
import {
  newSessionId,
  prepareSocket,
  removeEmptyDirectories,
  socketPath,
} from './session-directory.ts';

/** A session, as it is shown. */
export interface SessionInfo {
  readonly id: string;
  /** As it was written: `demo/gateway`. */
  readonly target: string;
  readonly command: readonly string[];
  /** The program's process, and that of the launcher that guards it. */
  readonly pid: number;
  readonly launcherPid: number;
  /** ISO 8601. */
  readonly started: string;
  readonly ports: readonly PublishedPort[];
}

/** How a session's environment differs from that of whoever joins it. */
export interface EnvironmentChanges {
  readonly set: Readonly<Record<string, string>>;
  readonly unset: readonly string[];
}

/** What it takes to run a program inside a session. */
export interface SessionContext {
  readonly launcherPid: number;
  readonly target: string;
  readonly environment: EnvironmentChanges;
  /** Whether programs have IPv6. */
  readonly ipv6: boolean;
}

export interface SessionDescription {
  /** Asked for each time: ports come and go. */
  info: () => Omit<SessionInfo, 'id'>;
  environment: EnvironmentChanges;
  ipv6: boolean;
  onStop: () => void;
  /** Sees to it that a path goes even if we are killed. Throws where that can't be done. */
  leaveNo: (path: string) => void;
  log: Log;
}

function answerJson(response: ServerResponse, status: number, body: object): void {
  response.writeHead(status, {'content-type': 'application/json'});
  response.write(`${JSON.stringify(body)}\n`);
}

/** Makes the handler of requests; what stays open is added to `open`. */
function createHandler(id: string, options: SessionDescription, open: Set<ServerResponse>) {
  const keep = (response: ServerResponse): void => {
    open.add(response);
    response.once('close', () => open.delete(response));
  };
  return ({method, url}: IncomingMessage, response: ServerResponse): void => {
    const info = options.info();
    switch (`${method} ${url}`) {
      case 'GET /info':
        answerJson(response, 200, {id, ...info});
        response.end();
        break;
      case 'GET /join': {
        const {launcherPid, target} = info;
        const {environment, ipv6} = options;
        answerJson(response, 200, {launcherPid, target, environment, ipv6});
        keep(response);
        break;
      }
      case 'POST /stop':
        answerJson(response, 202, {});
        keep(response);
        options.onStop();
        break;
      default:
        answerJson(response, 404, {error: `${method} ${url} is nothing that a session knows`});
        response.end();
    }
  };
}

function remove(path: string): void {
  rmSync(path, {force: true});
}

/** Listens; gives the socket its name once that works. */
function listen(server: Server, id: string, {leaveNo, log}: SessionDescription): void {
  const path = prepareSocket(id, leaveNo);
  server.on('error', (error) => log('session: no socket', {error: error.message}));
  server.listen(path, () => {
    try {
      chmodSync(path, 0o600);
      renameSync(path, socketPath(id));
    } catch (error) {
      log('session: no socket', {error: String(error)});
    }
  });
}

/** Makes a session known, until the result is disposed of. */
export function openSession(options: SessionDescription): Disposable {
  const id = newSessionId();
  const open = new Set<ServerResponse>();
  const server = createServer(createHandler(id, options, open));
  try {
    listen(server, id, options);
  } catch (error) {
    options.log('session: no socket', {error: String(error)});
    return {[Symbol.dispose]: () => undefined};
  }
  return {
    [Symbol.dispose]() {
      remove(socketPath(id));
      for (const response of open) response.destroy();
      server.close(); // removes the socket if it still has its first name
      server.closeAllConnections();
      removeEmptyDirectories();
    },
  };
}
