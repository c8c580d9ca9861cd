/**
 * From a failure of the Kubernetes API to what a person reads: what was asked of the server, what it
 * answered, and what to do.
 */

import {MirrordError} from '../../layer/errors.ts';
import {type ApiSubject, parseApiPath} from './path.ts';

/** What was asked. */
export interface ApiRequest {
  /** The verb of RBAC: get, list, watch, create, update, patch, delete. */
  verb: string;
  path: string;
  /** The server's address, as the kubeconfig has it. */
  server: string;
  /** The context of the kubeconfig. */
  context: string;
}

/** The body of a refusal (meta/v1 Status), as far as it is used. */
export interface ApiStatus {
  reason?: string;
  message?: string;
  details?: {causes?: readonly {reason?: string; message?: string; field?: string}[]};
}

/** A failed request. */
export class KubeError extends MirrordError {
  /** HTTP's status, when there was an answer. */
  readonly status: number | undefined;
  /** The server's own word: NotFound, Forbidden, AlreadyExists, Expired, … */
  readonly reason: string | undefined;
  /** What the server said, without our words. */
  readonly answer: string;
  /** Whether the same request may succeed a moment later. */
  readonly isRetryable: boolean;

  constructor(
    code: string,
    message: string,
    details: {
      hint: string;
      answer: string;
      status?: number;
      reason?: string;
      isRetryable?: boolean;
      cause?: unknown;
    },
  ) {
    super(code, message, {
      hint: details.hint,
      ...(details.cause !== undefined && {cause: details.cause}),
    });
    this.name = 'KubeError';
    this.answer = details.answer;
    this.status = details.status;
    this.reason = details.reason;
    this.isRetryable = details.isRetryable ?? false;
  }
}

/** Whether an error is an answer of the API server with this status. */
export function hasStatus(error: unknown, ...statuses: number[]): error is KubeError {
  return (
    error instanceof KubeError && error.status !== undefined && statuses.includes(error.status)
  );
}

function describe({verb, path}: ApiRequest): string {
  const {resource, name, namespace} = parseApiPath(path);
  const what = name === undefined ? resource : `${resource} ${name}`;
  return `${verb} ${what}${namespace === undefined ? '' : ` in namespace ${namespace}`}`;
}

/** The command that tells whether a right is there. */
function authCanI(verb: string, {group, resource, namespace}: ApiSubject): string {
  const [kind = '', subresource] = resource.split('/');
  const full = group === '' ? kind : `${kind}.${group}`;
  const part = subresource === undefined ? '' : ` --subresource=${subresource}`;
  return `kubectl auth can-i ${verb} ${full}${part}${namespace === undefined ? '' : ` -n ${namespace}`}`;
}

function forbidden(request: ApiRequest, details: Answered): KubeError {
  const subject = parseApiPath(request.path);
  // Quota and admission forbid, too: the request was allowed, what it asks for isn't.
  const isAdmission = !/cannot \w+ resource|no RBAC policy/.test(details.answer);
  const hint = isAdmission
    ? 'the cluster admits no such object there: see the message, and: kubectl describe quota,limitrange'
    : `ask for the right (mirrord rbac prints the role), or check it: ${authCanI(request.verb, subject)}`;
  return new KubeError(
    'MIRRORD_KUBE_FORBIDDEN',
    `the API server refuses to ${describe(request)}: ${details.answer}`,
    {...details, hint},
  );
}

interface Answered {
  status: number;
  answer: string;
  reason?: string;
}

/** The first line, or the bytes themselves when they are no Status. */
function readStatus(status: number, body: string): Answered {
  try {
    const {message, reason} = JSON.parse(body) as ApiStatus;
    return {
      status,
      answer: message === undefined || message === '' ? `status ${status}` : message,
      ...(reason !== undefined && {reason}),
    };
  } catch {
    const text = body.trim().split('\n')[0]?.slice(0, 300) ?? '';
    return {status, answer: text === '' ? `status ${status}` : `${text} (status ${status})`};
  }
}

/** The error for an answer that is a refusal. `body` is a Status, or what a proxy says. */
export function errorOfAnswer(request: ApiRequest, status: number, body: string): KubeError {
  const details = readStatus(status, body);
  const {answer} = details;
  const told = `${describe(request)}: ${answer}`;
  if (status === 401) {
    return new KubeError(
      'MIRRORD_KUBE_UNAUTHORIZED',
      `the API server ${request.server} doesn't know who you are: ${answer}`,
      {
        ...details,
        hint: `log in again, or use another context than "${request.context}"; check: kubectl --context '${request.context}' auth whoami`,
      },
    );
  }
  if (status === 403) return forbidden(request, details);
  if (status === 404) {
    return new KubeError('MIRRORD_KUBE_NOT_FOUND', `the API server can't ${told}`, {
      ...details,
      hint: 'check the name and the namespace (-n): mirrord ls -n NAMESPACE',
    });
  }
  if (status === 429 || status >= 500) {
    return new KubeError('MIRRORD_KUBE_UNAVAILABLE', `the API server fails to ${told}`, {
      ...details,
      isRetryable: true,
      hint: 'it may be starting or overloaded: try again; see: kubectl get --raw /readyz?verbose',
    });
  }
  return new KubeError('MIRRORD_KUBE_REFUSED', `the API server refuses to ${told}`, {
    ...details,
    hint: 'its answer says what is wrong with what was asked',
  });
}

/** Errors of TLS in which the certificate is at fault (OpenSSL's X509_V_ERR_…, as Node names them). */
const certificateFaults = new Set([
  'CERT_HAS_EXPIRED',
  'CERT_NOT_YET_VALID',
  'CERT_UNTRUSTED',
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'ERR_TLS_CERT_ALTNAME_INVALID',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'UNABLE_TO_GET_ISSUER_CERT',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
]);

/** The error for a request that got no answer. Pass `proxy` if it went by one. */
export function errorOfConnection(
  request: ApiRequest,
  cause: unknown,
  proxy?: string,
): KubeError | Error {
  const {code, message} = cause as NodeJS.ErrnoException;
  const by = proxy === undefined ? '' : ` by the proxy ${proxy}`;
  if (code !== undefined && certificateFaults.has(code)) {
    return new KubeError(
      'MIRRORD_KUBE_CERTIFICATE',
      `the certificate of the API server ${request.server} can't be trusted: ${message}`,
      {
        answer: message,
        cause,
        hint: 'the kubeconfig should name its authority (certificate-authority); -c trusts it unseen',
      },
    );
  }
  const isTimeout = (cause as Error).name === 'TimeoutError';
  const why = isTimeout ? 'it did not answer in time' : message;
  return new KubeError(
    'MIRRORD_KUBE_UNREACHABLE',
    `the API server ${request.server}${by} can't be reached to ${describe(request)}: ${why}`,
    {
      answer: why,
      cause,
      isRetryable: !isTimeout && code !== 'ENOTFOUND',
      hint: `is the cluster up, and the VPN? The address is that of context "${request.context}"; check: kubectl --context '${request.context}' version`,
    },
  );
}
