/**
 * The pods of the demo cluster: a small shop, and servers that behave in every way a program may meet.
 * Data only; `services.ts` has the services over them.
 */

/** A port on which a pod listens. */
export interface PodPort {
  name: string;
  protocol: 'tcp' | 'udp';
  port: number;
  /** `any`: all addresses; `pod`: the pod's IPv4 address only; `loopback`: 127.0.0.1 (and ::1 for TCP); `ipv6`: IPv6 only. */
  on: 'any' | 'pod' | 'loopback' | 'ipv6';
  /** Not probed: it doesn't answer to a plain connection or datagram. */
  isSilent?: boolean;
}

export interface PodSpec {
  name: string;
  /** What services select by. */
  app: string;
  /** Number of its addresses in the pod range (`podAddresses`). */
  host: number;
  command: readonly string[];
  env: Readonly<Record<string, string>>;
  ports: readonly PodPort[];
  /** `container`: a small tree of its own; `host`: this machine's tree, read-only. */
  root: 'container' | 'host';
  /** Files of its own, by absolute path. */
  files?: Readonly<Record<string, string>>;
}

/** Where pods of the demo find Node and their servers. */
export const podNode = '/app/node';
export const podServers = '/app/servers';

function server(file: string): string[] {
  // A pod needs little; the limit keeps a mistake in one of them from eating the machine.
  return [podNode, '--max-old-space-size=64', `${podServers}/${file}`];
}

function shopPod(
  name: string,
  host: number,
  rest: Partial<PodSpec> & {ports: readonly PodPort[]},
): PodSpec {
  const app = rest.app ?? name;
  return {
    name,
    app,
    host,
    command: server(`${app}.ts`),
    env: {},
    root: 'container',
    ...rest,
  };
}

function ordersPod(name: string, host: number): PodSpec {
  return shopPod(name, host, {
    app: 'orders',
    env: {DB_HOST: 'orders-db.default.svc.cluster.local', DB_PASSWORD: 'not-a-secret'},
    files: {'/app/config.json': '{"currency": "EUR", "pageSize": 20}\n'},
    ports: [{name: 'http', protocol: 'tcp', port: 8080, on: 'pod'}],
  });
}

/** The pods, in the order in which `status` lists them. */
export const pods: readonly PodSpec[] = [
  shopPod('gateway', 10, {
    env: {
      ORDERS_URL: 'http://orders',
      GREETING: 'hello from the gateway',
      LOG_LEVEL: 'debug',
      FEATURE_FLAGS: '{"newCheckout": true, "note": "quotes \\" and = signs"}',
    },
    files: {
      '/app/config.json': '{"greeting": "hello from the gateway", "upstream": "http://orders"}\n',
      '/var/log/gateway/access.log': 'GET / 200\n',
    },
    ports: [
      {name: 'http', protocol: 'tcp', port: 80, on: 'any'},
      {name: 'admin', protocol: 'tcp', port: 9000, on: 'loopback'},
      {name: 'statsd', protocol: 'udp', port: 8125, on: 'loopback'},
    ],
  }),
  ordersPod('orders-0', 11),
  ordersPod('orders-1', 12),
  shopPod('echo', 13, {
    ports: [
      {name: 'echo', protocol: 'tcp', port: 7, on: 'any'},
      {name: 'echo-udp', protocol: 'udp', port: 7, on: 'any'},
      {name: 'sink', protocol: 'tcp', port: 5001, on: 'any'},
      {name: 'source', protocol: 'tcp', port: 5002, on: 'any'},
      {name: 'crooked', protocol: 'udp', port: 7001, on: 'any', isSilent: true},
    ],
  }),
  shopPod('chat', 14, {ports: [{name: 'http', protocol: 'tcp', port: 8080, on: 'any'}]}),
  shopPod('v6', 15, {ports: [{name: 'http', protocol: 'tcp', port: 8080, on: 'ipv6'}]}),
];
