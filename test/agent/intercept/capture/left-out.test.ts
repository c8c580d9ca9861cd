/** Which ports are left out of what is copied from outside. */

import test from 'ava';
import {LeftOut} from '../../../../agent/intercept/capture/left-out.ts';

test('a port is left out until something comes for the application, and after some times not any more', (t) => {
  const leftOut = new LeftOut();
  let times = 0;
  while (leftOut.add(80)) {
    t.false(leftOut.add(80), 'it is already');
    t.deepEqual([...leftOut.ports], [80]);
    leftOut.takeIn(80);
    t.is(leftOut.ports.size, 0);
    times++;
  }
  t.true(times > 1);
  t.true(leftOut.add(81), 'each port by itself');
  leftOut.takeIn(82);
  t.true(leftOut.add(82), 'that was never left out');
  leftOut.keep((port) => port === 81);
  t.deepEqual([...leftOut.ports], [81]);
  t.true(leftOut.add(80), 'nobody had mirrored it in between');
});
