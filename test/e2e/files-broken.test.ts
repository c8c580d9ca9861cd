import {readFileSync} from 'node:fs';
import test from 'ava';
import {useDemo, waitFor} from '../helpers/e2e.ts';
import {isRunning, type ProcessEntry, processTree, signal} from '../helpers/processes.ts';

const world = useDemo(test);

const victims = {
  'the program': {signal: 'SIGKILL', process: /^cat \/app\/node/},
  'the program, by a signal that it may handle': {signal: 'SIGTERM', process: /^cat \/app\/node/},
  mirrord: {signal: 'SIGKILL', process: /cli\/main\.ts exec/},
  'the launcher': {signal: 'SIGKILL', process: /launcher serve/},
  'the agent': {signal: 'SIGKILL', process: /agent\/main\.ts/},
} as const;

for (const [victim, {signal: name, process: pattern}] of Object.entries(victims)) {
  test.serial(`who waits for a file whose agent doesn't answer ends with ${victim}`, async (t) => {
    const running = world.startExec(['sh', '-c', 'echo on; read _; exec cat /app/node'], {
      flags: ['--fs-mode', 'read'],
    });
    await running.said(/^on\n/);
    const find = (what: RegExp): ProcessEntry | undefined =>
      processTree(running.pid).find(({command}) => what.test(command));
    const agent = await waitFor('the agent', () => find(/agent\/main\.ts/));
    process.kill(agent.pid, 'SIGSTOP');
    running.child.stdin?.write('\n');
    const waiting = await waitFor('the program', () => {
      const found = find(/^cat \/app\/node/);
      return found?.state === 'S' ? found : undefined;
    });
    const all = processTree(running.pid);
    signal(find(pattern), name);
    await waitFor('its end', () => !isRunning(waiting));
    // It was we who have stopped it; by itself it would end.
    if (isRunning(agent)) process.kill(agent.pid, 'SIGCONT');
    await running.ended;
    await waitFor('all processes to end', () => !all.some(isRunning));
    t.notRegex(readFileSync('/proc/self/mounts', 'utf8'), /^mirrord .* fuse /m);
    t.is(running.output.stdout, 'on\n', 'it did wait');
  });
}

test.serial(
  'who serves files may die: what is asked then is answered, what was open fails',
  async (t) => {
    const script = `
    exec 3< /app/node
    head -c 4 <&3 | tail -c 3; echo on; read _
    head -c 200000 <&3 | wc -c
    head -c 4 /app/node | tail -c 3; ls /app/local.py 2>&1`;
    const running = world.startExec(['sh', '-c', script], {flags: ['--fs-mode', 'read']});
    await running.said(/^ELFon\n/);
    for (const pattern of [/launcher files pid/, /launcher files root/]) {
      const victim = processTree(running.pid).find(({command}) => pattern.test(command));
      signal(victim, 'SIGKILL');
      await waitFor('its end', () => victim !== undefined && !isRunning(victim));
    }
    running.child.stdin?.write('\n');
    const {stdout, stderr} = await running.ended;
    t.regex(stdout, /^ELFon\n\d+\nELF.*No such file/);
    t.is(stderr.match(/has ended; there is another one/g)?.length, 2, stderr);
  },
);
