/**
 * What goes with every request: the user's certificate or token, the cluster's authority, the proxy. The
 * library knows how (exec plugins are run by it); here its answers are made fit for many requests, and
 * loaded anew when the server doesn't take them any more.
 */

import type {RequestOptions} from 'node:https';
import https from 'node:https';
import tls from 'node:tls';
import {MirrordError} from '../../layer/errors.ts';
import {type KubeconfigOptions, type LoadedKubeconfig, loadKubeconfig} from './kubeconfig.ts';

/** A plugin may ask a person to log in with a browser. */
const pluginTimeoutMs = 120_000;

/** A connection that idles longer is closed by many a load balancer. */
const keepAliveMs = 30_000;

/** The agents of the library's proxies, as far as they are touched. */
interface ProxyAgent extends https.Agent {
  keepAlive: boolean;
  /** hpagent's: for the connection to the proxy itself. */
  proxyRequestOptions?: {ca?: readonly (string | Buffer)[]; rejectUnauthorized?: boolean};
}

/** The credentials of one context. */
export class Credentials {
  readonly #options: KubeconfigOptions;
  #loaded: LoadedKubeconfig;
  #agent: {cert: string; agent: https.Agent} | undefined;

  private constructor(options: KubeconfigOptions, loaded: LoadedKubeconfig) {
    this.#options = options;
    this.#loaded = loaded;
  }

  /** Loads the kubeconfig. Throws as `loadKubeconfig` does. */
  static async load(options: KubeconfigOptions): Promise<Credentials> {
    return new Credentials(options, await loadKubeconfig(options));
  }

  /** What they are for. */
  get loaded(): LoadedKubeconfig {
    return this.#loaded;
  }

  /** Reads the kubeconfig again, with all files it names; plugins are asked again. */
  async reload(): Promise<void> {
    this.#loaded = await loadKubeconfig(this.#options);
    this.#agent?.agent.destroy();
    this.#agent = undefined;
  }

  /** Closes the connections that are kept. */
  dispose(): void {
    this.#agent?.agent.destroy();
  }

  /** Options for a request to the server. Throws MIRRORD_KUBE_CREDENTIALS. */
  async requestOptions(): Promise<RequestOptions> {
    const {config, headers} = this.#loaded;
    const options: RequestOptions = {};
    const timeout = Promise.withResolvers<never>();
    const timer = setTimeout(
      () => timeout.reject(new Error(`no answer within ${pluginTimeoutMs / 1000} s`)),
      pluginTimeoutMs,
    );
    try {
      await Promise.race([config.applyToHTTPSOptions(options), timeout.promise]);
    } catch (error) {
      throw this.#explain(error);
    } finally {
      clearTimeout(timer);
    }
    options.agent = this.#agentFor(options);
    const all = {...options.headers, ...headers} as Record<string, string | string[]>;
    // A token file may end in a newline, which no header can hold.
    if (typeof all['Authorization'] === 'string')
      all['Authorization'] = all['Authorization'].trim();
    options.headers = all;
    return options;
  }

  /** One agent for as long as the certificate is the same, so that connections are kept. */
  #agentFor(options: RequestOptions): https.Agent {
    const cert = String(options.cert ?? '');
    if (this.#agent?.cert === cert) return this.#agent.agent;
    const agent = this.#loaded.proxy === undefined ? directAgent(options) : proxyAgent(options);
    this.#agent = {cert, agent};
    return agent;
  }

  #explain(error: unknown): MirrordError {
    const user = this.#loaded.config.getCurrentUser();
    const exec = user?.exec as {command?: string; installHint?: string} | undefined;
    const {message, code} = error as NodeJS.ErrnoException;
    const said = message.trim() || 'it failed without a word';
    if (exec?.command === undefined) {
      return new MirrordError(
        'MIRRORD_KUBE_CREDENTIALS',
        `the credentials of context "${this.#loaded.context}" can't be had: ${said}`,
        {hint: 'check: kubectl auth whoami', cause: error},
      );
    }
    const isMissing = code === 'ENOENT';
    return new MirrordError(
      'MIRRORD_KUBE_CREDENTIALS',
      isMissing
        ? `the kubeconfig's credential plugin ${exec.command} isn't there`
        : `the kubeconfig's credential plugin ${exec.command} failed: ${said}`,
      {
        hint: isMissing
          ? (exec.installHint?.trim() ?? `install ${exec.command}, and have it in PATH`)
          : `log in as it says; check: kubectl --context '${this.#loaded.context}' auth whoami`,
        cause: error,
      },
    );
  }
}

function directAgent(options: RequestOptions): https.Agent {
  if (!(options.agent instanceof https.Agent)) return keepConnections(options.agent as ProxyAgent);
  const {ca, cert, key, passphrase, rejectUnauthorized, servername} = options;
  return new https.Agent({
    ...(ca !== undefined && {ca}),
    ...(cert !== undefined && {cert}),
    ...(key !== undefined && {key}),
    ...(passphrase !== undefined && {passphrase}),
    ...(rejectUnauthorized !== undefined && {rejectUnauthorized}),
    ...(servername !== undefined && {servername}),
    keepAlive: true,
    keepAliveMsecs: keepAliveMs,
  });
}

/** An agent without TLS, or the library's for a proxy, which closes every connection after its request. */
function keepConnections(agent: ProxyAgent): https.Agent {
  agent.keepAlive = true;
  return agent;
}

function proxyAgent(options: RequestOptions): https.Agent {
  const agent = options.agent as ProxyAgent;
  if (agent.proxyRequestOptions !== undefined) {
    // As kubectl: what is trusted for the server is trusted for an https proxy, too.
    const own = options.ca === undefined ? [] : [options.ca as Buffer];
    agent.proxyRequestOptions.ca = [...tls.rootCertificates, ...own];
    if (options.rejectUnauthorized === false) agent.proxyRequestOptions.rejectUnauthorized = false;
  }
  return keepConnections(agent);
}
