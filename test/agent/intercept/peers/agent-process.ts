/** An agent of a process of its own, with one client, whose program listens in this process. */

import {type ChildProcess, spawn} from 'node:child_process';
import {once} from 'node:events';
import {connect, type Socket} from 'node:net';
import {fileURLToPath} from 'node:url';
import {relay} from '../../../../layer/relay.ts';
import {
  type InterceptEvent,
  type InterceptParams,
  subscribeIncoming,
} from '../../../../tunnel/intercept.ts';
import {type IncomingConnection, parseIncoming} from '../../../../tunnel/messages.ts';
import type {Mux} from '../../../../tunnel/mux.ts';
import type {MuxStream} from '../../../../tunnel/types.ts';
import {connectTunnel} from '../../../../tunnel/websocket.ts';
import {compileCache} from '../../../helpers/compile-cache.ts';
import {TOKEN} from '../../../helpers/tunnel.ts';

const main = fileURLToPath(new URL('../../../../agent/main.ts', import.meta.url));
const NOTHING = new Uint8Array(0);

/** What an agent is asked for. */
export type Wanted = Pick<InterceptParams, 'port'> & Partial<InterceptParams>;

/** A subscription, and what its client was told. */
export interface Subscribed {
  readonly told: string[];
  /** Resolves with the first thing that it was told which is no warning. */
  readonly first: Promise<string>;
  end(): void;
}

function nameOf(event: InterceptEvent): string {
  if (event.event === 'active') return 'active';
  return event.event === 'failed' ? event.errno : event.code;
}

export class AgentProcess {
  readonly child: ChildProcess;
  readonly exited: Promise<unknown>;
  /** Connections that came, as the agent told. */
  readonly incoming: IncomingConnection[] = [];
  /** Its log. */
  log = '';
  readonly #mux: Mux;
  readonly #ready = Promise.withResolvers<void>();
  /** From a subscription to where its program listens. */
  readonly #programs = new Map<number, {port: number}>();
  #nextId = 1;

  /** `prefix`: what starts it, in the place of Node. */
  constructor(prefix: readonly string[] = []) {
    const argv = [
      ...prefix,
      process.execPath,
      ...['--disable-warning=ExperimentalWarning', '--expose-gc', main],
      ...['--target-pid', `${process.pid}`, '--fd', '3'],
    ];
    const [file = '', ...args] = argv;
    this.child = spawn(file, args, {
      stdio: ['ignore', 'ignore', 'pipe', 'pipe'],
      env: {
        PATH: process.env['PATH'],
        ...compileCache,
        MIRRORD_AGENT_TOKEN: Buffer.from(TOKEN).toString('hex'),
        MIRRORD_AGENT_LOG: 'debug',
      },
    });
    this.child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.log += text;
    });
    this.exited = once(this.child, 'close');
    this.#mux = connectTunnel(
      this.child.stdio[3] as Socket,
      {token: TOKEN, random: Math.random},
      {
        onReady: () => this.#ready.resolve(),
        onOpen: (stream, body) => this.#deliver(stream, body),
        onClose: (error) => this.#ready.reject(error ?? new Error('closed')),
      },
    );
  }

  async ready(): Promise<this> {
    await this.#ready.promise;
    return this;
  }

  /** Has the target's port lead to a program's port here. */
  subscribe(wanted: Wanted, program: number): Subscribed {
    const id = this.#nextId++;
    this.#programs.set(id, {port: program});
    const told: string[] = [];
    const first = Promise.withResolvers<string>();
    const params = {id, mode: 'steal', onConcurrentSteal: 'abort', ...wanted} as const;
    const call = subscribeIncoming(this.#mux, params, {
      onEvent(event) {
        told.push(nameOf(event));
        if (event.event !== 'warning') first.resolve(nameOf(event));
      },
      onEnd: (errno) => first.resolve(`${errno}`),
    });
    return {told, first: first.promise, end: () => call.reset('ECANCELED')};
  }

  /** Its client leaves; resolves when the agent has ended. */
  async end(): Promise<void> {
    this.leave();
    await this.exited;
  }

  /** Its client leaves. */
  leave(): void {
    this.#mux.close();
  }

  /** Its client is cut off without a word. */
  cut(): void {
    this.child.stdio[3]?.destroy();
  }

  async kill(): Promise<void> {
    this.child.kill('SIGKILL');
    await this.exited;
  }

  #deliver(stream: MuxStream, body: Uint8Array): void {
    const incoming = parseIncoming(body);
    this.incoming.push(incoming);
    const id = incoming.subscription;
    const early: Uint8Array[] = [];
    let hasEnded = false;
    let isReset = false;
    stream.handler = {
      onData: (chunk) => void early.push(chunk),
      onEnd: () => {
        hasEnded = true;
      },
      onReset: () => {
        isReset = true;
      },
    };
    const socket = connect({
      host: '127.0.0.1',
      port: this.#programs.get(id)?.port ?? 0,
      allowHalfOpen: true,
    });
    socket.once('error', () => stream.refuse('ECONNREFUSED'));
    socket.once('connect', () => {
      if (isReset) {
        socket.write(Buffer.concat(early), () => socket.resetAndDestroy());
        return;
      }
      relay(socket, (handler) => {
        queueMicrotask(() => {
          stream.handler = handler;
          stream.accept(NOTHING);
          handler.onOpened?.(NOTHING);
          for (const chunk of early) handler.onData?.(chunk);
          if (hasEnded) handler.onEnd?.();
        });
        return stream;
      });
    });
  }
}
