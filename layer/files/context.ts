/** What those who answer the kernel about files have in common. */

import type {Identity} from './file-client.ts';
import type {OpenHandle} from './nodes.ts';
import type {Snapshots} from './snapshots.ts';
import type {Sources} from './sources.ts';
import type {FileNode, FileTree} from './tree.ts';

export interface FilesContext {
  readonly tree: FileTree;
  readonly sources: Sources;
  /** Directories that are there whoever has them, and what they hold. */
  readonly scaffold: ReadonlyMap<string, ReadonlySet<string>>;
  readonly snapshots: Snapshots;
  /**
   * Forgets what is remembered of the pod's directories: the program has changed something, or is about to: what is in a directory, or what
   * a file is.
   */
  changed(node: FileNode, other?: FileNode): void;
  /** Tells the kernel that its attributes of a node are old. */
  outdated(node: FileNode): void;
  /** Gives the kernel's cache all bytes of a file, of which nothing may be open (kernel-cache.ts). */
  give(node: FileNode, content: Uint8Array): void;
  readonly now: () => number;
  /** Whom the pod's files are looked at as. */
  readonly identity: Identity;
  /** The agent's handle of an open file, with its file system. */
  handle(number: number): OpenHandle | undefined;
  /** Is told that the content of a file is about to change. */
  changing(node: FileNode): void;
}
