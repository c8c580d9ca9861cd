/** The command line and environment of the agent. */

import {parseArgs} from 'node:util';
import {TOKEN_BYTES} from '../tunnel/handshake.ts';

/** How the agent was started. */
export interface AgentOptions {
  readonly targetPid: number;
  /** The inherited connection to the one client. */
  readonly connectionFd: number;
  readonly echo4Fd: number | undefined;
  readonly echo6Fd: number | undefined;
  readonly token: Uint8Array;
  readonly handshakeTimeoutMs: number;
}

/** A command line or environment that makes no sense. */
export class UsageError extends Error {
  readonly code = 'MIRRORD_AGENT_USAGE';

  constructor(message: string) {
    super(message);
    this.name = 'UsageError';
  }
}

/**
 * Reads the arguments after the program's name, and the environment. The token is deleted from
 * `environment`, where every child and every reader of /proc would find it. Throws UsageError.
 */
export function parseOptions(
  args: readonly string[],
  environment: Record<string, string | undefined>,
): AgentOptions {
  const token = takeToken(environment);
  const values = parseFlags(args);
  const targetPid = parseNumber('target-pid', values['target-pid']);
  if (targetPid === undefined || targetPid === 0) throw new UsageError('--target-pid is missing');
  const timeoutSeconds = parseNumber('communication-timeout', values['communication-timeout']);
  return {
    targetPid,
    connectionFd: parseNumber('fd', values.fd) ?? 3,
    echo4Fd: parseNumber('echo4-fd', values['echo4-fd']),
    echo6Fd: parseNumber('echo6-fd', values['echo6-fd']),
    token,
    handshakeTimeoutMs: (timeoutSeconds ?? 30) * 1000,
  };
}

function parseFlags(args: readonly string[]): {
  'target-pid'?: string | undefined;
  fd?: string | undefined;
  'echo4-fd'?: string | undefined;
  'echo6-fd'?: string | undefined;
  'communication-timeout'?: string | undefined;
} {
  try {
    return parseArgs({
      args: [...args],
      options: {
        'target-pid': {type: 'string'},
        fd: {type: 'string'},
        'echo4-fd': {type: 'string'},
        'echo6-fd': {type: 'string'},
        'communication-timeout': {type: 'string'},
      },
    }).values;
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
}

function parseNumber(name: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (!/^\d{1,9}$/.test(text)) throw new UsageError(`--${name} is not a number`);
  return Number(text);
}

function takeToken(environment: Record<string, string | undefined>): Uint8Array {
  const text = environment['MIRRORD_AGENT_TOKEN'] ?? '';
  delete environment['MIRRORD_AGENT_TOKEN'];
  if (!/^[0-9a-f]*$/i.test(text) || text.length !== 2 * TOKEN_BYTES) {
    throw new UsageError('MIRRORD_AGENT_TOKEN is not a token of 32 bytes in hex');
  }
  return new Uint8Array(Buffer.from(text, 'hex'));
}
