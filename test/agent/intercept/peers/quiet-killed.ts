/**
 * Run in a network namespace of its own (`peers.test.ts`): an agent is killed beside a connection of HTTP/2 by which nobody has asked
 * anything since its first request for a program. Writes what became of it as JSON.
 */

import {connect} from 'node:http2';
import {stealing} from './killing.ts';
import {serveHttp2} from './servers.ts';

const APPLICATION = 8_080;

await serveHttp2('application', APPLICATION);
const mine = {kind: 'header', pattern: {source: '^x-who: a$', flags: ''}} as const;
const agent = await stealing(APPLICATION, mine, await serveHttp2('program'));
const session = connect(`http://127.0.0.1:${APPLICATION}`);
const ask = async (headers: Record<string, string>): Promise<string> => {
  const stream = session.request({':method': 'POST', 'x-new': `${Math.random()}`, ...headers});
  stream.end('asked ');
  return Buffer.concat(await stream.toArray()).toString();
};
const stream = session.request({':method': 'POST'});
stream.write('begun ');
const answer = stream.toArray();
const answers = [await ask({'x-who': 'a'})];
// Its answer comes behind that to what the client was asked meanwhile.
await new Promise((resolve) => session.ping(resolve));
await agent.kill();
stream.end('ended ');
answers.push(Buffer.concat(await answer).toString(), await ask({}), await ask({'x-who': 'a'}));
process.stdout.write(JSON.stringify(answers));
process.exit();
