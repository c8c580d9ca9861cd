/**
 * The Kubernetes API, as mirrord uses it.
 *
 * The client library finds and applies the credentials (`credentials.ts`); requests are made here, because
 * its generated clients take long to read thousands of objects and can't ask for Tables. Object types are
 * the library's, by `import type`: loading the library takes 250–500 ms, so it is loaded for Kubernetes
 * targets only, by `loadKubeClient`.
 *
 * Every wait is bounded: a request's by `requestTimeoutMs`, a watch's by its signal. What may succeed a
 * moment later is repeated as `startup_retry` says: anything when the server couldn't be reached at all,
 * otherwise what changes nothing. An answer of 401 has the credentials loaded anew, once.
 */

import {setTimeout as delay} from 'node:timers/promises';
import {WebSocketConnection} from '../../tunnel/websocket/connection.ts';
import {UpgradeRefused} from '../../tunnel/websocket/handshake.ts';
import {Credentials} from './credentials.ts';
import {type ApiRequest, errorOfAnswer, errorOfConnection, hasStatus, KubeError} from './errors.ts';
import type {KubeconfigOptions} from './kubeconfig.ts';
import {parseApiPath} from './path.ts';
import {type HttpAnswer, readBody, StaleConnection, sendRequest, sendUpgrade} from './request.ts';
import {backoffMs, type RetryPolicy} from './retry.ts';
import {type WatchEvent, watchObjects} from './watch.ts';

/** An API server that is up answers within milliseconds, and gives up by itself after 60 s. */
const requestTimeoutMs = 30_000;
/** Objects in one page of a list, as kubectl has it. */
const pageSize = 500;
/** An upgrade takes as long as the kubelet needs to be reached. */
const upgradeTimeoutMs = 30_000;
/** A message of a port-forward is 32 KiB and some bytes; an error is text. */
const messageLimit = 1024 * 1024;

/** Parameters of a request; those without a value are left out. */
export type Query = Readonly<Record<string, string | number | boolean | undefined>>;

/** Which objects of a list. */
export interface Selection {
  labelSelector?: string;
  fieldSelector?: string;
}

/** Any request. */
export interface KubeRequest {
  method?: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  path: string;
  query?: Query;
  body?: unknown;
  /** `application/json` by default; `application/json;as=Table;v=v1;g=meta.k8s.io` for a Table. */
  accept?: string;
  /** `application/json` by default; `application/strategic-merge-patch+json` and the like. */
  contentType?: string;
  signal?: AbortSignal;
}

/** A connection to one API server as one user. All methods throw `KubeError`. */
export interface KubeClient extends Disposable {
  /** The context of the kubeconfig. */
  readonly context: string;
  /** The server's address, as the kubeconfig has it. */
  readonly server: string;
  /** The context's namespace; `default` if it has none. */
  readonly namespace: string;
  /** Paths are `apiPath`'s. */
  get<T>(path: string, signal?: AbortSignal): Promise<T>;
  /** All objects, page by page. */
  list<T>(path: string, selection?: Selection, signal?: AbortSignal): Promise<T[]>;
  /** The pages of a list as the server sends them, in any form that `accept` asks for. */
  pages<T extends ListPage>(request: KubeRequest): AsyncIterable<T>;
  create<T>(path: string, object: unknown, signal?: AbortSignal): Promise<T>;
  put<T>(path: string, object: unknown, signal?: AbortSignal): Promise<T>;
  /** Deletes; `options` is a DeleteOptions. An object that isn't there is no error. */
  remove(path: string, options?: object, signal?: AbortSignal): Promise<void>;
  request<T>(request: KubeRequest): Promise<T>;
  /** The answer as text (logs). */
  text(request: KubeRequest): Promise<string>;
  /** All objects now (ADDED), then every change, until the signal; see `watch.ts`. */
  watch<T extends object>(
    path: string,
    selection: Selection,
    signal: AbortSignal,
  ): AsyncIterable<WatchEvent<T>>;
  /** Opens a WebSocket, e.g. of a port-forward; resolves when it is open. It comes paused: listen, then `resume()`. */
  openWebSocket(
    path: string,
    query: Query,
    protocols: readonly string[],
  ): Promise<WebSocketConnection>;
}

/** One page of a list, of whatever. */
export interface ListPage {
  metadata?: {continue?: string; resourceVersion?: string};
}

/** How to reach a cluster. */
export interface KubeClientOptions extends KubeconfigOptions {
  /** How what failed is repeated; not at all by default. */
  retry?: RetryPolicy;
}

const verbs = {POST: 'create', PUT: 'update', PATCH: 'patch', DELETE: 'delete'} as const;

class Client implements KubeClient {
  readonly #credentials: Credentials;
  readonly #retry: RetryPolicy | undefined;
  readonly context: string;
  readonly server: string;
  readonly namespace: string;

  constructor(credentials: Credentials, retry: RetryPolicy | undefined) {
    this.#credentials = credentials;
    this.#retry = retry;
    this.context = credentials.loaded.context;
    this.server = credentials.loaded.server;
    this.namespace = credentials.loaded.namespace;
  }

  get<T>(path: string, signal?: AbortSignal): Promise<T> {
    return this.request({path, ...(signal && {signal})});
  }

  async list<T>(path: string, selection: Selection = {}, signal?: AbortSignal): Promise<T[]> {
    const items: T[] = [];
    const request = {path, query: {...selection}, ...(signal && {signal})};
    for await (const page of this.pages<ListPage & {items?: T[]}>(request)) {
      items.push(...(page.items ?? []));
    }
    return items;
  }

  async *pages<T extends ListPage>(request: KubeRequest): AsyncIterable<T> {
    let next: string | undefined;
    do {
      const query: Query = {limit: pageSize, ...request.query, continue: next};
      // A list that takes so long that its continuation expires is beyond what we are used for.
      const page: T = await this.request({...request, query});
      yield page;
      next = page.metadata?.continue || undefined;
    } while (next !== undefined);
  }

  create<T>(path: string, object: unknown, signal?: AbortSignal): Promise<T> {
    return this.request({method: 'POST', path, body: object, ...(signal && {signal})});
  }

  put<T>(path: string, object: unknown, signal?: AbortSignal): Promise<T> {
    return this.request({method: 'PUT', path, body: object, ...(signal && {signal})});
  }

  async remove(path: string, options: object = {}, signal?: AbortSignal): Promise<void> {
    try {
      await this.request({method: 'DELETE', path, body: options, ...(signal && {signal})});
    } catch (error) {
      if (!hasStatus(error, 404)) throw error;
    }
  }

  async request<T>(request: KubeRequest): Promise<T> {
    return JSON.parse(await this.text(request)) as T;
  }

  async text(request: KubeRequest): Promise<string> {
    return await this.#repeat(request, async () => {
      // Outside the time limit: a plugin may ask a person to log in. What it says is kept.
      await this.#credentials.requestOptions();
      const signal = withTimeout(request.signal);
      const answer = await this.#send(request, signal);
      try {
        return await readBody(answer.body);
      } catch (error) {
        throw this.#connectionError(request, signal.aborted ? signal.reason : error);
      }
    });
  }

  watch<T extends object>(
    path: string,
    selection: Selection,
    signal: AbortSignal,
  ): AsyncIterable<WatchEvent<T>> {
    return watchObjects<T>({
      list: (listSignal) => this.request({path, query: {...selection}, signal: listSignal}),
      watch: async (query, watchSignal) => {
        const request: KubeRequest = {path, query: {...selection, ...query, watch: true}};
        return (await this.#send(request, watchSignal)).body;
      },
      failed: (error) => this.#connectionError({path, query: {watch: true}}, error),
      signal,
    });
  }

  async openWebSocket(
    path: string,
    query: Query,
    protocols: readonly string[],
  ): Promise<WebSocketConnection> {
    // RBAC takes the upgrade for a get, and from Kubernetes 1.35 on for a create.
    const request: KubeRequest = {path, query};
    return await this.#repeat(request, async () => {
      try {
        return await this.#upgrade(request, protocols);
      } catch (error) {
        if (!hasStatus(error, 401)) throw error;
        await this.#credentials.reload();
        return await this.#upgrade(request, protocols);
      }
    });
  }

  [Symbol.dispose](): void {
    this.#credentials.dispose();
  }

  /** Sends it, with new credentials where the old ones are no good. Throws for answers that are refusals. */
  async #send(request: KubeRequest, signal: AbortSignal): Promise<HttpAnswer> {
    let answer = await this.#sendOnce(request, signal);
    if (answer.status === 401) {
      answer.body.destroy();
      await this.#credentials.reload();
      answer = await this.#sendOnce(request, signal);
    }
    if (answer.status >= 200 && answer.status < 300) return answer;
    const body = await readBody(answer.body).catch(() => '');
    throw errorOfAnswer(this.#describe(request), answer.status, body);
  }

  async #sendOnce(request: KubeRequest, signal: AbortSignal): Promise<HttpAnswer> {
    const tls = await this.#credentials.requestOptions();
    const {method = 'GET', body, accept = 'application/json', contentType} = request;
    const send = () =>
      sendRequest({
        url: this.#url(request),
        method,
        headers: {
          accept,
          ...(request.query?.['watch'] !== true && {'accept-encoding': 'gzip'}),
          'user-agent': 'mirrord',
          ...(body !== undefined && {'content-type': contentType ?? 'application/json'}),
        },
        body: body === undefined ? undefined : JSON.stringify(body),
        tls,
        signal,
      });
    try {
      return await send().catch((error: unknown) => {
        if (error instanceof StaleConnection) return send();
        throw error;
      });
    } catch (error) {
      throw this.#connectionError(request, error);
    }
  }

  async #upgrade(request: KubeRequest, protocols: readonly string[]): Promise<WebSocketConnection> {
    const tls = await this.#credentials.requestOptions();
    const url = this.#url(request);
    const signal = AbortSignal.timeout(upgradeTimeoutMs);
    const send = () => sendUpgrade({url, tls, signal, protocols});
    try {
      const upgraded = await send().catch((error: unknown) => {
        if (error instanceof StaleConnection) return send();
        throw error;
      });
      return new WebSocketConnection(upgraded, {
        role: 'client',
        maxMessageBytes: messageLimit,
        isPrivate: url.protocol === 'https:',
        mayLend: true,
      });
    } catch (error) {
      if (!(error instanceof UpgradeRefused)) throw this.#connectionError(request, error);
      const {response} = error;
      // The request's signal has let go of the connection.
      const body = await readBody(response, signal).catch(() => '');
      throw errorOfAnswer(this.#describe(request), response.statusCode ?? 0, body);
    }
  }

  async #repeat<T>(request: KubeRequest, work: () => Promise<T>): Promise<T> {
    for (let attempt = 0; ; attempt += 1) {
      try {
        return await work();
      } catch (error) {
        const {maxRetries = 0} = this.#retry ?? {};
        if (!(error instanceof KubeError) || !error.isRetryable || attempt >= maxRetries)
          throw error;
        // A request that may have reached the server must not be made twice if it changes something.
        const mayHaveWorked = error.status !== undefined || !neverSent(error.cause);
        if (mayHaveWorked && (request.method ?? 'GET') !== 'GET') throw error;
        if (request.signal?.aborted === true) throw error;
        await delay(backoffMs(attempt, this.#retry as RetryPolicy));
      }
    }
  }

  #url({path, query = {}}: KubeRequest): URL {
    // A server's address may have a path (Rancher).
    const url = new URL(this.server.replace(/\/+$/, '') + path);
    for (const [name, value] of Object.entries(query)) {
      if (value !== undefined && value !== '') url.searchParams.set(name, String(value));
    }
    return url;
  }

  #describe({method = 'GET', path, query = {}}: KubeRequest): ApiRequest {
    const isList = parseApiPath(path).name === undefined;
    const read = query['watch'] === true ? 'watch' : isList ? 'list' : 'get';
    return {
      verb: method === 'GET' ? read : verbs[method],
      path,
      server: this.server,
      context: this.context,
    };
  }

  #connectionError(request: KubeRequest, error: unknown): Error {
    if (error instanceof KubeError) return error;
    const isCancelled = request.signal?.aborted === true;
    if (isCancelled && (error as Error | undefined)?.name !== 'TimeoutError') return error as Error;
    return errorOfConnection(this.#describe(request), error, this.#credentials.loaded.proxy);
  }
}

/** Whether a failure came before anything was sent: a name not found, a connection not made. */
function neverSent(cause: unknown): boolean {
  const {syscall} = (cause ?? {}) as NodeJS.ErrnoException;
  return syscall === 'connect' || syscall === 'getaddrinfo';
}

function withTimeout(signal: AbortSignal | undefined): AbortSignal {
  const timeout = AbortSignal.timeout(requestTimeoutMs);
  return signal === undefined ? timeout : AbortSignal.any([signal, timeout]);
}

/**
 * Loads the kubeconfig and makes a client; asks nothing of the server. Throws MIRRORD_KUBECONFIG_NOT_FOUND,
 * MIRRORD_KUBECONFIG_INVALID.
 */
export async function loadKubeClient(options: KubeClientOptions = {}): Promise<KubeClient> {
  const {retry, ...kubeconfig} = options;
  return new Client(await Credentials.load(kubeconfig), retry);
}
