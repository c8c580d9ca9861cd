/**
 * The one socket of a pod at which its agents meet: whoever binds it leads. A leader that is stopped holds it and leads nobody;
 * then the agents meet at the next place (`meetingPoint`), and it finds that out when it goes on, since it looks above.
 *
 * Anything in the pod can bind the name or connect to it, too. Agents listen to nobody but processes of their own user
 * and of root, as the kernel tells (SO_PEERCRED): the pod's own may be root, and what remains then is told in
 * docs/agent.md.
 */

import {once} from 'node:events';
import {connect, type Server, type Socket} from 'node:net';
import {errnoOf} from '../../errno.ts';
import {peerUser} from '../../native.ts';
import {LAST_PLACE, meetingPoint} from './protocol.ts';

/** Whether the other end of a connection is an agent's, as far as users tell. */
export function isTrusted(socket: Socket): boolean {
  const {_handle: handle} = socket as unknown as {_handle: {fd?: number} | null};
  try {
    const user = peerUser(handle?.fd ?? -1);
    return user === 0 || user === process.geteuid?.();
  } catch {
    return false;
  }
}

/** Has a server listen there; false: somebody else does. Rejects where there are no unix sockets. */
export async function occupy(server: Server, name: string): Promise<boolean> {
  const listening = once(server, 'listening');
  server.listen({path: name});
  try {
    await listening;
    return true;
  } catch (error) {
    if (errnoOf(error) === 'EADDRINUSE') return false;
    throw error;
  }
}

/** Connects to whoever is there. Rejects with ECONNREFUSED: nobody; EACCES: somebody who is no agent. */
export async function visit(name: string): Promise<Socket> {
  const socket = connect({path: name});
  await once(socket, 'connect');
  if (isTrusted(socket)) return socket;
  socket.destroy();
  throw Object.assign(new Error('it is held by a process of the pod'), {code: 'EACCES'});
}

/** The highest place above `place` that an agent holds; undefined: none. */
export async function placeAbove(place: number): Promise<number | undefined> {
  for (let above = LAST_PLACE; above > place; above--) {
    try {
      (await visit(meetingPoint(above))).destroy();
      return above;
    } catch {
      // Nobody, or no agent: it does not count.
    }
  }
  return undefined;
}
