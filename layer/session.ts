/**
 * One run of a program in the context of a pod: sandbox, netstack and tunnel put together, and taken
 * apart in every case.
 *
 * Order matters at both ends. The program starts last, when packets are already served; it ends first,
 * then the sandbox, then the tunnel. Should mirrord die instead, the kernel closes its descriptors, and
 * the launcher and the agent end by that.
 */

import {readFileSync} from 'node:fs';
import {Stack} from '../netstack/stack.ts';
import {DatagramSocket} from '../sockets/datagram-socket.ts';
import {addressBytes} from './address.ts';
import {type AgentLink, secureRandom} from './agent-link.ts';
import {contextLost} from './context-lost.ts';
import {type EnvironmentOptions, mergeEnvironment} from './env/environment.ts';
import type {MirrordError} from './errors.ts';
import {type FilesOptions, type ServedFiles, serveFiles} from './files/serve.ts';
import {type Incoming, type IncomingOptions, serveIncoming} from './incoming.ts';
import type {Listener} from './listeners/listener.ts';
import {openLocalhost} from './localhost.ts';
import {followLocalhost} from './localhost-ports.ts';
import type {Log} from './log.ts';
import {createOutgoing} from './outgoing.ts';
import {createCapture} from './pcap/capture.ts';
import type {PacketFile} from './pcap/packet-file.ts';
import {openFlowProcesses} from './processes/flow-process.ts';
import type {SkipOptions} from './processes/tools.ts';
import {awaitEnd, endProgram} from './program-end.ts';
import {type PublishedPort, type PublishedPorts, publishPorts} from './published-ports.ts';
import {defaultNetwork, type NetworkOptions} from './routing/options.ts';
import {isDivided} from './routing/policy.ts';
import {createRouter} from './routing/router.ts';
import type {Inherited} from './sandbox/inherited.ts';
import {type CapabilitySet, Launcher} from './sandbox/launcher.ts';
import {type ProgramEnd, programStart, startProgram} from './sandbox/program.ts';
import {createSandbox, type Sandbox} from './sandbox/sandbox.ts';
import {listSessions} from './sessions/session-client.ts';
import {type EnvironmentChanges, openSession} from './sessions/session-server.ts';
import {podMtu, sandboxAddresses, sandboxFiles} from './target-view.ts';
import {driveTun} from './tun.ts';
import {serveUnixStreams, type UnixStreams} from './unix-streams/unix-streams.ts';

export interface SessionOptions {
  /** As it was written, for those who list sessions. */
  target: string;
  argv: readonly string[];
  /** The local environment, to be overlaid with the pod's. */
  env: NodeJS.ProcessEnv;
  /** How the two are put together. */
  environment?: EnvironmentOptions;
  /** Which connections and names are the pod's; all by default. */
  network?: NetworkOptions;
  /** Which of the target's connections come to the program; none by default. */
  incoming?: IncomingOptions | undefined;
  /** From a port of the program's to the one that it has to have on this machine; the same, where that is free. */
  hostPorts?: ReadonlyMap<number, number>;
  /** Regular expressions on unix sockets of the pod that the program finds under their names; none by default. */
  unixStreams?: readonly string[];
  /** Which files are the pod's; none by default. */
  files?: FilesOptions;
  /** Whose traffic stays on this machine's network; that of the build tools by default. */
  skip?: SkipOptions;
  /** Records what crosses the TUN device; the caller's to close. */
  pcap?: PacketFile;
  /** What the program has of whoever called mirrord. */
  inherited: Inherited;
  log: Log;
  /** Something that a person should know although the program runs. */
  warn: (message: string) => void;
  /** Something that is good to know. */
  info: (message: string) => void;
  /** Called when the program has been started. */
  onStarted?: () => void;
}

/** What surrounds a run, apart from the sandbox. */
interface RunContext {
  link: AgentLink;
  options: SessionOptions;
  /** Resolves when the program can't go on; never, where it can. */
  lost?: Promise<MirrordError>;
  /** What is published now. */
  ports: () => readonly PublishedPort[];
  /** Where the program starts, if its files are served by us. */
  servedDirectory?: string;
}

function serveSandbox(
  sandbox: Sandbox,
  link: AgentLink,
  options: SessionOptions,
): Disposable & {ready: Promise<void>; published: PublishedPorts; incoming: Incoming | undefined} {
  const {mux, target} = link;
  const {network = defaultNetwork} = options;
  const open = mux.open.bind(mux);
  const addresses = sandboxAddresses(target, network);
  const processes = openFlowProcesses(sandbox.launcher, {
    log: options.log,
    ...(options.skip !== undefined && {skip: options.skip}),
  });
  const isPublished = (port: number): boolean =>
    published.ports.some(({hostPort}) => hostPort === port);
  const router = createRouter({
    open,
    network,
    addresses: addresses.map(addressBytes),
    resolvConf: sandbox.text('/etc/resolv.conf'),
    hosts: sandbox.text('/etc/hosts'),
    isSkipped: processes.isSkipped,
    isPublished,
    onLocalhost: () => followed?.update(),
  });
  const localhost = openLocalhost(sandbox.launcher, {
    route: router.route,
    addresses,
    warn: options.warn,
    log: options.log,
  });
  // Of connections that are delivered to listeners on loopback, too.
  const isLoopbackSeen = localhost?.udp !== undefined || options.incoming !== undefined;
  const loopback = isLoopbackSeen ? ['127.0.0.1', '::1'] : [];
  const handler = createOutgoing({
    open,
    route: router.route,
    kick: () => driver.kick(),
    crowd: () => driver.crowd(),
    echoReply: (reply) => driver.stack.echoReply(reply),
  });
  const capture =
    options.pcap &&
    createCapture(options.pcap, {
      find: processes.find,
      description: `mirrord exec -t ${options.target}`,
      warn: options.warn,
    });
  const driver = driveTun({
    fd: sandbox.tunFd,
    ...(capture !== undefined && {tap: capture}),
    ...(localhost?.udp !== undefined && {loopbackUdp: localhost.udp}),
    createStack: (gso) =>
      new Stack(
        {
          mtu: podMtu(target),
          addresses: [...addresses, ...loopback].map(addressBytes),
          random: secureRandom,
          gso,
          ...(sandbox.windowBudget !== undefined && {windowBudget: sandbox.windowBudget}),
        },
        handler,
      ),
  });
  const isOurs = (listener: Listener): boolean => localhost?.isOurs(listener) ?? false;
  const incoming =
    options.incoming &&
    serveIncoming(
      {
        launcher: sandbox.launcher,
        mux,
        addresses: addresses.map(addressBytes),
        connectTcp: driver.stack.connectTcp.bind(driver.stack),
        kick: driver.kick,
        isOurs,
        warn: options.warn,
        log: options.log,
      },
      options.incoming,
    );
  link.onStream = incoming?.onStream.bind(incoming);
  const published = publishPorts(sandbox.launcher, {
    ...(options.hostPorts !== undefined && {hostPorts: options.hostPorts}),
    isOurs,
    warn: options.warn,
    info: options.info,
    log: options.log,
  });
  const followed =
    localhost &&
    followLocalhost({
      localhost,
      mux,
      router,
      isPublished,
      hostDiagnostics: sandbox.hostDiagnostics,
      log: options.log,
    });
  return {
    ready: followed?.ready ?? Promise.resolve(),
    published,
    incoming,
    [Symbol.dispose]() {
      options.log('session: counters', {
        tun: driver.counters,
        datagrams: {dropped: DatagramSocket.dropped},
        stack: driver.stack.counters,
        tunnel: mux.counters,
        routing: router.counters,
        processes: processes.counters,
        pcap: capture?.counters,
        published: published.counters,
        incoming: incoming?.counters,
      });
      link.onStream = undefined;
      incoming?.[Symbol.dispose]();
      driver[Symbol.dispose]();
      capture?.[Symbol.dispose]();
      followed?.[Symbol.dispose]();
      localhost?.[Symbol.dispose]();
      published[Symbol.dispose]();
      router[Symbol.dispose]();
      processes[Symbol.dispose]();
    },
  };
}

/** What the session has put into the program's environment, and taken out of it. */
function environmentChanges({target}: AgentLink, options: SessionOptions): EnvironmentChanges {
  const merged = mergeEnvironment(options.env, target.environment, options.environment);
  return {
    set: mergeEnvironment({}, target.environment, options.environment),
    unset: Object.keys(options.env).filter((name) => merged[name] === undefined),
  };
}

/** Starts the program and makes the session known; waits for its end. */
async function run(
  launcher: Launcher,
  capabilities: CapabilitySet,
  {link, options, lost, ports, servedDirectory}: RunContext,
): Promise<ProgramEnd> {
  const start = {...programStart(options), ...(servedDirectory !== undefined && {servedDirectory})};
  const program = await startProgram(launcher, start, capabilities);
  const started = new Date().toISOString();
  using _session = openSession({
    info: () => ({
      target: options.target,
      command: options.argv,
      pid: program.pid,
      launcherPid: launcher.process.pid ?? 0,
      started,
      ports: ports(),
    }),
    environment: environmentChanges(link, options),
    ipv6: options.network?.ipv6 ?? true,
    onStop: () => void endProgram(program),
    leaveNo: (path) => launcher.leaveNo(path),
    log: options.log,
  });
  options.onStarted?.();
  // What sessions have left whose launcher was killed too is removed by whoever comes next.
  listSessions().catch((error) => options.log('session: no list', {error: String(error)}));
  return await awaitEnd(program, lost);
}

/** Shows the unix sockets of the pod that are wanted, if any are. */
function showUnixSockets(
  {launcher}: Sandbox,
  {mux}: AgentLink,
  {unixStreams: patterns = [], warn, log}: SessionOptions,
  served: ServedFiles | undefined,
): UnixStreams | undefined {
  if (patterns.length === 0) return undefined;
  const isServed = (path: string): boolean => served?.isServed(path) ?? false;
  return serveUnixStreams(launcher, {mux, patterns, isServed, warn, log});
}

/** Makes the program's file tree, if some of it is the pod's. */
async function serveSessionFiles(
  {launcher, ownFiles}: Sandbox,
  {mux}: AgentLink,
  {files, warn, log}: SessionOptions,
): Promise<ServedFiles | undefined> {
  if (files === undefined) return undefined;
  return await serveFiles({files, launcher, mux, ownFiles, warn, log});
}

/** The text of a file of this machine; empty when there is none. */
function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

/** Runs the program in the pod's network, with its name, files of names, and environment. */
export async function runInContext(link: AgentLink, options: SessionOptions): Promise<ProgramEnd> {
  const {target} = link;
  const {network = defaultNetwork} = options;
  const files = sandboxFiles(target, network, readText);
  using sandbox = createSandbox({
    argv: options.argv,
    env: mergeEnvironment(options.env, target.environment, options.environment),
    descriptors: options.inherited.descriptors,
    hostname: target.hostName,
    addresses: sandboxAddresses(target, network),
    ipv6: network.ipv6,
    mtu: podMtu(target),
    portRange: target.localPortRange.join(' '),
    files,
    hostDiagnostics: isDivided(network),
    log: options.log,
  });
  using service = serveSandbox(sandbox, link, options);
  using served = await serveSessionFiles(sandbox, link, options);
  using unixSockets = showUnixSockets(sandbox, link, options, served);
  await Promise.all([service.ready, unixSockets?.ready]);
  const {incoming, published} = service;
  const ports = () => published.ports;
  const lost = Promise.race([
    contextLost(link, 'the program was ended'),
    published.failed,
    ...(incoming ? [incoming.failed] : []),
  ]);
  return await run(sandbox.launcher, 'container', {
    link,
    options,
    lost,
    ports,
    ...(served !== undefined && {servedDirectory: process.cwd()}),
  });
}

/** Runs the program with the pod's environment only, in the local network (`--no-tun`). */
export async function runWithEnvironment(
  link: AgentLink,
  options: SessionOptions,
): Promise<ProgramEnd> {
  const env = mergeEnvironment(options.env, link.target.environment, options.environment);
  link[Symbol.dispose]();
  using launcher = new Launcher({
    argv: options.argv,
    env,
    descriptors: options.inherited.descriptors,
  });
  return await run(launcher, 'untouched', {link, options, ports: () => []});
}
