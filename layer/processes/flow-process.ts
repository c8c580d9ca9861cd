/**
 * To which process of a sandbox a flow belongs.
 *
 * Theory of operation. A packet doesn't say who sent it, but its addresses name a socket (`socket-query.ts`),
 * and a process that holds the socket has it among its descriptors (`socket-owner.ts`). That is looked up
 * when a flow begins, when the socket is there for certain: connect(2) waits for the answer to its SYN. A
 * datagram's sender may be gone already; then nobody is known.
 *
 * To know whether a flow is a skipped process's, first only the names of processes are looked at; mostly
 * there is none of these, and that is all. Else their descriptors are, nobody else's: a server may have
 * thousands.
 */

import type {Endpoint} from '../../netstack/types.ts';
import type {Log} from '../log.ts';
import type {IsSkipped} from '../routing/router.ts';
import type {Launcher} from '../sandbox/launcher.ts';
import {type SandboxProcess, SandboxProcesses} from './sandbox-processes.ts';
import {holderOf, openSocketFinder} from './socket-owner.ts';
import type {SocketKind} from './socket-query.ts';
import {matchTools, type SkipOptions, skippedNames} from './tools.ts';

/** Tells whose a flow is. */
export interface FlowProcesses extends Disposable {
  readonly isSkipped: IsSkipped;
  /** The process that holds the socket at `local`, which talks to `peer`; a listener counts. */
  find(kind: SocketKind, local: Endpoint, peer: Endpoint): SandboxProcess | undefined;
  /** `skipped`: flows of skipped processes; `unknown`: flows whose socket was not found. */
  readonly counters: {skipped: number; unknown: number};
}

export interface FlowProcessesOptions {
  /** Whose flows `isSkipped` is true for; those of the build tools by default. */
  skip?: SkipOptions;
  log: Log;
}

/** Opens the lookup for a sandbox. */
export function openFlowProcesses(
  launcher: Launcher,
  {skip = {buildTools: true, names: []}, log}: FlowProcessesOptions,
): FlowProcesses {
  const sockets = openSocketFinder(launcher, log);
  const processes = new SandboxProcesses({
    pid: launcher.process.pid ?? 0,
    classify: matchTools(skippedNames(skip)),
  });
  const counters = {skipped: 0, unknown: 0, looking: processes.counters};
  return {
    counters,
    isSkipped(kind, source, destination) {
      processes.look();
      const marked = [...processes.values()].filter(({isMarked}) => isMarked);
      if (marked.length === 0) return false;
      const socket = sockets.find(kind, source, destination);
      if (socket === undefined) counters.unknown++;
      if (socket === undefined || socket.isListener) return false;
      const isSkipped = holderOf(marked, socket) !== undefined;
      if (isSkipped) counters.skipped++;
      return isSkipped;
    },
    find(kind, local, peer) {
      const socket = sockets.find(kind, local, peer);
      if (socket === undefined) {
        counters.unknown++;
        return undefined;
      }
      processes.look();
      return holderOf([...processes.values()].reverse(), socket);
    },
    [Symbol.dispose]() {
      sockets[Symbol.dispose]();
      processes[Symbol.dispose]();
    },
  };
}
