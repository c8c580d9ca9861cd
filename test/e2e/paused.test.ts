import {setTimeout as delay} from 'node:timers/promises';
import test, {type ExecutionContext} from 'ava';
import {type Running, useDemo, waitFor} from '../helpers/e2e.ts';
import {type ProcessEntry, processTree} from '../helpers/processes.ts';

const demo = useDemo(test);

/** Longer than the time after which each side asks for a sign of life, and twice as long as its timers are late. */
const stoppedMs = 12_000;
const SIDES = {mirrord: /cli\/main\.ts exec/, agent: /agent\/main\.ts/};
type Side = keyof typeof SIDES;

function processOf(running: Running, side: Side): ProcessEntry | undefined {
  return processTree(running.pid).find(({command}) => SIDES[side].test(command));
}

/** Stops a side for a while. The while is what is tested: there is no condition to wait for. */
async function pause(t: ExecutionContext, running: Running, side: Side): Promise<void> {
  const {pid} = await waitFor(side, () => processOf(running, side));
  process.kill(pid, 'SIGSTOP');
  await waitFor('it is stopped', () => processOf(running, side)?.state === 'T');
  await delay(stoppedMs);
  process.kill(pid, 'SIGCONT');
  t.is(running.child.exitCode, null);
}

const ECHO_TWICE = `
import socket, sys
s = socket.create_connection(('echo', 7))
def say(text):
    s.sendall(text)
    got = b''
    while len(got) < len(text): got += s.recv(100)
    print(got.decode(), flush=True)
say(b'before')
sys.stdin.readline()
say(b'after')
`;

async function idle(t: ExecutionContext, side: Side): Promise<void> {
  const running = demo.startExec(['python3', '-c', ECHO_TWICE]);
  await running.said(/before\n/);
  await pause(t, running, side);
  running.child.stdin?.end('go on\n');
  const {status, stdout, stderr} = await running.ended;
  t.deepEqual({status, stdout}, {status: 0, stdout: 'before\nafter\n'}, stderr);
}

const UPLOAD_UNTIL_TOLD = `
import hashlib, os, socket, sys, threading
s = socket.create_connection(('echo', 7))
sent, received, block = hashlib.sha256(), hashlib.sha256(), os.urandom(65536)
told = threading.Event()
threading.Thread(target=lambda: (sys.stdin.readline(), told.set()), daemon=True).start()
def send():
    while not told.is_set():
        s.sendall(block)
        sent.update(block)
    s.shutdown(socket.SHUT_WR)
sender = threading.Thread(target=send)
sender.start()
count = 0
while True:
    data = s.recv(65536)
    if not data: break
    received.update(data)
    if count < 1 << 20 <= count + len(data): print('flowing', flush=True)
    count += len(data)
sender.join()
print(sent.digest() == received.digest(), flush=True)
`;

async function bulk(t: ExecutionContext, side: Side): Promise<void> {
  const running = demo.startExec(['python3', '-c', UPLOAD_UNTIL_TOLD]);
  await running.said(/flowing\n/);
  await pause(t, running, side);
  running.child.stdin?.end('enough\n');
  const {status, stdout, stderr} = await running.ended;
  t.deepEqual({status, stdout}, {status: 0, stdout: 'flowing\nTrue\n'}, stderr);
}

test.serial(
  'mirrord or the agent may be stopped for 12 s, idle or amid bulk both ways',
  async (t) => {
    await Promise.all([idle(t, 'mirrord'), idle(t, 'agent'), bulk(t, 'mirrord'), bulk(t, 'agent')]);
  },
);
