/** The program's files, from the configuration. */

import {existsSync, realpathSync} from 'node:fs';
import os from 'node:os';
import {delimiter, join, resolve} from 'node:path';
import {fileURLToPath} from 'node:url';
import type {Surroundings} from '../layer/files/default-rules.ts';
import type {FilesOptions} from '../layer/files/serve.ts';
import type {ResolvedConfig} from './config/schema/root.ts';

const installation = fileURLToPath(new URL('..', import.meta.url)).replace(/\/$/, '');

/** The file of a command, as execvp(3) finds it; undefined where this machine has none. It may be the pod's then. */
function findProgram(command: string, path: string): string | undefined {
  const files = command.includes('/')
    ? [command]
    : path.split(delimiter).map((directory) => join(directory || '.', command));
  return files.map((file) => resolve(file)).find((file) => existsSync(file));
}

/** What of this machine mirrord's lists of paths depend on. */
export function surroundings(command: string | undefined, env: NodeJS.ProcessEnv): Surroundings {
  const executable = command === undefined ? undefined : findProgram(command, env['PATH'] ?? '');
  return {
    home: env['HOME'] || os.homedir(),
    cwd: process.cwd(),
    temporary: realpathSync(os.tmpdir()),
    installation,
    ...(executable !== undefined && {executable}),
  };
}

/** What of a target the rules depend on. */
export interface FilesTarget {
  readonly isTargetless: boolean;
  /** Where volumes are mounted in it. */
  readonly volumeMounts: readonly string[];
}

/** `feature.fs` and what belongs to it, as the layer takes it. */
export function filesOptions(
  {feature: {fs, magic}}: ResolvedConfig,
  around: Surroundings,
  {isTargetless, volumeMounts}: FilesTarget,
): FilesOptions {
  return {
    rules: {
      mode: fs.mode,
      readWrite: fs.read_write ?? [],
      readOnly: fs.read_only ?? [],
      local: fs.local ?? [],
      notFound: fs.not_found ?? [],
      mapping: fs.mapping ?? {},
      mounted: magic.auto_mount ? volumeMounts : [],
      isTargetless,
    },
    firstBytes: fs.readonly_file_buffer,
    around,
  };
}
