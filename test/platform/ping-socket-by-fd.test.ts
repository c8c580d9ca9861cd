import {spawn} from 'node:child_process';
import {once} from 'node:events';
import test from 'ava';

/** Makes ping sockets in a namespace of its own and becomes Node with them as fds 4 and 5. */
const MAKER = `
import os, socket, subprocess, sys
subprocess.run(['ip', 'link', 'set', 'lo', 'up'], check=True)
open('/proc/sys/net/ipv4/ping_group_range', 'w').write('0 0')
four = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP)
six = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM, socket.IPPROTO_ICMPV6)
os.dup2(four.fileno(), 24)
os.dup2(six.fileno(), 25)
os.execvp(sys.argv[1], sys.argv[1:])
`;

/** Sends one echo request with an id and checksum of zero, and prints the reply in hex. */
const PINGER = `
const [type, fd, address, request] = process.argv.slice(1);
const socket = require('dgram').createSocket(type);
socket.on('message', (bytes, from) => {
  console.log(bytes.toString('hex'), from.address);
  socket.close();
});
socket.bind({fd: Number(fd)}, () => {
  socket.send(Buffer.from([Number(request), 0, 0, 0, 0, 0, 0x12, 0x34, 1, 2, 3]), 1, address);
});
`;

for (const [type, fd, address, request, reply] of [
  ['udp4', '24', '127.0.0.1', '8', '00'],
  ['udp6', '25', '::1', '128', '81'],
] as const) {
  test(`dgram adopts an inherited ping socket as ${type}, and the kernel fills in id and checksum`, async (t) => {
    const node = [process.execPath, '-e', PINGER, type, fd, address, request];
    const child = spawn('unshare', ['-Urn', 'python3', '-c', MAKER, ...node], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let output = '';
    child.stdout.on('data', (text) => (output += text));
    const [code] = await once(child, 'close');
    t.is(code, 0);
    const [hex = '', from] = output.trim().split(' ');
    t.is(from, address);
    t.is(hex.slice(0, 4), `${reply}00`, 'type and code of the reply');
    t.not(hex.slice(8, 12), '0000', 'the id is the socket’s');
    t.is(hex.slice(12), '1234010203', 'sequence and data come back');
  });
}
