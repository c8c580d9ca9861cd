/**
 * What is at a path: who has it decides, and what isn't theirs to see is shown otherwise.
 *
 * A link of the pod's that leads to what is not the pod's here is shown as what it leads to there: `/var/run`, say,
 * which is a link to `/run`, where the secrets are, while our own `/run` is this machine's. So is a link of whoever's
 * on the way to what is mounted over, or what a pattern names.
 *
 * Where the pod has nothing, a directory of this machine's is found that may be written to here: else nothing could be
 * made in it. It isn't listed.
 */

import os from 'node:os';
import {posix} from 'node:path';
import {FileRequest, SUBJECT} from '../../tunnel/files.ts';
import {kindOf, present, S_IFDIR, S_IFLNK, scaffoldAttributes} from './attributes.ts';
import type {FilesContext} from './context.ts';
import {FileError} from './file-client.ts';
import type {Snapshots} from './snapshots.ts';
import type {Spot} from './sources.ts';
import type {Source} from './tree.ts';

const {ENOENT, ESTALE} = os.constants.errno;

/** What a name is. */
export interface Found {
  readonly source: Source;
  readonly isFollowed: boolean;
  readonly attributes: Uint8Array;
  /** How long ago that was found out. */
  readonly ageMs?: number;
}

type FindContext = Pick<FilesContext, 'sources' | 'scaffold' | 'snapshots'>;

/** Looks at a path, one character for each byte. Rejects with FileError: ESTALE if what should be its directory is not there. */
export async function findEntry(context: FindContext, path: string): Promise<Found> {
  const {sources, scaffold, snapshots} = context;
  try {
    const spot = sources.spot(path, 'read');
    const seen = spot.source === 'pod' ? snapshots.find(spot.path) : undefined;
    const attributes = seen ? present(seen.attributes) : await look(spot, snapshots);
    const mayFollow = spot.source === 'pod' || scaffold.has(path);
    if (mayFollow && kindOf(attributes) === S_IFLNK) {
      return await findLink(context, path, {spot, attributes});
    }
    if (scaffold.has(path) && kindOf(attributes) !== S_IFDIR) throw new FileError(ENOENT);
    return {source: spot.source, isFollowed: false, attributes, ageMs: seen?.ageMs ?? 0};
  } catch (error) {
    if (!(error instanceof FileError)) throw error;
    if (scaffold.has(path)) {
      const attributes = scaffoldAttributes(path.length + 2);
      return {source: 'scaffold', isFollowed: false, attributes};
    }
    const isMissing = error.errno === ENOENT || error.errno === ESTALE;
    const ours = isMissing ? await ourDirectory(context, path) : undefined;
    if (ours === undefined) throw error;
    return {source: 'host', isFollowed: false, attributes: ours};
  }
}

/** The attributes of this machine's directory, where the program would write into it but read the pod's. */
async function ourDirectory({sources}: FindContext, path: string): Promise<Uint8Array | undefined> {
  if (sources.decide(path, 'read') !== 'pod' || sources.decide(path, 'write') !== 'host') {
    return undefined;
  }
  try {
    const attributes = await stat(sources.at(path, 'host'), SUBJECT.path);
    return kindOf(attributes) === S_IFDIR ? attributes : undefined;
  } catch (error) {
    if (error instanceof FileError) return undefined;
    throw error;
  }
}

async function findLink(
  {sources, scaffold}: FindContext,
  path: string,
  {spot, attributes}: {readonly spot: Spot; readonly attributes: Uint8Array},
): Promise<Found> {
  const link = {source: spot.source, isFollowed: false, attributes};
  const bytes = await spot.client.request(new FileRequest('readlink').string(spot.path));
  const target = posix.resolve(posix.dirname(path), Buffer.from(bytes).toString('latin1'));
  if (!scaffold.has(path) && sources.decide(target, 'read') === 'pod') return link;
  try {
    return {source: spot.source, isFollowed: true, attributes: await stat(spot, SUBJECT.followed)};
  } catch (error) {
    if (!(error instanceof FileError)) throw error;
    return link; // it leads nowhere
  }
}

/** Asks for a name, and has it noted if it is not there. */
async function look(spot: Spot, snapshots: Snapshots): Promise<Uint8Array> {
  try {
    return await stat(spot, SUBJECT.name);
  } catch (error) {
    if (spot.source === 'pod') snapshots.missed(spot.path);
    throw error;
  }
}

async function stat(spot: Spot, how: number): Promise<Uint8Array> {
  const request = new FileRequest('stat').u8(how).string(spot.path);
  return present(await spot.client.request(request));
}
