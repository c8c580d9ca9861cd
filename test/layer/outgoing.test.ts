import test from 'ava';
import {presentableErrno} from '../../layer/outgoing.ts';

test('errnos that a program knows of connect are passed on', (t) => {
  for (const errno of [
    'ECONNREFUSED',
    'ENETUNREACH',
    'EHOSTUNREACH',
    'ETIMEDOUT',
    'EACCES',
  ] as const) {
    t.is(presentableErrno(errno), errno);
  }
});

test('errnos that only the agent can meet become the nearest that a network gives', (t) => {
  t.is(presentableErrno('ENETDOWN'), 'ENETUNREACH');
  t.is(presentableErrno('EADDRNOTAVAIL'), 'ENETUNREACH');
  t.is(presentableErrno('EHOSTDOWN'), 'EHOSTUNREACH');
  t.is(presentableErrno('EMFILE'), 'EHOSTUNREACH');
});
