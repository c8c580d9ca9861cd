import test from 'ava';
import {proxyFromEnvironment} from '../../../cli/kube/proxy.ts';

const proxy = 'http://proxy:3128';

const cases: [server: string, env: Record<string, string>, expected: string | undefined][] = [
  ['https://api.example.com', {}, undefined],
  ['https://api.example.com', {HTTPS_PROXY: proxy}, proxy],
  ['https://api.example.com', {https_proxy: proxy}, proxy],
  ['https://api.example.com', {HTTPS_PROXY: 'proxy:3128'}, proxy],
  ['https://api.example.com', {HTTPS_PROXY: ''}, undefined],
  ['https://api.example.com', {HTTP_PROXY: proxy}, undefined],
  ['http://api.example.com', {HTTP_PROXY: proxy}, proxy],
  ['https://api.example.com', {HTTPS_PROXY: 'socks5://proxy:1080'}, 'socks5://proxy:1080'],
  ['https://localhost:6443', {HTTPS_PROXY: proxy}, undefined],
  ['https://127.8.0.1:6443', {HTTPS_PROXY: proxy}, undefined],
  ['https://[::1]:6443', {HTTPS_PROXY: proxy}, undefined],
];

for (const [server, env, expected] of cases) {
  test(`${server} with ${JSON.stringify(env)} goes by ${expected ?? 'no proxy'}`, (t) => {
    t.is(proxyFromEnvironment(server, env), expected);
  });
}

const exceptions: [server: string, noProxy: string, isExcepted: boolean][] = [
  ['https://api.example.com', '*', true],
  ['https://api.example.com', 'other.com, api.example.com', true],
  ['https://API.example.com', 'api.EXAMPLE.com', true],
  ['https://api.example.com', 'example.com', true],
  ['https://api.example.com', '.example.com', true],
  ['https://api.example.com', '*.example.com', true],
  ['https://example.com', '.example.com', false],
  ['https://badexample.com', 'example.com', false],
  ['https://api.example.com:6443', 'example.com:6443', true],
  ['https://api.example.com', 'example.com:443', true],
  ['https://api.example.com', 'example.com:6443', false],
  ['https://10.1.2.3', '10.1.2.3', true],
  ['https://10.1.2.3', '10.0.0.0/8', true],
  ['https://11.1.2.3', '10.0.0.0/8', false],
  ['https://11.1.2.3', '10.0.0.0/99', false],
  ['https://11.1.2.3', '1.2.3', false],
  ['https://[fd00::5]:6443', 'fd00::/8', true],
  ['https://[fd00::5]:6443', 'fd00::5', true],
  ['https://[fd00::5]:6443', '[fd00::5]:6443', true],
  ['https://[fd00::5]:6443', '[fd00::5]:443', false],
  ['https://api.example.com', ',, ,', false],
];

for (const [server, noProxy, isExcepted] of exceptions) {
  test(`NO_PROXY=${noProxy} ${isExcepted ? 'excepts' : "doesn't except"} ${server}`, (t) => {
    const found = proxyFromEnvironment(server, {HTTPS_PROXY: proxy, NO_PROXY: noProxy});
    t.is(found, isExcepted ? undefined : proxy);
  });
}
