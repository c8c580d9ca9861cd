/**
 * A connection to an agent that has answered.
 *
 * A port-forward opens before anything listens behind it, so the agent is asked `GET /ready` first, and the
 * same connection is used on. Until it listens, the kubelet's connection is refused: that is tried again
 * after a few milliseconds, while the agent's start is being watched.
 */

import {once} from 'node:events';
import type {Duplex} from 'node:stream';
import {setTimeout as delay} from 'node:timers/promises';
import type {KubeClient} from '../client.ts';
import {hasStatus} from '../errors.ts';
import {openPortForward, type PodPort} from '../port-forward.ts';
import {backoffMs} from '../retry.ts';

/** Node needs some 200 ms to start; a busy node longer. */
const pauses = {minMs: 20, maxMs: 500};
/** An agent that listens answers within a round trip, ms. */
const answerTimeoutMs = 10_000;
/** The answer is two short headers, bytes. */
const answerLimit = 4096;

/** The agent that was there is dead (layer/native/first-process.c). */
export class AgentGoneError extends Error {
  constructor() {
    super('the agent was killed');
    this.name = 'AgentGoneError';
  }
}

/** Whether the API server refuses, and will again: a missing right above all. */
function isFinal(error: unknown): boolean {
  return hasStatus(error, 401, 403, 404);
}

/** Connects until the agent answers. Throws the last failure when the signal says that it is enough. */
export async function connectReady(
  client: KubeClient,
  place: PodPort,
  signal: AbortSignal,
): Promise<Duplex> {
  for (let attempt = 0; ; attempt += 1) {
    try {
      return await connectOnce(client, place);
    } catch (error) {
      if (signal.aborted || isFinal(error)) throw error;
    }
    await delay(backoffMs(attempt, pauses), undefined, {signal}).catch(() => undefined);
  }
}

/** Connects, and rejects when the agent gives no answer; with AgentGoneError when none will. */
export async function connectOnce(client: KubeClient, place: PodPort): Promise<Duplex> {
  const connection = await openPortForward(client, place);
  try {
    connection.write('GET /ready HTTP/1.1\r\nhost: agent\r\n\r\n');
    await readAnswer(connection);
    return connection;
  } catch (error) {
    connection.destroy();
    throw error;
  }
}

/** Reads a head without a body, and nothing behind it: the agent says no more until it is asked. */
async function readAnswer(connection: Duplex): Promise<void> {
  let answer = '';
  const signal = AbortSignal.timeout(answerTimeoutMs);
  while (!answer.endsWith('\r\n\r\n')) {
    const chunk = connection.read() as Buffer | null;
    if (chunk !== null) {
      answer += chunk.toString('latin1');
      if (answer.length > answerLimit) break;
      continue;
    }
    if (connection.destroyed || connection.readableEnded) break;
    const over = new AbortController();
    const either = AbortSignal.any([signal, over.signal]);
    try {
      await Promise.race([
        once(connection, 'readable', {signal: either}),
        once(connection, 'close', {signal: either}),
      ]);
    } finally {
      over.abort();
    }
  }
  if (/^HTTP\/1\.1 410 /.test(answer)) throw new AgentGoneError();
  if (!/^HTTP\/1\.1 204 /.test(answer)) throw new Error('no agent answers there');
}
