/**
 * mirrord's own lists of paths: which are this machine's, which the pod's, which nobody's, unless the
 * configuration says otherwise. Pure.
 *
 * All are regular expressions, searched for in the whole path without regard to case.
 */

/** What of this machine the lists depend on. */
export interface Surroundings {
  /** The home directory. */
  readonly home: string;
  /** Where the program is started. */
  readonly cwd: string;
  /** The program's file, as an absolute path, if it is known. */
  readonly executable?: string;
  /** Where this machine has its temporary files. */
  readonly temporary: string;
  /** mirrord's own files, which its processes in the sandbox need. */
  readonly installation?: string;
}

/** Directories that are this machine's. */
export const localDirectories: readonly string[] = [
  ...['/proc', '/sys', '/lib', '/etc', '/usr', '/home', '/bin', '/sbin', '/dev', '/opt', '/tmp'],
  ...['/var/tmp', '/var/db/timezone/zoneinfo', '/snap', '/run', '/selinux', '/nix'],
  // Of macOS, whose configurations are to mean the same here.
  ...['/Volumes', '/private', '/var/folders', '/Users', '/Library', '/Applications', '/System'],
  ...['/var/run/com.apple', '/Network'],
];

/**
 * Directories that the kernel itself needs to start a program: its interpreter is in one of them. To a
 * preloaded library they are invisible, so mirrord's list has no need of them.
 */
export const loaderDirectories: readonly string[] = ['/lib32', '/lib64', '/libx32'];

/** Suffixes of programs' own parts; something must be in front of each. */
const localSuffixes = [
  ...['so', 'sh', 'rb', 'd', 'pyc', 'py', 'jar', 'class', 'js', 'pth', 'plist', 'pdb', 'dll'],
].map((suffix) => `^.+\\.${suffix}$`);

const localNames = [
  'venv\\.cfg$',
  '\\.asdf/',
  'clr-.*-pipe-',
  'jvm\\.cfg',
  '/package\\.json',
  '/\\.yarnrc$',
  '/\\.yarnrc\\.yml',
  '/\\.yarnrc\\.json',
  '/node_modules',
  '/\\.tool-versions',
  '^/Program Files',
];

/** The pod's, to read. */
export const remoteFiles: readonly string[] = ['/etc/resolv.conf', '/etc/hosts', '/etc/hostname'];
/** The pod's with all that is in it, to read. */
export const remoteDirectories: readonly string[] = ['/etc/ssl/certs'];

/** Credentials of this machine's user for other clusters, below the home directory: they are not there. */
export const hiddenInHome: readonly string[] = ['.config/gcloud', '.kube', '.azure'];

/** Makes of a path a regular expression for itself. */
export function literally(path: string): string {
  return path.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
}

/** A regular expression for a directory and all that is in it. */
export function treeRule(directory: string): string {
  return `^${literally(directory.replace(/\/+$/, ''))}(?:/|$)`;
}

/** Paths that are this machine's. */
export function localRules(around: Surroundings): string[] {
  const {home, cwd, executable, temporary, installation} = around;
  return [
    '^/$',
    ...[...localDirectories, ...loaderDirectories].map(treeRule),
    ...localSuffixes,
    ...localNames,
    ...(temporary === '/' ? [] : [`^${literally(temporary)}`]),
    ...(cwd === '/' ? [] : [treeRule(cwd)]),
    ...(executable === undefined ? [] : [`^${literally(executable)}$`]),
    ...(home === '/' ? [] : [`^${literally(home)}/\\.`]),
    ...(installation === undefined ? [] : [treeRule(installation)]),
  ];
}

/** Paths that are the pod's, to read. */
export function remoteRules(): string[] {
  return [...remoteFiles.map((path) => `^${literally(path)}$`), ...remoteDirectories.map(treeRule)];
}

/** Paths that are not there. */
export function hiddenRules({home}: Surroundings): string[] {
  return hiddenInHome.map((name) => treeRule(`${home === '/' ? '' : home}/${name}`));
}
