import test from 'ava';
import {isExcluded} from '../../../layer/env/exclusions.ts';

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
