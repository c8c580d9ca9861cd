/** mirrord's tunnel over a link with a delay, beside the kernel's own TCP over the same link (far-end.ts). */

import type {Contender, ContenderName, Contenders} from './contenders.ts';
import {openEnds} from './far-end.ts';
import type {LoadPorts} from './load.ts';
import type {Person} from './person.ts';
import {Processes, pidOf} from './processes.ts';

/** An address that is local at the far end, where the server is. */
const serverHost = '198.18.0.1';

/** Opens a link whose round trip takes this long, and both contenders on it. */
export async function openDelayed(
  person: Person,
  {load, link}: {load: string; link: string},
  roundTripMs: number,
): Promise<Contenders> {
  const processes = new Processes(person);
  try {
    const ends = await openEnds(processes, link, roundTripMs);
    const server = processes.start('server', [...ends.there, load, 'serve']);
    const ports = await server.said<LoadPorts>();
    const {agent, token} = await ends.startAgent(pidOf(server));

    const kernel = await processes.startClient('kernel TCP', [...ends.here, load, 'client']);
    const session = ends.session(token, ['{}', load, 'client']);
    const mirrord = await processes.startClient('mirrord', session);
    const common = {host: serverHost, ports};
    const all = new Map<ContenderName, Contender>([
      ['kernel TCP', {...common, load: kernel, carriers: []}],
      ['mirrord', {...common, load: mirrord, carriers: [pidOf(mirrord), pidOf(agent)]}],
    ]);
    return {all, [Symbol.asyncDispose]: () => processes[Symbol.asyncDispose]()};
  } catch (error) {
    await processes[Symbol.asyncDispose]();
    throw error;
  }
}
