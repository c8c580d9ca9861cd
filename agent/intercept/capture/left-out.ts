/**
 * Ports of which the kernel copies nothing but SYNs from outside, since a proxy takes what comes there: a mesh's ciphertext, as
 * much as what is mirrored on `lo`. Sans-IO.
 *
 * A port is left out when the proxy has taken a connection, and none from outside is the application's. By the SYNs it
 * shows when that changes, as when a mesh goes; the connection that shows it has said something by then, and is copied from
 * its next request on. Where it changes again and again, by rules that tell clients apart, the port is not left out any more.
 */

/** How often a port is taken in again until it stays. */
const MOST_RETURNS = 3;

export class LeftOut {
  readonly #ports = new Set<number>();
  readonly #returns = new Map<number, number>();

  /** Those that are left out. */
  get ports(): ReadonlySet<number> {
    return this.#ports;
  }

  /** Leaves a port out; false: it already was, or is not to be any more. */
  add(port: number): boolean {
    if (this.#ports.has(port) || (this.#returns.get(port) ?? 0) >= MOST_RETURNS) return false;
    this.#ports.add(port);
    return true;
  }

  /** Takes a port in again: something came for the application. */
  takeIn(port: number): void {
    if (this.#ports.delete(port)) this.#returns.set(port, (this.#returns.get(port) ?? 0) + 1);
  }

  /** Forgets ports that nobody mirrors any more. */
  keep(mirrored: (port: number) => boolean): void {
    for (const port of [...this.#ports, ...this.#returns.keys()]) {
      if (mirrored(port)) continue;
      this.#ports.delete(port);
      this.#returns.delete(port);
    }
  }
}
