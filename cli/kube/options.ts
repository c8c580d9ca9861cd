/**
 * From the configuration to the options of the client.
 */

import type {ResolvedConfig} from '../config/schema/root.ts';
import type {KubeClientOptions} from './client.ts';

/** How to reach the cluster that a configuration names. */
export function kubeClientOptions(config: ResolvedConfig): KubeClientOptions {
  const {kubeconfig, kube_context: context, accept_invalid_certificates: accept} = config;
  const {min_ms: minMs, max_ms: maxMs, max_retries: maxRetries} = config.startup_retry;
  return {
    ...(kubeconfig !== undefined && {kubeconfig}),
    ...(context !== undefined && {context}),
    ...(accept !== undefined && {acceptInvalidCertificates: accept}),
    useProxy: config.use_proxy,
    retry: {minMs, maxMs, maxRetries},
  };
}
