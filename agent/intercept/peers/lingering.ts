/**
 * So many agents of one pod stay after their sessions for what passes through them, and no more: each costs the pod, or its
 * node, the memory of a Node.
 *
 * Theory of operation. There are some places, each an abstract unix socket of the pod's network namespace: who stays binds
 * one. Who connects to it hears since when that one stays, and may say that it is to go. Who finds all of them held sends the oldest away, and
 * takes its place. That ends what is left of its connections as after the longest time, with an end: who asks for little was
 * let go before (`letting-go.ts`), and what is left has had the longest time of all.
 *
 * As at the meeting point, agents listen to their own user and root alone. Where the places are held by somebody who does not answer, an
 * agent stays without one.
 */

import {once} from 'node:events';
import {createServer, type Server, type Socket} from 'node:net';
import type {Log} from '../../log.ts';
import {isTrusted, occupy, visit} from './meeting-point.ts';
import {lingeringPlace, MOST_LINGERING} from './protocol.ts';

/** How long one that stays may take to answer, and to go, ms. */
const ANSWER_MS = 1_000;
/** Others may be quicker. */
const ATTEMPTS = 8;
const GO = 'go\n';

/** By a clock that all agents of the pod have, µs. */
function now(): number {
  return Number(process.hrtime.bigint() / 1000n);
}

/** Takes a place; resolves with a promise of the time when somebody else needs it. */
export async function stay(log: Log): Promise<{readonly displaced: Promise<void>}> {
  const {promise: displaced, resolve} = Promise.withResolvers<void>();
  const since = now();
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    if (await occupyAny(since, resolve)) return {displaced};
    if (!(await sendOldestAway())) break;
  }
  log.warn('lingering without a place: who holds them does not answer');
  return {displaced};
}

async function occupyAny(since: number, onDisplaced: () => void): Promise<boolean> {
  for (let place = 0; place < MOST_LINGERING; place++) {
    const server = listen(since, onDisplaced);
    if (await occupy(server, lingeringPlace(place))) return true;
  }
  return false;
}

function listen(since: number, onDisplaced: () => void): Server {
  const server = createServer((socket) => {
    socket.on('error', () => undefined).setTimeout(ANSWER_MS, () => socket.destroy());
    if (!isTrusted(socket)) {
      socket.destroy();
      return;
    }
    socket.write(`${since}\n`);
    socket.once('data', (said) => {
      if (said.toString() !== GO) return;
      // The name is free when this is closed.
      server.close();
      socket.destroy();
      onDisplaced();
    });
  });
  server.maxConnections = MOST_LINGERING;
  return server.unref();
}

/** Resolves when its place is free; false: nobody answers. */
async function sendOldestAway(): Promise<boolean> {
  const all = await Promise.all(
    Array.from({length: MOST_LINGERING}, (_, place) => ask(lingeringPlace(place))),
  );
  const [oldest, ...others] = all
    .filter((one) => one !== undefined)
    .toSorted((one, other) => one.since - other.since);
  for (const {socket} of others) socket.destroy();
  if (oldest === undefined) return false;
  const {socket} = oldest;
  if (!socket.destroyed) {
    socket.write(GO);
    await once(socket, 'close');
  }
  return true;
}

/** Since when somebody stays there, and the connection to it. */
async function ask(name: string): Promise<{since: number; socket: Socket} | undefined> {
  try {
    const socket = await visit(name);
    socket.on('error', () => undefined).setTimeout(ANSWER_MS, () => socket.destroy());
    const [said] = await Promise.race([
      once(socket, 'data'),
      once(socket, 'close').then(() => [undefined]),
    ]);
    if (said !== undefined) return {since: Number(`${said}`), socket};
  } catch {
    // It has gone just now, or is none of us.
  }
  return undefined;
}
