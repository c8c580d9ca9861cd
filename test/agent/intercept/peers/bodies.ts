/** Clients of HTTP/2 whose requests have bodies that take their time, so that a filter of bodies has to think, and others overtake. */

import {type ClientHttp2Session, connect} from 'node:http2';
import {setTimeout as delay, setImmediate as immediately} from 'node:timers/promises';

const LARGE = 170_000;

/**
 * Asks without a pause over two connections, by eight streams at a time; counts answers and failures: of every third lane, whose bodies
 * are `who`'s, by themselves.
 */
export function askWithBodies(port: number, who: string) {
  const seen: Record<string, number> = {};
  const own: Record<string, number> = {};
  let isOver = false;
  const sessions = [1, 2].map(() => connect(`http://127.0.0.1:${port}`));
  for (const session of sessions) session.on('error', () => undefined);
  const ask = async (
    session: ClientHttp2Session,
    count: number,
    isOwn: boolean,
  ): Promise<string> => {
    // What is too large for a filter is not its program's.
    const isLarge = !isOwn && count % 5 === 0;
    const fill = 'x'.repeat(isLarge ? LARGE : count % 100);
    const body = JSON.stringify({who: isOwn ? who : 'somebody', fill});
    try {
      const stream = session.request({':method': 'POST', 'content-type': 'application/json'});
      const answer = stream.toArray();
      stream.write(body.slice(0, 20));
      await delay(Math.random() * 10);
      if (isLarge) stream.write(body.slice(20, 100_000));
      if (isLarge) await delay(Math.random() * 10);
      stream.end(body.slice(isLarge ? 100_000 : 20));
      const text = Buffer.concat(await answer).toString();
      return text.startsWith(body) ? text.slice(body.length) : `other: ${text.length}`;
    } catch (error) {
      // A session that is over says so at once, again and again.
      await immediately();
      return (error as NodeJS.ErrnoException).message;
    }
  };
  const lane = async (session: ClientHttp2Session, at: number): Promise<void> => {
    const isOwn = at % 3 === 0;
    const into = isOwn ? own : seen;
    for (let count = 0; !isOver; count++) {
      const end = await ask(session, count, isOwn);
      into[end] = (into[end] ?? 0) + 1;
    }
  };
  const lanes = sessions.flatMap((session) =>
    Array.from({length: 8}, (_, at) => lane(session, at)),
  );
  return {
    seen,
    own,
    async stop(): Promise<void> {
      isOver = true;
      await Promise.all(lanes);
      for (const session of sessions) session.close();
    },
  };
}
