/**
 * `mirrord demo`: the embedded cluster's commands.
 */

import {spawn} from 'node:child_process';
import {once} from 'node:events';
import os from 'node:os';
import chalk, {chalkStderr} from 'chalk';
import {Command, InvalidArgumentError, Option} from 'commander';
import {
  demoStatus,
  endDemo,
  ensureDemo,
  insidePod,
  resolveDemoTarget,
  runPod,
  stopPod,
} from '../demo/client.ts';
import type {DemoStatus, PodStatus, ServiceStatus} from '../demo/control.ts';
import {formatTable, type Table} from '../demo/table.ts';

function describePort(port: PodStatus['ports'][number]): string {
  const where = {any: '', pod: ' (pod IP)', loopback: ' (loopback)', ipv6: ' (IPv6)'}[port.on];
  return `${port.port}/${port.protocol}${where}`;
}

function podTable(status: DemoStatus): Table {
  return {
    head: ['POD', 'READY', 'PID', 'ADDRESSES', 'PORTS'],
    rows: status.pods.map(({name, ready, pid, addresses, ports}) => [
      name,
      ready ? 'yes' : 'no',
      String(pid),
      `${addresses.v4} ${addresses.v6}`,
      ports.map(describePort).join(', '),
    ]),
  };
}

function describeServicePort({port, protocol, targetPort}: ServiceStatus['ports'][number]): string {
  return port === targetPort ? `${port}/${protocol}` : `${port}→${targetPort}/${protocol}`;
}

function serviceTable(status: DemoStatus): Table {
  return {
    head: ['SERVICE', 'CLUSTER IP', 'PORTS', 'ENDPOINTS'],
    rows: status.services.map(({name, namespace, clusterIPs, ports, endpoints, externalName}) => [
      namespace === 'default' ? name : `${name}.${namespace}`,
      clusterIPs.join(' ') || (externalName === undefined ? 'headless' : 'alias'),
      ports.map(describeServicePort).join(', ') || '-',
      externalName ?? (endpoints.join(' ') || '-'),
    ]),
  };
}

function fixtureTable(status: DemoStatus): Table {
  return {
    head: ['FIXTURE', 'ADDRESSES', 'PACKETS FOR IT'],
    rows: status.fixtures.map(({name, addresses, does}) => [
      name,
      `${addresses.v4} ${addresses.v6}`,
      does === 'drop' ? 'are dropped' : `are answered by ICMP ${does}`,
    ]),
  };
}

function showStatus(status: DemoStatus | undefined, asJson: boolean): void {
  if (asJson) {
    process.stdout.write(`${JSON.stringify(status ?? {running: false}, null, 2)}\n`);
    return;
  }
  if (status === undefined) {
    process.stdout.write(`The demo cluster is not running. ${chalk.dim('(mirrord demo up)')}\n`);
    return;
  }
  const tables = [podTable(status), serviceTable(status), fixtureTable(status)];
  process.stdout.write(tables.map((table) => formatTable(table, chalk.bold)).join('\n'));
  const {dns} = status;
  process.stdout.write(`\nDNS ${dns.address}, search ${dns.search.join(' ')}\n`);
  process.stdout.write(`Logs ${status.logs}\n`);
}

async function up({json}: {json?: boolean}): Promise<void> {
  const progress = (text: string) => process.stderr.write(chalkStderr.dim(`mirrord: ${text}\n`));
  showStatus(await ensureDemo({progress}), json === true);
}

async function down(): Promise<void> {
  const was = await endDemo();
  process.stdout.write(
    was ? 'The demo cluster has ended.\n' : 'The demo cluster was not running.\n',
  );
}

interface RunOptions {
  env: Record<string, string>;
  port: number[];
}

function parseVariable(text: string, all: Record<string, string>): Record<string, string> {
  const equals = text.indexOf('=');
  if (equals < 1) throw new InvalidArgumentError('a variable is NAME=VALUE');
  return {...all, [text.slice(0, equals)]: text.slice(equals + 1)};
}

function parsePort(text: string, all: number[]): number[] {
  const port = Number(text);
  if (!Number.isInteger(port) || port < 1 || port > 65_535) {
    throw new InvalidArgumentError('a port is a number from 1 to 65535');
  }
  return [...all, port];
}

async function run(name: string, command: string[], {env, port}: RunOptions): Promise<void> {
  await ensureDemo();
  const ports = port.map((number) => ({
    name: `port-${number}`,
    protocol: 'tcp' as const,
    port: number,
    on: 'any' as const,
  }));
  const pod = await runPod({name, command, env, ports});
  process.stdout.write(`${JSON.stringify(pod)}\n`);
}

/** Runs a command inside a pod, with its environment, as `kubectl exec` would; ends with its status. */
async function enter(name: string, command: string[]): Promise<void> {
  const {pid, podName} = await resolveDemoTarget(name);
  const status = await demoStatus();
  const env = status?.pods.find((pod) => pod.name === podName)?.env ?? {};
  const [launcher, ...args] = insidePod(pid, command);
  const child = spawn(launcher, args, {stdio: 'inherit', env});
  const [code, signal] = (await once(child, 'exit')) as [number | null, NodeJS.Signals | null];
  process.exitCode = signal === null ? (code ?? 1) : 128 + os.constants.signals[signal];
}

async function status({json}: {json?: boolean}): Promise<void> {
  const found = await demoStatus();
  showStatus(found, json === true);
  // As systemctl(1) does: a script may ask without reading.
  if (found === undefined) process.exitCode = 3;
}

function runCommand(): Command {
  return new Command('run')
    .description("start one more pod, with this machine's programs")
    .argument('<name>', "the pod's name")
    .argument('<command...>', 'its program and arguments')
    .option('--env <NAME=VALUE>', 'a variable of its environment (repeatable)', parseVariable, {})
    .option('--port <number>', 'a TCP port to wait for (repeatable)', parsePort, [])
    .action(run);
}

function enterCommand(): Command {
  return new Command('enter')
    .description('run a command inside a pod')
    .argument('<pod>', "the pod's name")
    .argument('<command...>', 'the command and its arguments')
    .passThroughOptions()
    .action(enter);
}

/** Makes the command `demo` with its subcommands. Errors are thrown as MirrordError. */
export function demoCommand(): Command {
  const json = () => new Option('--json', 'print JSON');
  const stopCommand = new Command('stop')
    .description('end a pod of run')
    .argument('<name>', "the pod's name")
    .action(stopPod);
  return new Command('demo')
    .description('the embedded demo cluster: a few pods and services on this machine, without root')
    .enablePositionalOptions()
    .addCommand(new Command('up').description('start it').addOption(json()).action(up))
    .addCommand(new Command('down').description('end it, leaving nothing').action(down))
    .addCommand(
      new Command('status')
        .description('show its pods, services and name server')
        .addOption(json())
        .action(status),
    )
    .addCommand(runCommand(), {hidden: true})
    .addCommand(stopCommand, {hidden: true})
    .addCommand(enterCommand(), {hidden: true});
}
