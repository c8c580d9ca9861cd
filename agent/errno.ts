/** What Node throws and emits, reduced to the errno that crosses the tunnel. */

/** Returns the errno name of a failed system call; EIO for anything else. */
export function errnoOf(error: unknown): string {
  if (!(error instanceof Error) || !('code' in error)) return 'EIO';
  const {code} = error;
  // Node's own codes (ERR_SOCKET_CLOSED …) are no errnos: nothing of the kernel's failed.
  return typeof code === 'string' && /^E[A-Z0-9]+$/.test(code) ? code : 'EIO';
}
