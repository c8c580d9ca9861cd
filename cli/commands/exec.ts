/**
 * `mirrord exec`: runs a program in the context of a target and ends as it does.
 */

import os from 'node:os';
import {dirname, join} from 'node:path';
import {fileURLToPath} from 'node:url';
import {Command, Option} from 'commander';
import {linkAgent} from '../../layer/agent-link.ts';
import {readEnvFile} from '../../layer/env/env-file.ts';
import type {EnvironmentOptions} from '../../layer/env/environment.ts';
import {runInSession} from '../../layer/joined.ts';
import {createLog} from '../../layer/log.ts';
import {PacketFile} from '../../layer/pcap/packet-file.ts';
import type {ProgramEnd} from '../../layer/sandbox/program.ts';
import {runInContext, runWithEnvironment} from '../../layer/session.ts';
import {findSession, joinSession} from '../../layer/sessions/session-client.ts';
import {openAgent} from '../agents.ts';
import {addConfigFlags, flagOverrides} from '../config/flags.ts';
import {prepareConfig} from '../config/prepare.ts';
import type {ResolvedConfig} from '../config/schema/root.ts';
import {formatTarget, parseTargetPath} from '../config/target.ts';
import {filesOptions, surroundings} from '../file-options.ts';
import {hostPorts, incomingOptions} from '../incoming-options.ts';
import {inherited} from '../inherited.ts';
import {keepIgnored, watchForInterruption} from '../interruption.ts';
import {markInside, refuseNested} from '../nested.ts';
import {debuggerPorts, networkOptions} from '../network-options.ts';
import {createProgress} from '../progress.ts';
import {skipOptions} from '../skip-options.ts';

interface ExecFlags {
  configFile?: string | true;
  target?: string;
  tun?: boolean;
  join?: string;
  pcap?: string;
}

/**
 * The environment that mirrord was called with: without the directory that npx puts in front of PATH,
 * where our own dependencies would hide the person's tools (node, nft).
 */
function callersEnvironment(): NodeJS.ProcessEnv {
  const own = join(dirname(fileURLToPath(import.meta.url)), '../../node_modules/.bin');
  const path = (process.env['PATH'] ?? '').split(':').filter((entry) => entry !== own);
  return {...process.env, PATH: path.join(':')};
}

/** A shell's way to say how a program ended: its status, or 128 and the signal's number. */
function exitStatus(end: ProgramEnd): number {
  return 'code' in end ? end.code : 128 + (os.constants.signals[end.signal] ?? 0);
}

/** `feature.env` as the layer takes it. Throws MIRRORD_ENV_FILE_UNREADABLE. */
function environmentOptions({feature: {env}}: ResolvedConfig): EnvironmentOptions {
  const {include, exclude, mapping, override, unset, env_file: envFile} = env;
  return {
    ...(include !== undefined && {include}),
    ...(exclude !== undefined && {exclude}),
    ...(mapping !== undefined && {mapping}),
    ...(override !== undefined && {override}),
    ...(unset !== undefined && {unset}),
    ...(envFile !== undefined && {file: readEnvFile(envFile)}),
  };
}

/** Runs the program in a session that runs already. */
async function runJoined(argv: string[], session: string): Promise<void> {
  keepIgnored(inherited.signalsIgnored);
  using progress = createProgress('mirrord exec');
  const id = findSession(session);
  using joined = await progress.step(`joining session ${id}`, () => joinSession(id));
  const end = await runInSession(joined, {
    argv,
    env: {...callersEnvironment(), ...markInside({target: {path: joined.context.target}})},
    inherited,
    onStarted: () => progress.finish('Ready!'),
  });
  process.exitCode = exitStatus(end);
}

async function exec(argv: string[], flags: ExecFlags, command: Command): Promise<void> {
  refuseNested(process.env);
  if (flags.join !== undefined) return await runJoined(argv, flags.join);
  const {signal, orGiveUp} = watchForInterruption(inherited.signalsIgnored);
  // The flag by itself has the better words for a typo than a whole configuration.
  if (flags.target !== undefined) parseTargetPath(flags.target);
  const {config, target, warnings} = prepareConfig({
    file: flags.configFile,
    env: process.env,
    flags: flagOverrides(command),
  });
  const environment = environmentOptions(config);
  const log = createLog(process.env['MIRRORD_LOG']);
  using progress = createProgress('mirrord exec');
  // Told at each run: in an IDE, each can be muted by itself.
  for (const text of warnings) progress.notify({id: text, level: 'Warning', text});
  const debuggers = debuggerPorts({argv, env: process.env});
  for (const warning of debuggers.warnings) progress.warn(warning);
  await using pcap = flags.pcap === undefined ? undefined : await PacketFile.open(flags.pcap);
  const name = formatTarget(target);
  log('start: configured', {target: name});
  await using agent = await openAgent(target, config, {progress, log, signal});
  const {warn, info} = progress;
  const {reconnect} = agent;
  const windowSeconds = config.agent.resume_window;
  const reconnection = reconnect && {reconnect, windowSeconds, warn, info};
  using link = await progress.step('connecting to the agent', () =>
    orGiveUp(linkAgent(agent.connection, agent.token, agent.ended, reconnection)),
  );
  log('start: connected');
  const run = flags.tun === false ? runWithEnvironment : runInContext;
  const running = run(link, {
    target: name,
    argv,
    env: {...callersEnvironment(), ...markInside(config)},
    environment,
    network: networkOptions(config, debuggers.ports),
    incoming: incomingOptions(config, target, debuggers.ports, agent.pod),
    hostPorts: hostPorts(config),
    unixStreams: config.feature.network.outgoing.unix_streams ?? [],
    ...(agent.hasFiles && {
      files: filesOptions(config, surroundings(argv[0], process.env), {
        isTargetless: target.kind === 'targetless',
        volumeMounts: agent.volumeMounts,
      }),
    }),
    skip: skipOptions(config),
    ...(pcap !== undefined && {pcap}),
    inherited,
    log,
    warn: progress.warn,
    info: progress.info,
    onStarted() {
      log('start: program runs');
      progress.finish('Ready!');
    },
  });
  process.exitCode = exitStatus(await orGiveUp(running));
}

/** The command, for `main.ts`. */
export function execCommand(): Command {
  const command = new Command('exec')
    .description('run a program in the context of a pod: its network, DNS, environment and name')
    .usage('[options] [--] <program> [arguments...]')
    .argument('<program...>', 'the program and its arguments')
    .addOption(
      new Option(
        '--join <session>',
        'in a session that runs already: mirrord session list',
      ).conflicts(['target', 'configFile', 'tun']),
    )
    .addOption(
      new Option(
        '--pcap <file>',
        'record the network traffic, for Wireshark or tcpdump; not that on localhost',
      ).conflicts(['join', 'tun']),
    )
    .option('--tun', 'a network of its own for the program (the default)')
    .option('--no-tun', 'the environment of the target only; the network stays local')
    .passThroughOptions()
    .helpOption('-h, --help', 'show this help')
    .addHelpText(
      'after',
      `
The program runs on this machine, as you; its network is the pod's: addresses, host name, DNS, and localhost
where nothing local listens. What it listens on is on this machine's 127.0.0.1 too, and this machine is
host.mirrord.internal for it. It reads the pod's files, but for those of your tools, your home and the working
directory, and writes here (mirrord files explain). Its exit status is mirrord's (128 + n when signal n ended it).
Nothing needs root and nothing is left behind.

Examples:
  $ mirrord exec -t demo/gateway -- curl -s http://orders/
  $ mirrord exec -t demo/gateway -- bash                     a shell in the pod's context
  $ mirrord exec -t process/4711 -- ./server --port 80       of a container, by its pid
  $ mirrord exec --join 1f2e -- ss -tln                      beside a program that runs already
  $ mirrord exec -t demo/gateway -x 'AWS_*' -- ./server      without the pod's credentials
  $ mirrord exec -t demo/gateway --env-file dev.env -- env   with variables of your own`,
    )
    .action(exec);
  return addConfigFlags(command);
}
