import test from 'ava';
import {type Result, useDemo} from '../helpers/e2e.ts';

const demo = useDemo(test);

type Step = {expect: string} | {send: string} | {resize: [rows: number, columns: number]};

const env = {TERM: 'dumb', PS1: 'outer> ', PROMPT_COMMAND: ''};
const bash = ['bash', '--norc', '--noprofile', '-i'];

function expect(pattern: string): Step {
  return {expect: pattern};
}

/** Types a line. */
function type(line: string): Step {
  return {send: `${line}\n`};
}

const ctrlC: Step = {send: '\x03'};
const ctrlZ: Step = {send: '\x1a'};

async function onTerminal(argv: readonly string[], steps: readonly Step[]): Promise<Result> {
  const driver = ['python3', demo.program('terminal.py'), JSON.stringify(steps)];
  return await demo.run([...driver, ...argv], {env});
}

function mirrord(...argv: string[]): string[] {
  return [demo.mirrordPath, 'exec', '-t', 'demo/gateway', '--', ...argv];
}

/** Starts an interactive shell in the pod's context, with a prompt of its own. */
const inner = [expect('^outer> '), type("PS1=inn$((1))'er> '"), expect('^inn1er> ')];

test.serial('an interactive shell has job control', async (t) => {
  const {status, stderr} = await onTerminal(mirrord(...bash), [
    ...inner,
    type('sh -c "echo on; read x; echo got \\$x; read y"'),
    expect('^on'),
    ctrlZ,
    expect('Stopped +sh -c'),
    expect('^inn1er> '),
    type('jobs'),
    expect('\\[1\\]\\+ +Stopped +sh -c'),
    expect('^inn1er> '),
    type('fg'),
    expect('^sh -c'),
    type('a line'),
    expect('^got a line'),
    ctrlC,
    expect('inn1er> '),
    type('echo "status $?"'),
    expect('^status 130'),
    type('sleep 0.01 & wait $!; echo "waited $?"'),
    expect('^waited 0'),
    type('exit 9'),
  ]);
  t.is(status, 9, stderr);
});

test.serial("the terminal's size and its change reach the program", async (t) => {
  const {status, stderr} = await onTerminal(mirrord(...bash), [
    ...inner,
    type('stty size'),
    expect('^24 80'),
    expect('^inn1er> '), // readline sets the size that it has read just before
    {resize: [50, 132]},
    type('stty size'),
    expect('^50 132'),
    type('exit'),
  ]);
  t.is(status, 0, stderr);
});

test.serial('a change of size is signalled to the program', async (t) => {
  const script = "trap 'stty size; exit 7' WINCH; echo ready; while :; do sleep 0.01; done";
  const {status, stderr} = await onTerminal(mirrord('bash', '-c', script), [
    expect('^ready'),
    {resize: [50, 132]},
    expect('^50 132'),
  ]);
  t.is(status, 7, stderr);
});

test.serial('Ctrl-C ends the program with status 130', async (t) => {
  const {status, stderr} = await onTerminal(mirrord('sh', '-c', 'echo ready; exec sleep 1000'), [
    expect('^ready'),
    ctrlC,
  ]);
  t.is(status, 130, stderr);
});

test.serial('Ctrl-C that the program handles does not end it', async (t) => {
  const script = "trap 'echo caught; exit 5' INT; echo ready; while :; do sleep 0.01; done";
  const {status, stderr} = await onTerminal(mirrord('bash', '-c', script), [
    expect('^ready'),
    ctrlC,
    expect('caught'),
  ]);
  t.is(status, 5, stderr);
});

test.serial('Ctrl-Z stops mirrord as a job of the outer shell, and fg resumes it', async (t) => {
  const command = mirrord('sh', '-c', "'echo ready; read x; echo got $x; read y'").join(' ');
  const {status, stderr} = await onTerminal(bash, [
    expect('^outer> '),
    type(command),
    expect('^ready'),
    ctrlZ,
    expect('Stopped'),
    expect('^outer> '),
    type('jobs; fg'),
    expect('\\[1\\]\\+ +Stopped'),
    expect('^/.*exec -t'),
    type('a line'),
    expect('^got a line'),
    ctrlC,
    expect('outer> '),
    type('exit $?'),
  ]);
  t.is(status, 130, stderr);
});

test.serial(
  'suspend of an inner shell stops mirrord, and fg gives the terminal back',
  async (t) => {
    const {status, stderr} = await onTerminal(bash, [
      expect('^outer> '),
      type(mirrord(...bash).join(' ')),
      ...inner,
      type('suspend'),
      expect('Stopped'),
      expect('^outer> '),
      type('fg'),
      expect('^/.*exec -t'),
      type('echo b$((1+1))k'),
      expect('^b2k'),
      type('exit 4'),
      expect('^outer> '),
      type('exit $?'),
    ]);
    t.is(status, 4, stderr);
  },
);

test.serial(
  'the terminal is as before after the program has changed it and was killed',
  async (t) => {
    const command = mirrord('sh', '-c', "'echo ready; exec sleep 1000'").join(' ');
    const {status, stderr} = await onTerminal(bash, [
      expect('^outer> '),
      type('before=$(stty -g)'),
      expect('^outer> '),
      type(command),
      expect('^ready'),
      ctrlC,
      expect('outer> '),
      type('test "$before" = "$(stty -g)" && echo sa$((1))ne'),
      expect('^sa1ne'),
      type('exit 3'),
    ]);
    t.is(status, 3, stderr);
  },
);

test.serial('a full-screen program draws on the terminal', async (t) => {
  const {status, stdout, stderr} = await onTerminal(
    mirrord('env', 'TERM=xterm', 'LESS=', 'less', '/etc/hosts'),
    [expect('localhost'), {send: 'q'}],
  );
  t.is(status, 0, stderr);
  t.true(stdout.includes('\x1b['));
});
