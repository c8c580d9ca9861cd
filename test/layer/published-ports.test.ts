import test from 'ava';
import {dialOrder} from '../../layer/published-ports.ts';

test('a listener is dialled where it is bound; on all addresses: by loopback', (t) => {
  t.deepEqual(dialOrder(['0.0.0.0'], false), ['127.0.0.1']);
  t.deepEqual(dialOrder(['::'], false), ['::1']);
  t.deepEqual(dialOrder(['10.244.0.10'], false), ['10.244.0.10']);
});

test("the client's family comes first, the pod's own addresses last, each once", (t) => {
  const bound = ['10.244.0.10', '127.0.0.1', '0.0.0.0', '::1'];
  t.deepEqual(dialOrder(bound, false), ['127.0.0.1', '::1', '10.244.0.10']);
  t.deepEqual(dialOrder(bound, true), ['::1', '127.0.0.1', '10.244.0.10']);
});
