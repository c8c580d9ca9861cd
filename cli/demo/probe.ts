/**
 * Readiness: a pod is ready when each of its ports answers, as its clients would find it.
 */

import {createSocket} from 'node:dgram';
import {connect} from 'node:net';
import {setTimeout as delay} from 'node:timers/promises';
import {podAddresses} from './addressing.ts';
import type {PodPort, PodSpec} from './pods.ts';

/** Between two attempts, milliseconds: a refusal comes at once. */
const pauseMs = 20;
/** An attempt without any answer is given up, milliseconds. */
const attemptMs = 1_000;

function acceptsTcp(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({host, port, timeout: attemptMs});
    const end = (result: boolean) => () => {
      socket.destroy();
      resolve(result);
    };
    socket.once('connect', end(true)).once('error', end(false)).once('timeout', end(false));
  });
}

function answersUdp(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createSocket('udp4');
    const end = (result: boolean) => () => {
      clearTimeout(timer);
      socket.close();
      resolve(result);
    };
    const timer = setTimeout(end(false), attemptMs);
    socket.once('message', end(true)).once('error', end(false));
    // Connected, so that a refusal (ICMP port unreachable) is an error here.
    socket.connect(port, host, () => socket.send('ready?'));
  });
}

function isOpen(pod: PodSpec, port: PodPort): Promise<boolean> {
  const {v4, v6} = podAddresses(pod.host);
  const host = port.on === 'ipv6' ? v6 : v4;
  return port.protocol === 'tcp' ? acceptsTcp(host, port.port) : answersUdp(host, port.port);
}

/**
 * Waits until all ports of a pod that can be reached from outside of it are open. Throws the reason of
 * `signal` when that comes first.
 */
export async function waitUntilReady(pod: PodSpec, signal: AbortSignal): Promise<void> {
  const ports = pod.ports.filter(({on, isSilent}) => on !== 'loopback' && isSilent !== true);
  await Promise.all(
    ports.map(async (port) => {
      while (!(await isOpen(pod, port))) {
        signal.throwIfAborted();
        await delay(pauseMs);
      }
      signal.throwIfAborted();
    }),
  );
}
