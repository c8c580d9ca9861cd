/**
 * Attributes of files as the program sees them. Pure, but for who we are.
 *
 * In the sandbox of an ordinary user there is one user and one group: files that belong to anybody else could not
 * be written to even where their mode allows it, for the kernel doesn't let a user whom it has no number for be an
 * owner. So all files look like the program's own, and what may be done to them their own side decides.
 */

import {isPrivileged} from '../sandbox/privilege.ts';
import {ATTRIBUTE_BYTES} from './fuse/protocol.ts';

const MODE = 60;
const UID = 68;
const GID = 72;

export const S_IFMT = 0o170000;
export const S_IFDIR = 0o040000;
export const S_IFREG = 0o100000;
export const S_IFLNK = 0o120000;

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** The type of a file, of its attributes. */
export function kindOf(attributes: Uint8Array): number {
  return viewOf(attributes).getUint32(MODE, true) & S_IFMT;
}

export function modeOf(attributes: Uint8Array): number {
  return viewOf(attributes).getUint32(MODE, true);
}

export function inoOf(attributes: Uint8Array): bigint {
  return viewOf(attributes).getBigUint64(0, true);
}

/**
 * Which file it is. What a link says the kernel remembers for as long as it knows the node, and the number of one that is
 * gone is soon another's: a ConfigMap's `..data` has the same every other time that it changes. So when it was made counts.
 */
export function identityOf(attributes: Uint8Array): bigint {
  const view = viewOf(attributes);
  if (kindOf(attributes) !== S_IFLNK) return inoOf(attributes);
  const made = (view.getBigUint64(32, true) << 32n) | BigInt(view.getUint32(52, true));
  return (made << 64n) | inoOf(attributes);
}

export function sizeOf(attributes: Uint8Array): bigint {
  return viewOf(attributes).getBigUint64(8, true);
}

/** How many names it has. */
export function linksOf(attributes: Uint8Array): number {
  return viewOf(attributes).getUint32(64, true);
}

/** What changes with a file's content: its size and when it was written to. */
export function versionOf(attributes: Uint8Array): string {
  const view = viewOf(attributes);
  return `${view.getBigUint64(8, true)} ${view.getBigUint64(32, true)} ${view.getUint32(52, true)}`;
}

/** Whether something is known besides the mode (of an entry of a directory). */
export function isKnown(attributes: Uint8Array): boolean {
  return linksOf(attributes) > 0;
}

/** The only user there is in the sandbox; null where there are all of them. */
let onlyOwner: {uid: number; gid: number} | null | undefined;

/** The only user and group of the sandbox; null where it has all of the machine's. */
export function onlyIdentity(): {uid: number; gid: number} | null {
  if (onlyOwner === undefined)
    onlyOwner = isPrivileged()
      ? null
      : {uid: process.geteuid?.() ?? 0, gid: process.getegid?.() ?? 0};
  return onlyOwner;
}

/** Makes the owner whom the program sees; in place. */
export function present(attributes: Uint8Array): Uint8Array {
  const owner = onlyIdentity();
  if (owner === null) return attributes;
  const view = viewOf(attributes);
  view.setUint32(UID, owner.uid, true);
  view.setUint32(GID, owner.gid, true);
  return attributes;
}

/** What statfs(2) tells there (struct fuse_kstatfs): no room at all, but programs divide by the size of a block. */
export function scaffoldStatfs(): Uint8Array {
  const bytes = new Uint8Array(80);
  const view = viewOf(bytes);
  view.setUint32(40, 4096, true);
  view.setUint32(44, 255, true); // the longest name
  view.setUint32(48, 4096, true);
  return bytes;
}

/** The attributes of a directory that only holds others. */
export function scaffoldAttributes(ino: number): Uint8Array {
  const bytes = new Uint8Array(ATTRIBUTE_BYTES);
  const view = viewOf(bytes);
  view.setBigUint64(0, BigInt(ino), true);
  view.setUint32(MODE, S_IFDIR | 0o555, true);
  view.setUint32(64, 2, true);
  view.setUint32(80, 4096, true);
  return present(bytes);
}
