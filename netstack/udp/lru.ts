/**
 * UDP flows in the order of their last use: a list linked through the flows, so that moving one to
 * the end costs nothing.
 */
import type {UdpSocket} from './flow.ts';

export class LruList {
  #oldest: UdpSocket | undefined;
  #newest: UdpSocket | undefined;

  /** The flow that was not used for the longest time. */
  get oldest(): UdpSocket | undefined {
    return this.#oldest;
  }

  /** Adds a flow that is not in the list, as the newest. */
  add(flow: UdpSocket): void {
    flow.older = this.#newest;
    if (this.#newest === undefined) {
      this.#oldest = flow;
    } else {
      this.#newest.newer = flow;
    }
    this.#newest = flow;
  }

  /** Takes a flow of the list out. */
  delete(flow: UdpSocket): void {
    if (flow.older === undefined) {
      this.#oldest = flow.newer;
    } else {
      flow.older.newer = flow.newer;
    }
    if (flow.newer === undefined) {
      this.#newest = flow.older;
    } else {
      flow.newer.older = flow.older;
    }
    flow.older = undefined;
    flow.newer = undefined;
  }

  /** Makes a flow of the list the newest. */
  touch(flow: UdpSocket): void {
    if (flow !== this.#newest) {
      this.delete(flow);
      this.add(flow);
    }
  }

  /** Forgets all flows. */
  clear(): void {
    this.#oldest = undefined;
    this.#newest = undefined;
  }
}
