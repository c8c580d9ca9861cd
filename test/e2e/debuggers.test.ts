import net from 'node:net';
import {fileURLToPath} from 'node:url';
import test from 'ava';
import type {SessionInfo} from '../../layer/sessions/session-server.ts';
import {useDemo, waitFor} from '../helpers/e2e.ts';
import {needing, programs} from '../helpers/needs.ts';
import {freePort} from '../helpers/ports.ts';

// What a person has: a debugger on this machine, attached to a program in the context of a pod.
const demo = useDemo(test, {programs: ['Fetch.java', 'fetch']});
/** Built by scripts/setup --tests. */
const delve = fileURLToPath(new URL('../../build/tools/dlv', import.meta.url));

/** Waits until a port of the program is published; a connection to find that out would be a debugger's to it. */
async function published(port: number): Promise<void> {
  await waitFor(`port ${port}`, async () => {
    const {stdout} = await demo.mirrord(['session', 'list', '-o', 'json']);
    const sessions = JSON.parse(stdout) as SessionInfo[];
    return sessions.some(({ports}) => ports.some((each) => each.hostPort === port));
  });
}

interface DapMessage {
  type: 'request' | 'response' | 'event';
  command?: string;
  event?: string;
  success?: boolean;
  message?: string;
  body?: Record<string, unknown>;
}

/** A client of the Debug Adapter Protocol, as an editor is one. */
class DapClient {
  readonly #socket: net.Socket;
  readonly #messages: DapMessage[] = [];
  #rest = Buffer.alloc(0);
  #seq = 0;

  constructor(socket: net.Socket) {
    this.#socket = socket;
    socket.on('data', (data: Buffer) => this.#read(data));
    socket.on('error', () => undefined); // what is waited for doesn't come then
  }

  /** Sends a request, without waiting for its response. */
  send(command: string, args: object = {}): void {
    this.#seq++;
    const body = JSON.stringify({seq: this.#seq, type: 'request', command, arguments: args});
    this.#socket.write(`Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`);
  }

  /** Sends a request; resolves with what its response carries. */
  async ask(command: string, args: object = {}): Promise<Record<string, unknown>> {
    this.send(command, args);
    const {success, message, body = {}} = await this.next('response', command);
    if (success !== true) throw new Error(`${command}: ${message}`);
    return body;
  }

  /** Waits for the first response or event of a name, and takes it out. */
  async next(type: DapMessage['type'], name: string): Promise<DapMessage> {
    return await waitFor(`${type} ${name}`, () => {
      const index = this.#messages.findIndex(
        (each) => each.type === type && (each.command ?? each.event) === name,
      );
      return index < 0 ? undefined : this.#messages.splice(index, 1)[0];
    });
  }

  #read(data: Buffer): void {
    this.#rest = Buffer.concat([this.#rest, data]);
    for (;;) {
      const head = /^Content-Length: (\d+)\r\n\r\n/.exec(this.#rest.toString('latin1'));
      const start = head?.[0].length ?? 0;
      const end = start + Number(head?.[1]);
      if (head === null || this.#rest.length < end) return;
      this.#messages.push(JSON.parse(this.#rest.toString('utf8', start, end)) as DapMessage);
      this.#rest = this.#rest.subarray(end);
    }
  }
}

/** Stops a program at a line, reads a variable there, and lets it go on. */
async function readAt(
  port: number,
  {
    path,
    line,
    expression,
    attach,
  }: {path: string; line: number; expression: string; attach: object},
): Promise<unknown> {
  const socket = net.connect(port, '127.0.0.1');
  const dap = new DapClient(socket);
  await dap.ask('initialize', {adapterID: 'test', pathFormat: 'path'});
  dap.send('attach', attach); // answered once all is configured
  await dap.next('event', 'initialized');
  await dap.ask('setBreakpoints', {source: {path}, breakpoints: [{line}]});
  await dap.ask('configurationDone');
  const {body} = await dap.next('event', 'stopped');
  const {threadId} = body ?? {};
  const {stackFrames} = await dap.ask('stackTrace', {threadId});
  const [{id: frameId} = {id: 0}] = stackFrames as {id: number}[];
  const {result} = await dap.ask('evaluate', {expression, frameId, context: 'watch'});
  await dap.ask('continue', {threadId});
  socket.end();
  return result;
}

test.serial('debugpy stops a program at a line, and reads its variables', async (t) => {
  const port = await freePort();
  const path = demo.program('debugged.py');
  const debug = ['-Xfrozen_modules=off', '-m', 'debugpy', '--listen', `127.0.0.1:${port}`];
  const running = demo.startExec(['/usr/bin/python3', ...debug, '--wait-for-client', path]);
  await published(port);
  const attach = {justMyCode: false};
  t.is(await readAt(port, {path, line: 5, expression: 'name', attach}), "'gateway'");
  const {status, stdout} = await running.ended;
  t.is(status, 0);
  t.is(stdout, 'this is gateway\n');
});

test.serial('jdb stops a program in a method, and lets it go on', async (t) => {
  const port = await freePort();
  const agent = `-agentlib:jdwp=transport=dt_socket,server=y,suspend=y,address=127.0.0.1:${port}`;
  const program = ['java', agent, '-cp', demo.program('.'), 'Fetch', 'http://orders/'];
  const running = demo.startExec(program);
  await running.said(/Listening for transport/);
  await published(port);
  const jdb = demo.start(['jdb', '-attach', `127.0.0.1:${port}`]);
  // Before it has heard of the start, a resume would come before the machine's own halt.
  await jdb.said(/VM Started: /);
  jdb.child.stdin?.write('stop in Fetch.main\n');
  await jdb.said(/[Dd]eferring breakpoint Fetch\.main|Set breakpoint Fetch\.main/);
  jdb.child.stdin?.write('resume\n');
  await jdb.said(/Breakpoint hit: "thread=main", Fetch\.main\(\)/);
  jdb.child.stdin?.write('where\n');
  await jdb.said(/\[1\] Fetch\.main \(Fetch\.java:\d+\)/);
  jdb.child.stdin?.write('cont\n');
  const {status, stdout} = await running.ended;
  t.is(status, 0);
  t.regex(stdout, /200 gateway .*"pod":"orders-/);
  await jdb.ended;
});

needing(test, programs(delve)).serial(
  'delve stops a program at a line, and reads its variables',
  async (t) => {
    const port = await freePort();
    const program = demo.program('fetch');
    const headless = ['--headless', `--listen=127.0.0.1:${port}`, '--accept-multiclient'];
    const running = demo.startExec([delve, 'exec', program, ...headless, '--', 'http://orders/']);
    await published(port);
    const path = fileURLToPath(new URL('programs/fetch/main.go', import.meta.url));
    const attach = {mode: 'remote'};
    const url = await readAt(port, {path, line: 14, expression: 'address', attach});
    t.is(url, '"http://orders/"');
    await running.said(/"pod":"orders-/);
    running.child.kill('SIGTERM');
    await running.ended;
  },
);
