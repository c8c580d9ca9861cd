/** What a relayed connection of HTTP/2 may have waiting. */

/** Read at once. */
export const READ_BYTES = 131_072;
/** What may wait for a socket: above it, whoever it comes from is not read, or sends no more. */
export const WRITE_BYTES = 131_072;
/** What may wait for one that answers its own frames: who writes before he reads has that much time. Also what is held. */
export const UNREAD_BYTES = 1_048_576;
/** Instead of WRITE_BYTES, while all connections together have too much waiting. */
export const LITTLE_BYTES = 16_384;
/** How long the other side may take to end a connection of which we have ended our half; and streams that are left. */
export const CLOSE_MS = 5000;
