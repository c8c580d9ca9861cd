import test from 'ava';
import {applyChanges} from '../../layer/joined.ts';

test("a joined program's environment is the caller's, with what the session changed in its own", (t) => {
  const local = {HOME: '/home/me', DB: 'mine', SECRET: 'x', EMPTY: ''};
  const changes = {set: {DB: "the pod's", NEW: '1'}, unset: ['SECRET', 'NOT_THERE']};
  t.deepEqual(applyChanges(local, changes), {
    HOME: '/home/me',
    DB: "the pod's",
    EMPTY: '',
    NEW: '1',
  });
});
