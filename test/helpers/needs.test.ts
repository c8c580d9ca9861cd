import test, {type TestFn} from 'ava';
import {needing, programs, pythonModule} from './needs.ts';

const missing = programs('sh', 'no-such-program', 'nor-this');

/** Runs `work` in an environment in which CI is this. */
function withCi<T>(value: string, work: () => T): T {
  const before = process.env['CI'];
  process.env['CI'] = value;
  try {
    return work();
  } finally {
    if (before === undefined) delete process.env['CI'];
    else process.env['CI'] = before;
  }
}

test('what is missing is named', (t) => {
  t.is(missing, 'no-such-program, nor-this');
  t.is(programs('sh'), undefined);
  t.is(programs(process.execPath, '/no/such/program'), '/no/such/program');
  t.is(pythonModule('sys'), undefined);
  t.is(pythonModule('no_such_module'), "Python's no_such_module");
});

test('tests that miss nothing are tests', (t) => {
  t.is(needing(test, programs('sh'), undefined), test);
});

test('in CI tests that miss something fail, with its name', (t) => {
  const error = t.throws(() => withCi('true', () => needing(test, programs('sh'), missing)));
  t.is(error?.message, 'not here: no-such-program, nor-this');
});

test('elsewhere they are skipped, and their hooks do not run', (t) => {
  const skipped: unknown[] = [];
  const run = (): void => t.fail('it runs');
  const fake = Object.assign(run, {
    skip: (...args: unknown[]) => skipped.push(args[0]),
    serial: run,
    before: run,
  }) as unknown as TestFn;
  const here = withCi('', () => needing(fake, missing));
  here('one', () => undefined);
  here.serial('two', () => undefined);
  here.before(() => undefined);
  here.serial.after.always(() => undefined);
  t.deepEqual(skipped, ['one', 'two']);
});
