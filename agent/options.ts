/** The command line and environment of the agent. */

import {parseArgs} from 'node:util';
import {parseAddress} from '../sockets/address.ts';
import {TOKEN_BYTES} from '../tunnel/handshake.ts';
import {RESUME_WINDOW_MS} from '../tunnel/limits.ts';
import type {LogFormat} from './log.ts';

/** What both ways of serving have in common. */
interface Serving {
  readonly targetPid: number;
  /**
   * Whether the agent shares the target's place instead of visiting it: it may then fall back on its
   * own files and environment, where it may not read the target's.
   */
  readonly isHome: boolean;
  readonly echo4Fd: number | undefined;
  readonly echo6Fd: number | undefined;
  readonly handshakeTimeoutMs: number;
  readonly logFormat: LogFormat;
}

/** The agent has one client, at the other end of an inherited connection. */
export interface InheritedOptions extends Serving {
  readonly kind: 'inherited';
  readonly connectionFd: number;
  readonly token: Uint8Array;
  /** Closed when the agent takes nothing any more, though it may still pass on what it has. */
  readonly farewellFd: number | undefined;
}

/** The agent has any number of clients, who know a token of which it knows the SHA-256. */
export interface ListeningOptions extends Serving {
  readonly kind: 'listening';
  readonly listenFds: readonly number[];
  readonly tokenHash: Uint8Array;
  readonly idleTtlMs: number;
  /** How long a session waits for its client's next connection. */
  readonly resumeWindowMs: number;
  /** A listening socket for who asks for metrics, or what is in place of one. */
  readonly metricsFd: number | undefined;
  /** What may be used for what clients carry; undefined: as the container allows. */
  readonly memoryBytes: number | undefined;
}

/** The agent has yet to find its target, listen, and go there: the first stage of the one above. */
export interface LocateOptions {
  readonly kind: 'locate';
  readonly port: number;
  /** The target's container; undefined without a target. */
  readonly containerId: string | undefined;
  /** Where metrics are to be had, in the agent's own pod. */
  readonly metrics: SocketAddress | undefined;
  readonly isHome: boolean;
  readonly logFormat: LogFormat;
  /** Flags for the second stage, as they came. */
  readonly passed: readonly string[];
}

/** Where to listen, as text that inet_pton(3) reads, and a port. */
export interface SocketAddress {
  readonly address: string;
  readonly port: number;
}

/** How the agent was started. */
export type AgentOptions = InheritedOptions | ListeningOptions | LocateOptions;

/** A command line or environment that makes no sense. */
export class UsageError extends Error {
  readonly code = 'MIRRORD_AGENT_USAGE';

  constructor(message: string) {
    super(message);
    this.name = 'UsageError';
  }
}

/** How long the agent waits for its first client, seconds. */
const COMMUNICATION_TIMEOUT = 30;
/** How long a session may be without a connection, seconds. */
const RESUME_WINDOW = RESUME_WINDOW_MS / 1000;

const FLAGS = {
  'target-pid': {type: 'string'},
  fd: {type: 'string'},
  'farewell-fd': {type: 'string'},
  'echo4-fd': {type: 'string'},
  'echo6-fd': {type: 'string'},
  'communication-timeout': {type: 'string'},
  'log-format': {type: 'string'},
  // In a cluster.
  listen: {type: 'string'},
  'token-sha256': {type: 'string'},
  'container-id': {type: 'string'},
  ephemeral: {type: 'boolean'},
  targetless: {type: 'boolean'},
  'idle-ttl': {type: 'string'},
  'resume-window': {type: 'string'},
  metrics: {type: 'string'},
  memory: {type: 'string'},
  // From the first stage to the second.
  'listen4-fd': {type: 'string'},
  'listen6-fd': {type: 'string'},
  'metrics-fd': {type: 'string'},
  home: {type: 'boolean'},
} as const;

/** What the first stage hands to the second. */
const PASSED_FLAGS = [
  'token-sha256',
  'idle-ttl',
  'resume-window',
  'communication-timeout',
  'log-format',
  'memory',
] as const;

type Values = ReturnType<typeof parseFlags>;

/**
 * Reads the arguments after the program's name, and the environment. The token is deleted from
 * `environment`, where every child and every reader of /proc would find it. Throws UsageError.
 */
export function parseOptions(
  args: readonly string[],
  environment: Record<string, string | undefined>,
): AgentOptions {
  const values = parseFlags(args);
  if (values.listen !== undefined) return locateOptions(values, values.listen);
  const target = values['target-pid'];
  const targetPid = target === 'self' ? process.pid : parseNumber('target-pid', target);
  const serving = {
    isHome: values.home ?? false,
    echo4Fd: parseNumber('echo4-fd', values['echo4-fd']),
    echo6Fd: parseNumber('echo6-fd', values['echo6-fd']),
    handshakeTimeoutMs: 1000 * seconds('communication-timeout', values, COMMUNICATION_TIMEOUT),
    logFormat: parseLogFormat(values),
  };
  const listenFds = [values['listen4-fd'], values['listen6-fd']]
    .map((text) => parseNumber('listen-fd', text))
    .filter((fd) => fd !== undefined);
  if (targetPid === undefined || targetPid === 0) throw new UsageError('--target-pid is missing');
  if (listenFds.length === 0) {
    const connectionFd = parseNumber('fd', values.fd) ?? 3;
    const farewellFd = parseNumber('farewell-fd', values['farewell-fd']);
    const token = takeToken(environment);
    return {kind: 'inherited', targetPid, connectionFd, farewellFd, token, ...serving};
  }
  const tokenHash = parseTokenHash(values['token-sha256']);
  const idleTtlMs = 1000 * seconds('idle-ttl', values, 0);
  const resumeWindowMs = 1000 * seconds('resume-window', values, RESUME_WINDOW);
  const metricsFd = parseNumber('metrics-fd', values['metrics-fd']);
  const mebibytes = parseNumber('memory', values.memory);
  const memoryBytes = mebibytes && mebibytes * 1_048_576;
  const listening = {listenFds, tokenHash, idleTtlMs, resumeWindowMs, metricsFd, memoryBytes};
  return {kind: 'listening', targetPid, ...listening, ...serving};
}

function locateOptions(values: Values, listen: string): LocateOptions {
  const port = parseNumber('listen', listen);
  if (port === undefined || port === 0 || port > 65_535) {
    throw new UsageError('--listen is not a port');
  }
  const {'container-id': containerId, ephemeral = false, targetless = false} = values;
  const isHome = ephemeral || targetless;
  if (targetless === (containerId !== undefined)) {
    throw new UsageError('one of --container-id and --targetless is needed');
  }
  // It is looked for in the paths of cgroups, where it must be one whole word.
  if (containerId !== undefined && !/^[\w-]{12,128}$/.test(containerId)) {
    throw new UsageError('--container-id is not the id of a container');
  }
  parseTokenHash(values['token-sha256']);
  seconds('idle-ttl', values, 0);
  seconds('resume-window', values, RESUME_WINDOW);
  seconds('communication-timeout', values, COMMUNICATION_TIMEOUT);
  const passed = PASSED_FLAGS.filter((name) => values[name] !== undefined).flatMap((name) => [
    `--${name}`,
    values[name] ?? '',
  ]);
  const metrics = parseSocketAddress(values.metrics);
  const logFormat = parseLogFormat(values);
  return {kind: 'locate', port, containerId, metrics, isHome, logFormat, passed};
}

/** `ADDRESS:PORT`, an IPv6 address in brackets. */
function parseSocketAddress(text: string | undefined): SocketAddress | undefined {
  if (text === undefined) return undefined;
  const {
    six,
    four,
    port = '',
  } = /^(?:\[(?<six>[^\]]*:[^\]]*)\]|(?<four>[^:]*)):(?<port>\d{1,5})$/.exec(text)?.groups ?? {};
  const address = six ?? four ?? '';
  const number = Number(port);
  if (parseAddress(address) === undefined || number === 0 || number > 65_535) {
    throw new UsageError('--metrics is not an address with a port');
  }
  return {address, port: number};
}

function parseFlags(args: readonly string[]) {
  try {
    return parseArgs({args: [...args], options: FLAGS}).values;
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
}

function parseNumber(name: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (!/^\d{1,9}$/.test(text)) throw new UsageError(`--${name} is not a number`);
  return Number(text);
}

function seconds(
  name: 'communication-timeout' | 'idle-ttl' | 'resume-window',
  values: Values,
  byDefault: number,
): number {
  return parseNumber(name, values[name]) ?? byDefault;
}

function parseLogFormat({'log-format': format = 'json'}: Values): LogFormat {
  if (format !== 'json' && format !== 'text') throw new UsageError('--log-format is unknown');
  return format;
}

function parseTokenHash(text = ''): Uint8Array {
  if (!/^[0-9a-f]{64}$/.test(text)) {
    throw new UsageError('--token-sha256 is not a SHA-256 in hex');
  }
  return new Uint8Array(Buffer.from(text, 'hex'));
}

function takeToken(environment: Record<string, string | undefined>): Uint8Array {
  const text = environment['MIRRORD_AGENT_TOKEN'] ?? '';
  delete environment['MIRRORD_AGENT_TOKEN'];
  if (!/^[0-9a-f]*$/i.test(text) || text.length !== 2 * TOKEN_BYTES) {
    throw new UsageError('MIRRORD_AGENT_TOKEN is not a token of 32 bytes in hex');
  }
  return new Uint8Array(Buffer.from(text, 'hex'));
}
