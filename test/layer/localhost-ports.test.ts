import test from 'ava';
import {shareLocalhost} from '../../layer/localhost-ports.ts';

const pod = {
  tcp4: [80, 5432],
  tcp6: [80],
  udp4: [8125],
  udp6: [],
  ownTcp4: [80, 5432],
  ownTcp6: [80],
  ownUdp4: [],
  ownUdp6: [],
};
const host = {
  tcp: [
    {address: '127.0.0.1', port: 5432},
    {address: '0.0.0.0', port: 80},
    {address: '192.0.2.2', port: 81},
    {address: '::1', port: 82},
    {address: '::', port: 83},
    {address: '127.0.0.1', port: 9000},
  ],
  udp: [{address: '127.0.0.53', port: 8125}],
};
const isPublished = (port: number): boolean => port === 9000;

test('where all is the pod’s, its ports are handed over', (t) => {
  t.deepEqual(shareLocalhost({pod, host, side: () => 'agent', isPublished}), pod);
});

test('where all is this machine’s: what is reached on its loopback, not what is published', (t) => {
  t.deepEqual(shareLocalhost({pod, host, side: () => 'host', isPublished}), {
    ...pod,
    tcp4: [80, 83, 5432],
    tcp6: [82, 83],
    udp4: [8125],
    udp6: [],
  });
});

test('a port that is this machine’s but closed there is not handed over, though the pod has it', (t) => {
  const side = (protocol: string): 'host' | 'agent' => (protocol === 'udp' ? 'host' : 'agent');
  const shared = shareLocalhost({pod, host: {tcp: [], udp: []}, side, isPublished});
  t.deepEqual(shared, {...pod, udp4: []});
});
