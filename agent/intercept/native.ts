/**
 * Where a redirected connection wanted to go, and connections that the redirecting rules let pass: what Node
 * can't ask of a socket (layer/native/redirected.c). The only file of the agent that loads native code.
 */

import {createRequire} from 'node:module';
import {machine} from 'node:os';
import {getSystemErrorName} from 'node:util';
import type {TunnelEndpoint} from '../../tunnel/messages.ts';

interface Addon {
  originalDestination(fd: number, endpoint: Uint8Array): number;
  connectMarked(endpoint: Uint8Array, mark: number): number;
}

let loaded: Addon | undefined;

function addon(): Addon {
  const path = `../../build/linux-${machine()}/redirected.node`;
  loaded ??= createRequire(import.meta.url)(path) as Addon;
  return loaded;
}

/** Throws an error with `code`, as Node's own, for a negative errno. */
function checked(syscall: string, result: number): number {
  if (result >= 0) return result;
  const code = getSystemErrorName(result);
  throw Object.assign(new Error(`${syscall}: ${code}`), {code, syscall});
}

/** Throws where the addon is missing, or is for another machine. */
export function loadNative(): void {
  addon();
}

/**
 * Where a connection was going before it was redirected; its own address, if it was not. Throws ENOENT where
 * the kernel does not know: its connection tracking has forgotten it.
 */
export function originalDestination(fd: number): TunnelEndpoint {
  const bytes = new Uint8Array(18);
  const length = checked('getsockopt', addon().originalDestination(fd, bytes));
  const port = ((bytes[0] ?? 0) << 8) | (bytes[1] ?? 0);
  return {address: bytes.slice(2, length), port};
}

/**
 * Starts a connection whose packets have the mark; 0: none. Returns its descriptor, the caller's to close.
 * Throws what connect(2) fails with at once, on loopback ECONNREFUSED too; EPERM without NET_ADMIN.
 */
export function connectMarked({address, port}: TunnelEndpoint, mark: number): number {
  const bytes = new Uint8Array(2 + address.length);
  bytes[0] = port >> 8;
  bytes[1] = port;
  bytes.set(address, 2);
  return checked('connect', addon().connectMarked(bytes, mark));
}
