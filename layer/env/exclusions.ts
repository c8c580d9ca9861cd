/**
 * The variables that describe the machine a program runs on (its tools and directories): they are never
 * taken from the pod, whatever the configuration includes.
 */

/** Variables never taken from the pod: mirrord's list, so that a local toolchain keeps working. */
const excluded: ReadonlySet<string> = new Set([
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
]);

/** Bundler's copies of what it found (BUNDLER_ORIG_PATH, …): ten names with one beginning. */
const excludedPrefix = 'BUNDLER_ORIG_';

/** Whether a variable of the pod is kept from the program. */
export function isExcluded(name: string): boolean {
  return excluded.has(name) || name.startsWith(excludedPrefix);
}
