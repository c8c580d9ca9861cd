/** Port numbers on the command line. */

import {InvalidArgumentError} from 'commander';

/** Reads one. Throws commander's InvalidArgumentError. */
export function parsePort(text: string): number {
  const port = Number(text);
  if (!/^\d{1,5}$/.test(text) || port === 0 || port > 65_535) {
    throw new InvalidArgumentError(`${text} is no port: a number from 1 to 65535.`);
  }
  return port;
}

/** Reads ports that are separated by commas, after those of earlier flags. */
export function parsePorts(text: string, earlier: readonly number[] = []): number[] {
  return [...new Set([...earlier, ...text.split(',').map(parsePort)])];
}
