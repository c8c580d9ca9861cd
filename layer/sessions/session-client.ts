/**
 * Talks to running sessions: lists them, ends them, and holds on to one that is joined.
 */

import {once} from 'node:events';
import {rmSync} from 'node:fs';
import {type IncomingMessage, request} from 'node:http';
import {createInterface} from 'node:readline';
import {MirrordError} from '../errors.ts';
import {removeEmptyDirectories, sessionIds, socketPath} from './session-directory.ts';
import type {SessionContext, SessionInfo} from './session-server.ts';

/** A session answers in milliseconds, unless it was stopped (Ctrl-Z). */
const answerTimeoutMs = 3_000;

/** A session that is there but doesn't answer, or what it answers. */
export type ListedSession = SessionInfo | {readonly id: string; readonly error: string};

/** A joined session. */
export interface JoinedSession extends Disposable {
  readonly id: string;
  readonly context: SessionContext;
  /** Resolves when the session is over. */
  readonly ended: Promise<void>;
}

function notFound(id: string): MirrordError {
  return new MirrordError('MIRRORD_SESSION_NOT_FOUND', `there is no session ${id}`, {
    hint: 'see: mirrord session list',
  });
}

/** Whether nobody listens on the socket any more, or it is gone. */
function isGone(error: unknown): boolean {
  const {code} = error as NodeJS.ErrnoException;
  return code === 'ECONNREFUSED' || code === 'ENOENT' || code === 'ECONNRESET';
}

/** Sends a request. Resolves with the answer's head; its body may stay open. */
async function ask(id: string, method: string, path: string): Promise<IncomingMessage> {
  const sent = request({socketPath: socketPath(id), method, path, agent: false}).end();
  const [answer] = (await once(sent, 'response', {
    signal: AbortSignal.timeout(answerTimeoutMs),
  }).catch((error: unknown) => {
    sent.on('error', () => undefined).destroy();
    throw error;
  })) as [IncomingMessage];
  answer.on('error', () => undefined); // its end is told by 'close'
  return answer;
}

/** Resolves when an answer is over, in good order or not. */
async function over(answer: IncomingMessage): Promise<void> {
  await new Promise<void>((resolve) => answer.once('close', resolve));
}

/** The first line of an answer. Throws when there is none. */
async function firstLine(answer: IncomingMessage): Promise<string> {
  const lines = createInterface({input: answer});
  const [line] = (await Promise.race([once(lines, 'line'), over(answer)])) ?? [];
  lines.close();
  answer.resume();
  if (typeof line !== 'string') throw Object.assign(new Error('no answer'), {code: 'ECONNRESET'});
  return line;
}

async function describe(id: string): Promise<ListedSession | undefined> {
  try {
    return JSON.parse(await firstLine(await ask(id, 'GET', '/info'))) as SessionInfo;
  } catch (error) {
    if (!isGone(error)) return {id, error: 'does not answer'};
    rmSync(socketPath(id), {force: true});
    return undefined;
  }
}

/** Lists the sessions, and removes what dead ones have left. Throws MIRRORD_SESSIONS_UNSAFE. */
export async function listSessions(): Promise<ListedSession[]> {
  const ids = sessionIds();
  const described = await Promise.all(ids.map(describe));
  const found = described.filter((session) => session !== undefined);
  if (ids.length > 0 && found.length === 0) removeEmptyDirectories();
  return found;
}

/** The id that begins with `text`. Throws MIRRORD_SESSION_NOT_FOUND, also where there is more than one. */
export function findSession(text: string): string {
  const found = sessionIds().filter((id) => text !== '' && id.startsWith(text));
  const [id] = found;
  if (id === undefined || found.length > 1) throw notFound(text);
  return id;
}

/** An error of a request, for people. */
function explain(id: string, error: unknown): unknown {
  if (isGone(error)) return notFound(id);
  if ((error as Error).name !== 'AbortError') return error;
  return new MirrordError('MIRRORD_SESSION_UNRESPONSIVE', `session ${id} does not answer`, {
    hint: 'if it was stopped by Ctrl-Z, continue it: fg',
    cause: error,
  });
}

/** Ends a session; resolves when it is over. Throws MIRRORD_SESSION_NOT_FOUND or MIRRORD_SESSION_UNRESPONSIVE. */
export async function stopSession(id: string): Promise<void> {
  try {
    const answer = await ask(id, 'POST', '/stop');
    answer.resume();
    await over(answer);
  } catch (error) {
    throw explain(id, error);
  }
}

/** Joins a session. Throws MIRRORD_SESSION_NOT_FOUND or MIRRORD_SESSION_UNRESPONSIVE. */
export async function joinSession(id: string): Promise<JoinedSession> {
  try {
    const answer = await ask(id, 'GET', '/join');
    const ended = over(answer);
    const context = JSON.parse(await firstLine(answer)) as SessionContext;
    return {id, context, ended, [Symbol.dispose]: () => void answer.destroy()};
  } catch (error) {
    throw explain(id, error);
  }
}
