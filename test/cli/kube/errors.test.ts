import test from 'ava';
import {errorOfAnswer, errorOfConnection} from '../../../cli/kube/errors.ts';
import {apiPath, parseApiPath, resources} from '../../../cli/kube/path.ts';

const place = {namespace: 'shop', name: 'a'};
const request = {
  verb: 'get',
  path: apiPath(resources.deployments, place),
  server: 'https://api.test',
  context: 'work',
};

test('a path says what it is of, and is read back', (t) => {
  const of = (path: string) => parseApiPath(path);
  t.is(apiPath(resources.pods), '/api/v1/pods');
  t.is(request.path, '/apis/apps/v1/namespaces/shop/deployments/a');
  t.deepEqual(of(request.path), {group: 'apps', resource: 'deployments', ...place});
  const part = apiPath(resources.pods, {...place, subresource: 'portforward'});
  t.deepEqual(of(part), {group: '', resource: 'pods/portforward', ...place});
  t.deepEqual(of('/api/v1/nodes/n'), {group: '', resource: 'nodes', name: 'n'});
  t.deepEqual(of('/api/v1/namespaces'), {group: '', resource: 'namespaces'});
  t.deepEqual(of('/api/v1/namespaces/n'), {group: '', resource: 'namespaces', name: 'n'});
  t.is(apiPath(resources.pods, {name: '../../x'}), '/api/v1/pods/..%2F..%2Fx');
});

test('a missing right is answered with the command that checks it', (t) => {
  const path = apiPath(resources.jobs, {namespace: 'shop'});
  const message = 'jobs.batch is forbidden: User "ada" cannot create resource "jobs"';
  const body = JSON.stringify({kind: 'Status', reason: 'Forbidden', message});
  const error = errorOfAnswer({...request, path, verb: 'create'}, 403, body);
  t.is(error.code, 'MIRRORD_KUBE_FORBIDDEN');
  t.true(error.message.includes('create jobs in namespace shop'));
  t.true(error.message.includes(message));
  t.regex(error.hint ?? '', /kubectl auth can-i create jobs\.batch -n shop$/);
});

test('the part of an object is in that command, too', (t) => {
  const path = apiPath(resources.pods, {...place, subresource: 'portforward'});
  const body = JSON.stringify({message: 'User "ada" cannot get resource "pods/portforward"'});
  const {hint = ''} = errorOfAnswer({...request, path}, 403, body);
  t.regex(hint, /kubectl auth can-i get pods --subresource=portforward -n shop$/);
});

test('quota and admission are no missing rights', (t) => {
  const body = JSON.stringify({message: 'exceeded quota: pods, requested: pods=1'});
  const error = errorOfAnswer({...request, verb: 'create'}, 403, body);
  t.true(error.message.includes('exceeded quota'));
  t.false(error.hint?.includes('auth can-i'));
});

test('401 names the context', (t) => {
  const error = errorOfAnswer(request, 401, '{"message":"Unauthorized"}');
  t.is(error.code, 'MIRRORD_KUBE_UNAUTHORIZED');
  t.true(error.hint?.includes('"work"'));
});

test('what may pass is retryable, what will not is not', (t) => {
  const isRetryable = (status: number) => errorOfAnswer(request, status, '').isRetryable;
  t.deepEqual([429, 500, 503].map(isRetryable), [true, true, true]);
  t.deepEqual([400, 401, 403, 404, 409, 422].map(isRetryable), Array(6).fill(false));
});

test("a gateway's page is cut to its first line", (t) => {
  const {answer} = errorOfAnswer(request, 502, `<html>Bad gateway\n${'x'.repeat(9999)}`);
  t.is(answer, '<html>Bad gateway (status 502)');
});

test('a certificate that is not trusted is told apart from a server that is not there', (t) => {
  const fault = (code: string) => Object.assign(new Error('why'), {code});
  const tls = errorOfConnection(request, fault('SELF_SIGNED_CERT_IN_CHAIN'));
  t.like(tls, {code: 'MIRRORD_KUBE_CERTIFICATE', isRetryable: false});
  const refused = errorOfConnection(request, fault('ECONNREFUSED'), 'http://proxy:1');
  t.like(refused, {code: 'MIRRORD_KUBE_UNREACHABLE', isRetryable: true});
  t.true(refused.message.includes('by the proxy http://proxy:1'));
});
