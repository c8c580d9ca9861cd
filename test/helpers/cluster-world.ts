/**
 * The world of an end-to-end test on the test cluster: an ordinary user with a kubeconfig and the agent's image.
 * `world.exec(['hostname'], {target: 'deployment/gateway', flags: ['-n', 'demo']})` is all that a test needs.
 */

import {join} from 'node:path';
import type {TestFn} from 'ava';
import {useAgentImage} from './agent-image.ts';
import type {TestCluster} from './cluster.ts';
import {type Running, type RunOptions, World} from './e2e.ts';
import {ordinaryUser} from './user.ts';

/** A world whose `mirrord` uses the test cluster. */
export class ClusterWorld extends World {
  readonly #image: string;

  constructor(image: string) {
    super();
    this.#image = image;
  }

  /** The user's own. */
  get kubeconfig(): string {
    return join(this.directory, 'kubeconfig');
  }

  override start(argv: readonly string[], options: RunOptions = {}): Running {
    const env = {KUBECONFIG: this.kubeconfig, MIRRORD_AGENT_IMAGE: this.#image, ...options.env};
    return super.start(argv, {...options, env});
  }
}

/** Puts such a world around the tests of a file. */
export function useClusterWorld(test: TestFn, cluster: TestCluster): ClusterWorld {
  const image = useAgentImage(test, cluster);
  const world = new ClusterWorld(image);
  process.once('exit', () => world.sweep());
  test.serial.before('a user has a kubeconfig', async () => {
    await world.open([]);
    const {uid, gid} = ordinaryUser();
    await cluster.giveKubeconfig(world.kubeconfig, uid, gid);
  });
  test.serial.after.always('the world is closed', async () => {
    await world.close();
  });
  return world;
}
