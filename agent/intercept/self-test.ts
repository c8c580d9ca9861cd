/**
 * Whether the rules that were loaded work: a connection of the agent's own to a port of loopback where nobody
 * listens, redirected like any other, must arrive. Where a data plane connects sockets past the network's rules, or
 * another tool's rules come first, it does not. Made once in an agent's life.
 */

import {once} from 'node:events';
import {type AddressInfo, createServer, Socket} from 'node:net';
import {connectMarked} from '../native.ts';
import type {Redirect} from './redirect.ts';

/** It is one connection within the machine. */
const TIMEOUT_MS = 2_000;

/** What to tell a client when the test fails. */
export const BYPASSED =
  'a connection that the agent made to test its rules did not arrive: something here leads traffic past them (an eBPF data plane, the rules of another tool), so that none may come';

export class SelfTest {
  /** Resolves when it is known. */
  readonly passed: Promise<boolean>;
  readonly #arrived = Promise.withResolvers<boolean>();
  #port: number | undefined;

  constructor(redirect: Redirect) {
    this.passed = this.#run(redirect);
  }

  /** Whether a connection that went to `port` is the test's. */
  takes(port: number): boolean {
    if (port !== this.#port) return false;
    this.#arrived.resolve(true);
    return true;
  }

  async #run(redirect: Redirect): Promise<boolean> {
    const port = await freePort();
    this.#port = port;
    const timer = setTimeout(() => this.#arrived.resolve(false), TIMEOUT_MS);
    try {
      await redirect.add(port);
      const address = Uint8Array.of(127, 0, 0, 1);
      const socket = new Socket({fd: connectMarked({address, port}, 0)});
      socket.on('error', () => undefined);
      const passed = await this.#arrived.promise;
      socket.destroy();
      return passed;
    } catch {
      return false; // refused: it was not redirected
    } finally {
      clearTimeout(timer);
      await redirect.delete(port);
      this.#port = undefined;
    }
  }
}

/** A port of loopback where nobody listens. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const {port} = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}
