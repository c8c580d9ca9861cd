/** nginx: the application in a pod, and the program that stands in for it. Which of them answers is in a header. */

import {chmodSync, mkdirSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';

/**
 * Of HTTP/1 and of h2c; and where applications in Node and Go are asked (`application.ts`, `application.go`), and nginx
 * in their stead.
 */
export const ports = {http1: 8080, h2c: 8081, node: 8082, go: 8083} as const;
export type Ports = Readonly<Record<keyof typeof ports, number>>;

/** Where nginx tells how many requests it has had. */
export const status = '/status';

/** What is asked for: a body of so many bytes. The list is what the application in Go makes. */
export const bodies = {small: 64, list: 12_500, large: 65_536} as const;
export type Body = keyof typeof bodies;

/** Writes a configuration for a directory of its own, and returns nginx' arguments. The program has all of the ports. */
export function configureNginx(
  directory: string,
  answerer: 'application' | 'program',
  {http1, h2c, node, go}: Ports = ports,
): string[] {
  const temporary = join(directory, 'temporary');
  mkdirSync(temporary, {recursive: true});
  // nginx is the ordinary user's, whoever runs this.
  chmodSync(temporary, 0o777);
  for (const [name, bytes] of Object.entries(bodies)) {
    // Whatever else is in the path is the filters'.
    writeFileSync(join(directory, name), Buffer.alloc(bytes, 'x'));
  }
  const kinds = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'];
  const paths = kinds.map((kind) => `${kind}_temp_path ${temporary};`);
  const file = join(directory, 'nginx.conf');
  // One process is what one client of one thread can keep busy; and it need not become another user, which a
  // namespace with one user can't.
  writeFileSync(
    file,
    `daemon off;
master_process off;
pid ${temporary}/${answerer}.pid;
error_log stderr error;
events { worker_connections 1024; }
http {
  ${paths.join('\n  ')}
  access_log off;
  sendfile on;
  tcp_nodelay on;
  open_file_cache max=16;
  keepalive_requests 1000000000;
  default_type text/plain;
  add_header X-Answerer ${answerer};
  server {
    listen ${http1};
    listen ${h2c} http2;
    ${answerer === 'program' ? `listen ${node}; listen ${go};` : ''}
    location / { alias ${directory}/; }
    location /mine/ { alias ${directory}/; }
    location = ${status} { stub_status; }
  }
}
`,
  );
  return ['nginx', '-e', 'stderr', '-c', file];
}
