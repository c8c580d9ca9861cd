/**
 * `mirrord dump`: prints what comes to a target, as it comes.
 */

import {Command, Option} from 'commander';
import {type DumpEvent, dumpPorts} from '../../layer/dump.ts';
import {MirrordError} from '../../layer/errors.ts';
import {subscribeListening} from '../../tunnel/target.ts';
import {addAgentFlags, flagOverrides} from '../config/flags.ts';
import {prepareConfig} from '../config/prepare.ts';
import {formatTarget} from '../config/target.ts';
import {asJson, asText} from '../dump/format.ts';
import {aliasOf} from '../flag-alias.ts';
import {requestOptions} from '../incoming-options.ts';
import {declaredPorts} from '../kube/target/containers.ts';
import {type LinkedAgent, openLinkedAgent} from '../linked-agent.ts';
import {parsePorts} from '../port.ts';
import {createProgress} from '../progress.ts';
import {openStandardOutput} from '../standard-output.ts';

interface DumpFlags {
  configFile?: string | true;
  port?: number[];
  output: 'text' | 'json';
  json?: true;
}

/** The ports on which something in the pod can be reached from outside. */
async function listeningPorts({link}: LinkedAgent): Promise<number[]> {
  const {promise, resolve} = Promise.withResolvers<number[]>();
  const call = subscribeListening(
    link.mux,
    ({ownTcp4, ownTcp6}) => resolve([...new Set([...ownTcp4, ...ownTcp6])]),
    () => resolve([]),
  );
  const ports = await promise;
  call.reset('ECANCELED');
  return ports.sort((one, other) => one - other);
}

/** The ports that were not asked for: what the pod declares, else where it listens. Throws MIRRORD_NO_PORTS. */
async function allPorts(linked: LinkedAgent, name: string): Promise<number[]> {
  const {pod} = linked.agent;
  const declared = pod === undefined ? [] : declaredPorts(pod);
  const ports = declared.length > 0 ? declared : await listeningPorts(linked);
  if (ports.length > 0) return ports;
  throw new MirrordError('MIRRORD_NO_PORTS', `${name} declares no port, and listens on none`, {
    hint: 'name them: -p 80',
  });
}

async function dump(flags: DumpFlags, command: Command): Promise<void> {
  const {config, target} = prepareConfig({
    file: flags.configFile,
    env: process.env,
    flags: flagOverrides(command),
  });
  const name = formatTarget(target);
  if (target.kind === 'targetless') {
    throw new MirrordError('MIRRORD_TARGET_MISSING', 'there is no target whose traffic to show', {
      hint: 'name it: mirrord dump -t deployment/NAME',
    });
  }
  using progress = createProgress('mirrord dump');
  await using linked = await openLinkedAgent(target, config, progress);
  const ports = flags.port ?? (await linked.interruption.orGiveUp(allPorts(linked, name)));
  const output = openStandardOutput();
  const format = flags.json === true || flags.output === 'json' ? asJson : asText;
  using dumped = dumpPorts(linked.link, {
    ports,
    ...requestOptions(config),
    warn: progress.warn,
    onEvent: (event: DumpEvent, done) => output.write(format(event, new Date()), done),
  });
  const ready = dumped.ready.then(() => {
    progress.finish('Ready!');
    progress.info(`new connections to ${name}, port ${ports.join(', ')}: what they send`);
  });
  ready.catch(() => undefined); // `failed` says it
  await Promise.race([linked.untilInterrupted(dumped.failed), output.closed]);
  await output.flushed();
}

/** The command, for `main.ts`. */
export function dumpCommand(): Command {
  const port = new Option('-p, --port <ports>', 'only these ports (repeatable, or with commas)');
  port.argParser(parsePorts);
  const command = new Command('dump')
    .description("print a target's incoming traffic, live")
    .addOption(port)
    .addOption(aliasOf(port, '--ports'))
    .addOption(new Option('-o, --output <format>', 'how').choices(['text', 'json']).default('text'))
    .addOption(new Option('--json', 'as --output json'))
    .helpOption('-h, --help', 'show this help')
    .addHelpText(
      'after',
      `
Shows what clients send over connections that they make from now on, until Ctrl-C; the application answers them
as ever, and its answers are not shown. Text is shown as it is, anything else in hexadecimals. Without -p: the
ports that the pod declares, else those that it listens on. Of the file's keys http_filter counts. It needs no namespaces on this machine.

With --json, an object a line: {"type": "connection", "id", "time", "from", "to"},
{"type": "data", "id", "time", "bytes", "text" or "base64"}, {"type": "closed" or "reset", "id", "time", "total"}.
A reader that is too slow loses the rest of a connection, and the application nothing.

Examples:
  $ mirrord dump -t demo/gateway
  $ mirrord dump -t deployment/orders -n shop -p 80,8080
  $ mirrord dump -t demo/gateway --json | jq -r 'select(.text).text'`,
    )
    .action(dump);
  return addAgentFlags(command, ['--key']);
}
