/**
 * Ports that belong to the debugger of an IDE rather than to the program: the debugger waits there on this
 * machine for the program's connection, or the program for the debugger's. Pure.
 *
 * They are told outright, as `1234,35000-65535`, or found in the command line of a known kind of debugger.
 */

import type {PortRange} from './options.ts';

/** The kinds of debuggers whose ports can be found. */
export const debuggerKinds = [
  'debugpy',
  'pydevd',
  'resharper',
  'javaagent',
  'nodeinspector',
  'rustrover',
] as const;

export type DebuggerKind = (typeof debuggerKinds)[number];

/** What a program is started with. */
export interface ProgramWords {
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
}

/** Node's port where its option names none. */
const nodeInspectorPort = 9_229;

/** A port number; undefined for anything else, and for 0, which stands for any. */
function parsePort(text: string): number | undefined {
  const port = /^\d{1,5}$/.test(text) ? Number(text) : 0;
  return port >= 1 && port <= 65_535 ? port : undefined;
}

/** Reads a list of ports and ranges; what is neither comes back in `problems`. */
export function parsePortRanges(text: string): {ranges: PortRange[]; problems: string[]} {
  const ranges: PortRange[] = [];
  const problems: string[] = [];
  for (const part of text.split(',').map((each) => each.trim())) {
    if (part === '') continue;
    const [from = '', to = from, ...rest] = part.split('-').map((each) => each.trim());
    const [first, last] = [parsePort(from), parsePort(to)];
    if (first === undefined || last === undefined || rest.length > 0 || first > last) {
      problems.push(part);
    } else {
      ranges.push({first, last});
    }
  }
  return {ranges, problems};
}

/** The port at the end of `host:port`, `[host]:port`, `*:port` or `port`. */
function portOfAddress(address: string): number | undefined {
  return parsePort(/(?:^|:)(\d+)$/.exec(address)?.[1] ?? '');
}

/** The values of an option: of `--name value` and of `--name=value`. */
function optionValues(words: readonly string[], name: string): string[] {
  return words.flatMap((word, index) => {
    if (word === name) return [words[index + 1] ?? ''];
    return word.startsWith(`${name}=`) ? [word.slice(name.length + 1)] : [];
  });
}

/** Words of a variable with options (JAVA_TOOL_OPTIONS, NODE_OPTIONS), and of the command line. */
function withVariable({argv, env}: ProgramWords, variable: string): string[] {
  const words = (env[variable] ?? '').split(/\s+/).filter((word) => word !== '');
  return [...words, ...argv];
}

/** `-agentlib:jdwp=transport=dt_socket,server=n,suspend=y,address=127.0.0.1:54898`, and its older form. */
function jdwpPorts(words: readonly string[]): (number | undefined)[] {
  return words.flatMap((word) => {
    const options = /^["']?-(?:agentlib:jdwp=|Xrunjdwp:)(.*?)["']?$/.exec(word)?.[1];
    const address = options?.split(',').find((option) => option.startsWith('address='));
    return address === undefined ? [] : [portOfAddress(address.slice('address='.length))];
  });
}

/** `--inspect[-brk|-wait][=[host:]port]` and `--inspect-port=…`, whose short names are `--debug-port`. */
function nodePorts(words: readonly string[]): (number | undefined)[] {
  const ports = ['--inspect-port', '--debug-port']
    .flatMap((name) => optionValues(words, name))
    .map(portOfAddress);
  const opens = words.flatMap((word) => {
    const [, address] = /^--inspect(?:-brk|-wait)?(?:=(.*))?$/.exec(word) ?? [undefined, null];
    if (address === null) return [];
    return [address === undefined ? nodeInspectorPort : portOfAddress(address)];
  });
  return [...ports, ...opens];
}

/** The LLDB that RustRover brings connects back: `…/LLDBFrontend PORT` or `HOST:PORT`. */
function lldbPorts(argv: readonly string[]): (number | undefined)[] {
  return argv.flatMap((word, index) =>
    /(?:^|\/)LLDBFrontend$/.test(word) ? [portOfAddress(argv[index + 1] ?? '')] : [],
  );
}

function candidates(kind: DebuggerKind, program: ProgramWords): (number | undefined)[] {
  const {argv} = program;
  switch (kind) {
    case 'debugpy':
      if (!argv.some((word) => word.includes('debugpy'))) return [];
      return ['--connect', '--listen']
        .flatMap((name) => optionValues(argv, name))
        .map(portOfAddress);
    case 'pydevd':
      if (!argv.some((word) => word.includes('pydevd'))) return [];
      return optionValues(argv, '--port').map(portOfAddress);
    case 'resharper':
      return ['--frontend-port', '--backend-port']
        .flatMap((name) => optionValues(argv, name))
        .map(portOfAddress);
    case 'javaagent':
      return jdwpPorts(withVariable(program, 'JAVA_TOOL_OPTIONS'));
    case 'nodeinspector':
      return nodePorts(withVariable(program, 'NODE_OPTIONS'));
    case 'rustrover':
      return lldbPorts(argv);
  }
}

/** Finds the debugger's ports in what the program is started with. */
export function detectPorts(kind: DebuggerKind, program: ProgramWords): PortRange[] {
  const ports = candidates(kind, program).filter((port) => port !== undefined);
  return [...new Set(ports)].map((port) => ({first: port, last: port}));
}
