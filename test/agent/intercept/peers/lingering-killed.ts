/**
 * Run in a network namespace of its own (`peers.test.ts`): an agent that stays for what others have through it is killed, too. Writes
 * what became of a request of HTTP/2 that was not whole by then as JSON: of a connection that was others' alone, and of one that was not.
 */

import {once} from 'node:events';
import {connect} from 'node:http2';
import {until} from '../../../helpers/until.ts';
import {stealing} from './killing.ts';
import {serveHttp2} from './servers.ts';

const APPLICATION = 8_080;
const ALL = 2 ** 31 - 1;

await serveHttp2('application', APPLICATION);
const program = await serveHttp2('program');
const mine = {kind: 'header', pattern: {source: '^x-who: a$', flags: ''}} as const;

async function survives(...first: Record<string, string>[]): Promise<string[]> {
  const agent = await stealing(APPLICATION, mine, program);
  const session = connect(`http://127.0.0.1:${APPLICATION}`);
  const lastIds: number[] = [];
  session.on('goaway', (_code, lastId) => lastIds.push(lastId));
  const ask = async (headers: Record<string, string>): Promise<string> => {
    const stream = session.request({':method': 'POST', ...headers});
    stream.end('asked ');
    return Buffer.concat(await stream.toArray()).toString();
  };
  const answers: string[] = [];
  for (const headers of first) answers.push(await ask(headers));
  const stream = session.request({':method': 'POST'});
  stream.write('begun ');
  const answer = stream.toArray();
  answers.push(await ask({}));

  agent.leave();
  // It hears that it is to end, and then which stream is the last one.
  await until(() => lastIds.some((id) => id < ALL));
  await agent.kill();
  const closed = once(session, 'close');
  stream.end('ended ');
  answers.push(Buffer.concat(await answer).toString());
  await closed;
  return answers;
}

const whole = await survives();
process.stdout.write(JSON.stringify({whole, divided: await survives({'x-who': 'a'})}));
process.exit();
