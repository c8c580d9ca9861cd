/** The demo's pod `gateway` as a target of whom others ask: what is seen in its network, and what the pod `orders-0` is answered. */

import type {PodStatus} from '../../cli/demo/control.ts';
import type {Result, World} from './e2e.ts';

export const gatewayAddress = '10.244.0.10';

export class Gateway {
  readonly #world: World;

  constructor(world: World) {
    this.#world = world;
  }

  async pod(): Promise<PodStatus> {
    return await this.#world.pod('gateway');
  }

  async client(): Promise<PodStatus> {
    return await this.#world.pod('orders-0');
  }

  /** Runs a program in the client's pod. */
  async byClient(...argv: readonly string[]): Promise<Result> {
    return await this.#world.inPod(await this.client(), argv);
  }

  /** What a command says in the target's network, with all rights there. */
  async inTarget(...argv: readonly string[]): Promise<string> {
    const entering = this.#world.entering(await this.pod(), argv, '--keep-network');
    const {status, stdout, stderr} = await this.#world.run(entering);
    if (status !== 0) throw new Error(stderr);
    return stdout;
  }

  /** What nft shows of the rules there. */
  async rules(): Promise<string> {
    return await this.inTarget('/usr/sbin/nft', 'list', 'ruleset');
  }

  /** How many sockets have copies of its packets. */
  async captures(): Promise<number> {
    return (await this.inTarget('cat', '/proc/net/packet')).trim().split('\n').length - 1;
  }

  /** Whether connections to a port of it are redirected, or somebody has copies of its packets. */
  async isTaken(port: number): Promise<boolean> {
    return new RegExp(`\\b${port} timeout`).test(await this.rules()) || (await this.captures()) > 0;
  }
}
