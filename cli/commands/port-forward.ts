/**
 * `mirrord port-forward`: ports of this machine that lead into the target's network, and ports of the target that lead
 * here.
 */

import {Command, Option} from 'commander';
import {MirrordError} from '../../layer/errors.ts';
import {forwardLocally, type LocalForward} from '../../layer/forward/local-forward.ts';
import {forwardReversely, type ReverseForward} from '../../layer/forward/reverse-forward.ts';
import type {PortSubscriptions} from '../../layer/port-subscriptions.ts';
import {addAgentFlags, flagOverrides} from '../config/flags.ts';
import {prepareConfig} from '../config/prepare.ts';
import type {ResolvedConfig} from '../config/schema/root.ts';
import {formatTarget, type Target} from '../config/target.ts';
import {aliasOf} from '../flag-alias.ts';
import {parseLocalForwards, parseReverseForwards} from '../forward-spec.ts';
import {incomingOptions} from '../incoming-options.ts';
import {type LinkedAgent, openLinkedAgent} from '../linked-agent.ts';
import {createProgress, type Progress} from '../progress.ts';

interface PortForwardFlags {
  configFile?: string | true;
  portMapping?: LocalForward[];
  reversePortMapping?: ReverseForward[];
}

/** Throws for a combination that makes no sense. */
function check(
  {portMapping, reversePortMapping}: PortForwardFlags,
  config: ResolvedConfig,
  target: Target,
): void {
  if (portMapping === undefined && reversePortMapping === undefined) {
    throw new MirrordError('MIRRORD_NOTHING_TO_FORWARD', 'no port to forward is given', {
      hint: 'name one: -L 8080:orders:80, or -R 80:8080; see: mirrord port-forward --help',
    });
  }
  if (reversePortMapping === undefined) return;
  if (target.kind === 'targetless') {
    throw new MirrordError('MIRRORD_TARGET_MISSING', 'there is no target whose ports to forward', {
      hint: '-R needs one: -t deployment/NAME',
    });
  }
  if (config.feature.network.incoming.mode === 'off') {
    throw new MirrordError('MIRRORD_INCOMING_OFF', '-R takes traffic, which is turned off', {
      hint: 'set feature.network.incoming.mode to mirror or steal, or give --steal',
    });
  }
}

/** Takes the ports of `-R`, as `feature.network.incoming` says. */
function reverseForwards(
  {link, agent}: LinkedAgent,
  forwards: readonly ReverseForward[],
  {config, target, warn}: {config: ResolvedConfig; target: Target; warn: Progress['warn']},
): PortSubscriptions | undefined {
  const options = incomingOptions(config, target, [], agent.pod);
  if (options === undefined || forwards.length === 0) return undefined;
  return forwardReversely(link, {...options, forwards, warn});
}

async function portForward(flags: PortForwardFlags, command: Command): Promise<void> {
  const {config, target, warnings} = prepareConfig({
    file: flags.configFile,
    env: process.env,
    flags: flagOverrides(command),
  });
  check(flags, config, target);
  const {portMapping: locals = [], reversePortMapping: reverses = []} = flags;
  const name = formatTarget(target);
  using progress = createProgress('mirrord port-forward');
  const {warn, info} = progress;
  for (const text of warnings) progress.notify({id: text, level: 'Warning', text});
  using disposables = new DisposableStack();
  // First, since it costs nothing: a port that is taken is told before an agent is started.
  const listeners = [];
  for (const forward of locals) {
    listeners.push(disposables.use(await forwardLocally(forward, warn)));
  }
  await using linked = await openLinkedAgent(target, config, progress);
  for (const listener of listeners) listener.serve(linked.link);
  using reverse = reverseForwards(linked, reverses, {config, target, warn});
  const failed = reverse === undefined ? [] : [reverse.failed];
  const ended = linked.untilInterrupted(...failed);
  await Promise.race([reverse?.ready, ended]);
  for (const {localPort, host, port} of locals) {
    info(`127.0.0.1:${localPort} leads to ${host}:${port}, from ${name}`);
  }
  const {mode} = config.feature.network.incoming;
  for (const {port, localPort} of reverses) {
    info(`port ${port} of ${name} comes to 127.0.0.1:${localPort} (${mode})`);
  }
  progress.finish('Ready!');
  await ended;
}

/** The command, for `main.ts`. */
export function portForwardCommand(): Command {
  const mapping = new Option(
    '-L, --port-mapping <forward>',
    '[LOCAL_PORT:]HOST:PORT: 127.0.0.1:LOCAL_PORT leads to HOST:PORT, as the pod finds it (repeatable)',
  ).argParser(parseLocalForwards);
  const command = new Command('port-forward')
    .description("ports of this machine that lead into a target's network, and the other way")
    .addOption(mapping)
    .addOption(aliasOf(mapping, '--port-mappings'))
    .addOption(
      new Option(
        '-R, --reverse-port-mapping <forward>',
        "[REMOTE_PORT:]LOCAL_PORT: the target's port comes to 127.0.0.1:LOCAL_PORT (repeatable)",
      ).argParser(parseReverseForwards),
    )
    .helpOption('-h, --help', 'show this help')
    .addHelpText(
      'after',
      `
Until Ctrl-C, over TCP. -L: the name is resolved in the pod for each connection, localhost is the pod's, and the connection
leaves from there. -R: as feature.network.incoming says, a copy of the traffic comes (mirror, the default) or the traffic
itself (--steal), with its http_filter; who listens here sees 127.0.0.1 as the client, and what nobody takes is the
application's. It needs no namespaces on this machine.

Examples:
  $ mirrord port-forward -t deployment/orders -n shop -L 5432:db.shop:5432     psql -h 127.0.0.1
  $ mirrord port-forward -t demo/gateway -L 8080:orders:80 -L localhost:9229   a Service, and a debugger in the pod
  $ mirrord port-forward -t demo/gateway -R 80:3000                            a copy of what comes to port 80
  $ mirrord port-forward -t demo/gateway -R 80:3000 --steal                    port 80 itself`,
    )
    .action(portForward);
  return addAgentFlags(command, ['--steal']);
}
