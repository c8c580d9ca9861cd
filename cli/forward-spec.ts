/** What `mirrord port-forward -L` and `-R` are given, in mirrord's notation. Pure. */

import {isIPv6} from 'node:net';
import {InvalidArgumentError} from 'commander';
import type {LocalForward} from '../layer/forward/local-forward.ts';
import type {ReverseForward} from '../layer/forward/reverse-forward.ts';
import {parsePort} from './port.ts';

function clash(text: string, port: number): InvalidArgumentError {
  return new InvalidArgumentError(`${text}: port ${port} is forwarded twice.`);
}

/** Reads one after the other, separated by commas, after those of earlier flags. */
function parseEach<T>(
  text: string,
  earlier: readonly T[],
  parse: (part: string, earlier: readonly T[]) => T,
): T[] {
  const all = [...earlier];
  for (const part of text.split(',')) all.push(parse(part, all));
  return all;
}

function parseLocalForward(text: string, earlier: readonly LocalForward[]): LocalForward {
  const {
    local,
    six,
    name,
    port = '',
  } = /^(?:(?<local>\d+):)?(?:\[(?<six>[^\]]+)\]|(?<name>[^:[\]\s]+)):(?<port>\d+)$/.exec(text)
    ?.groups ?? {};
  const host = six ?? name;
  const isHost = six === undefined ? !/^\d+$/.test(name ?? '0') : isIPv6(six);
  if (host === undefined || !isHost) {
    throw new InvalidArgumentError(
      `${text} is not [LOCAL_PORT:]HOST:PORT, as in 8080:orders:80 or [fd00::7]:80.`,
    );
  }
  const remotePort = parsePort(port);
  const localPort = local === undefined ? remotePort : parsePort(local);
  if (earlier.some((one) => one.localPort === localPort)) throw clash(text, localPort);
  return {localPort, host, port: remotePort};
}

function parseReverseForward(text: string, earlier: readonly ReverseForward[]): ReverseForward {
  const [, remote, local = ''] = /^(?:(\d+):)?(\d+)$/.exec(text) ?? [];
  if (local === '') {
    throw new InvalidArgumentError(`${text} is not [REMOTE_PORT:]LOCAL_PORT, as in 80:8080.`);
  }
  const localPort = parsePort(local);
  const port = remote === undefined ? localPort : parsePort(remote);
  if (earlier.some((one) => one.port === port)) throw clash(text, port);
  return {port, localPort};
}

/** Reads `[LOCAL_PORT:]HOST:PORT`, an IPv6 address in brackets. Throws InvalidArgumentError. */
export function parseLocalForwards(text: string, earlier: readonly LocalForward[] = []) {
  return parseEach(text, earlier, parseLocalForward);
}

/** Reads `[REMOTE_PORT:]LOCAL_PORT`. Throws InvalidArgumentError. */
export function parseReverseForwards(text: string, earlier: readonly ReverseForward[] = []) {
  return parseEach(text, earlier, parseReverseForward);
}
