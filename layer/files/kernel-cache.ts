/**
 * Gives the kernel's cache what came with the opening of a small file, before the opening is answered: nobody need ask for it.
 *
 * Theory of operation. A question costs two wake-ups, 30 to 60 µs; to store what would be asked for takes 12 of a file of 4 KiB
 * (fs/fuse/dev.c, fuse_notify_store), in vain where it is opened and not read: an opening takes some 200. It is no more than comes
 * with an opening anyway, `feature.fs.readonly_file_buffer`.
 *
 * While it stores, the kernel waits for the lock of each page, and we for the kernel. Who waits for our answer to a READ or a WRITE
 * may have that lock, and the kernel would wait for ever. So it is done only where nothing of the file is open: each
 * question about pages comes by an open file, and that is released only when all its questions are answered. Reading ahead and
 * writing back hold it (fuse_file_get), what is mapped does (its vma), and who makes a mapping void that was written to writes it back
 * before that (fuse_vma_close). Another OPEN that is under way has no pages yet, and once it is answered has a handle here, too.
 * SETATTR locks no page until it is answered, and then waits for nothing of ours.
 *
 * The kernel drops what it has when it hears of another size or time than it knew (FUSE_AUTO_INVAL_DATA). So what it was
 * told last must be what the opening says: then its size fits, too, and else it would be made larger (fuse_write_update_attr) while
 * somebody makes it smaller. What the program changes meanwhile makes all of this void.
 */

import {constants} from 'node:fs';
import type {FileNode} from './tree.ts';

/** Whether a file that is being opened with such flags may be given; asked before it has a handle. */
export function mayBeGiven(node: Pick<FileNode, 'open'>, flags: number): boolean {
  return node.open.size === 0 && (flags & constants.O_DIRECT) === 0;
}
