import test from 'ava';
import {callPing} from '../../tunnel/target.ts';
import {startLink} from '../helpers/agent-link.ts';
import {until} from '../helpers/until.ts';

test('a lost connection that comes back at once is not worth a word', async (t) => {
  const {link, told, cut} = await startLink(t);
  cut(true);
  await until(() => link.mux.counters.resumed === 1);
  await callPing(link.mux);
  t.deepEqual(told, []);
});

test('a connection that is lost for a while is told about, and that it is back', async (t) => {
  const {link, told, cut, open} = await startLink(t);
  cut(false);
  await until(() => told.length > 0);
  open();
  await callPing(link.mux);
  t.deepEqual(told, [
    'the connection to the agent is lost; connecting again, the program waits',
    'the connection to the agent is back',
  ]);
});

test('an agent that is known to be gone is not waited for', async (t) => {
  const {link, cut, ended} = await startLink(t);
  cut(false);
  await until(() => link.mux.isSuspended);
  ended.resolve(new Error('its pod was deleted'));
  t.is(await link.closed, 'the connection under the tunnel ended');
});
