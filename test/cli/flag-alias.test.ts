import test from 'ava';
import type {Command} from 'commander';
import {dumpCommand} from '../../cli/commands/dump.ts';
import {lsCommand} from '../../cli/commands/ls.ts';
import {portForwardCommand} from '../../cli/commands/port-forward.ts';

/** What a command's flags come to. */
function parse(command: Command, ...argv: string[]): Record<string, unknown> {
  command.parseOptions(argv);
  return command.opts();
}

test('mirrord’s names of flags mean what ours do, and add up with them', (t) => {
  t.deepEqual(
    parse(dumpCommand(), '-p', '80', '--ports', '81', '--port', '82')['port'],
    [80, 81, 82],
  );
  const forwards = parse(portForwardCommand(), '--port-mappings', '1:a:2', '-L', '3:b:4');
  t.deepEqual(forwards['portMapping'], [
    {localPort: 1, host: 'a', port: 2},
    {localPort: 3, host: 'b', port: 4},
  ]);
  const wanted = parse(lsCommand(), '--namespace', 'shop', '-t', 'pod', '--target-type', 'job');
  t.like(wanted, {targetNamespace: 'shop', type: ['pod', 'job']});
});

test('no help shows them', (t) => {
  const help = [dumpCommand(), lsCommand(), portForwardCommand()]
    .map((command) => command.helpInformation())
    .join('');
  t.notRegex(help, /--(?:ports|namespace|target-type|port-mappings)\b/);
});
