import test from 'ava';
import {isExcluded, mergeEnvironment} from '../../../layer/env/environment.ts';

test("the pod's variables win over the local ones, which stay where the pod has none", (t) => {
  t.deepEqual(mergeEnvironment({A: 'local', B: 'local'}, {A: 'pod', C: 'pod'}), {
    A: 'pod',
    B: 'local',
    C: 'pod',
  });
});

test('variables about tools and directories stay local, or absent', (t) => {
  const pod = {PATH: '/app/bin', HOME: '/root', JAVA_HOME: '/jdk', GOPATH: '/go', X: '1'};
  t.deepEqual(mergeEnvironment({PATH: '/usr/bin', HOME: '/home/me'}, pod), {
    PATH: '/usr/bin',
    HOME: '/home/me',
    X: '1',
  });
});

const never = test.macro({
  exec(t, name: string) {
    t.true(isExcluded(name));
    t.false(isExcluded(`MY_${name}`));
  },
  title: (_, name) => `${name} is never taken from the pod`,
});

for (const name of [
  'BUNDLER_ORIG_PATH',
  'BUNDLER_ORIG_RUBYOPT',
  'BUNDLER_VERSION',
  'BUNDLE_APP_CONFIG',
  'BUNDLE_BIN_PATH',
  'BUNDLE_FORCE_RUBY_PLATFORM',
  'BUNDLE_GEMFILE',
  'BUNDLE_GEM_PATH',
  'BUNDLE_PATH',
  'BUNDLE_WITHOUT',
  'CATALINA_HOME',
  'CLASSPATH',
  'DOTNET_EnableDiagnostics',
  'DOTNET_STARTUP_HOOKS',
  'GEM_HOME',
  'GEM_PATH',
  'GOMODCACHE',
  'GOPATH',
  'HOME',
  'HOMEPATH',
  'JAVA_EXE',
  'JAVA_HOME',
  'JAVA_TOOL_OPTIONS',
  'MIRRORD_LOG',
  'PATH',
  'PWD',
  'PYTHONPATH',
  'RUBYLIB',
  'RUBYOPT',
  'RUST_LOG',
  '_JAVA_OPTIONS',
]) {
  test(never, name);
}
