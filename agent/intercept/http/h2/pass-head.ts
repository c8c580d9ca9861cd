/** A header block on its way through the relay, behind what waits on that way. */

import type {PassedHead} from './heads.ts';
import type {Link} from './link.ts';
import type {HeadersExtras} from './output.ts';
import type {Way} from './way.ts';

/**
 * Passes on the block that a link's source has read last, of a stream of which nothing waits. If an acknowledgement of
 * SETTINGS does, the block may make the table as large as that allows: so it does not pass as it is.
 */
export function passHead(
  {link, way}: {readonly link: Link; readonly way: Way},
  streamId: number,
  head: PassedHead & {readonly extras?: HeadersExtras | undefined},
): void {
  if (!way.isHeld(0)) {
    link.heads.pass(streamId, head, head.extras);
    return;
  }
  link.heads.skip();
  link.heads.send(streamId, head, head.extras);
}
