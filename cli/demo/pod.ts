/**
 * One running pod: namespaces, network, root, program; and its end.
 */

import {once} from 'node:events';
import {closeSync, openSync} from 'node:fs';
import {Launcher} from '../../layer/sandbox/launcher.ts';
import type {NodeNetwork} from './node-network.ts';
import {podEnvironment} from './pod-content.ts';
import {makePodRoot} from './pod-root.ts';
import type {PodSpec} from './pods.ts';
import {services} from './services.ts';

export interface PodPlaces {
  /** The pod's output goes here. */
  log: string;
  /** An empty directory, the place to build the root on. */
  root: string;
}

export class Pod implements AsyncDisposable {
  readonly spec: PodSpec;
  readonly env: Readonly<Record<string, string>>;
  /** The main process. */
  readonly pid: number;
  /** Resolves when the main process and all that it started have ended. */
  readonly ended: Promise<void>;
  #launcher: Launcher;

  /** Starts the pod. Throws `SystemError` with the call that failed; nothing is left then. */
  constructor(spec: PodSpec, network: NodeNetwork, places: PodPlaces) {
    this.spec = spec;
    this.env = podEnvironment(spec, services);
    const log = openSync(places.log, 'a', 0o600);
    try {
      this.#launcher = new Launcher({
        argv: spec.command,
        env: this.env,
        cwd: '/',
        stdio: ['ignore', log, log],
        detached: true,
      });
    } finally {
      closeSync(log);
    }
    const launcher = this.#launcher;
    this.ended = once(launcher.process, 'close').then(
      () => launcher[Symbol.dispose](),
      () => launcher[Symbol.dispose](),
    );
    try {
      // No user namespace: all pods belong to the node's, so that whoever owns that may enter them.
      launcher.unshare('net', 'mnt', 'uts', 'ipc');
      launcher.command('hostname', spec.name);
      network.connect(spec, launcher);
      makePodRoot(launcher, places.root, spec);
      this.pid = launcher.exec('container');
    } catch (error) {
      launcher[Symbol.dispose]();
      throw error;
    }
  }

  /** Ends all processes of the pod and waits for it. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#launcher[Symbol.dispose]();
    await this.ended;
  }
}
