/** Applications and programs that say who they are, and clients that ask them. */

import {once} from 'node:events';
import {Agent, createServer, get, request, type ServerResponse} from 'node:http';
import {
  type ClientHttp2Session,
  connect as connectHttp2,
  createServer as createHttp2Server,
} from 'node:http2';
import {type AddressInfo, connect, createServer as createTcpServer, type Server} from 'node:net';
import {setImmediate as immediately} from 'node:timers/promises';

async function listening(server: Server, port: number): Promise<number> {
  server.listen(port, '127.0.0.1');
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}

/** Returns the port of an HTTP/1 server that answers by a name. Port 0: any. */
export function serveHttp(name: string, port = 0): Promise<number> {
  return listening(
    createServer((_request, response) => response.end(name)),
    port,
  );
}

/** The same by HTTP/2, behind what it was sent. (Node ends a session whose requests it answers before it has read them.) */
export function serveHttp2(name: string, port = 0): Promise<number> {
  return listening(
    createHttp2Server((request, response) => {
      const body: Buffer[] = [];
      request.on('data', (bytes: Buffer) => body.push(bytes));
      request.on('end', () => response.end(Buffer.concat([...body, Buffer.from(name)])));
    }),
    port,
  );
}

/** Says its name, then echoes; "bye" after the end, a reset instead of "reset". */
export function serveEcho(name: string, port = 0): Promise<number> {
  const server = createTcpServer({allowHalfOpen: true}, (socket) => {
    socket.on('error', () => undefined);
    socket.write(`${name}\n`);
    socket.on('data', (chunk) => {
      if (chunk.length === 5 && chunk.toString() === 'reset') socket.resetAndDestroy();
      else if (!socket.write(chunk)) socket.pause();
    });
    socket.on('drain', () => socket.resume());
    socket.on('end', () => socket.end('bye\n'));
  });
  return listening(server, port);
}

/** An application with answers that take as long as the test wants, and with connections that are upgraded, and echo. */
export async function serveLong(port: number) {
  const server = createServer({keepAliveTimeout: 0}, (request, response) => {
    if (request.url === '/long') answers.push(response);
    else response.end('application');
  });
  const answers: ServerResponse[] = [];
  server.on('upgrade', (_request, socket) => {
    socket.write(
      'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n',
    );
    socket.pipe(socket);
  });
  await listening(server, port);
  return answers;
}

/** Asks without a pause over connections that are kept, by eight at a time; counts answers and failures. */
export function askOverKept(port: number) {
  const agent = new Agent({keepAlive: true, maxSockets: 8});
  const seen: Record<string, number> = {};
  let isOver = false;
  const ask = (): Promise<string> =>
    new Promise((resolve) => {
      const options = {host: '127.0.0.1', port, agent, method: 'POST'};
      request(options, (response) => {
        response.resume().on('end', () => resolve(`${response.statusCode}`));
      })
        .on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message))
        .end('something');
    });
  const lane = async (): Promise<void> => {
    while (!isOver) {
      const end = await ask();
      seen[end] = (seen[end] ?? 0) + 1;
    }
  };
  const lanes = Array.from({length: 8}, lane);
  return {
    seen,
    async stop(): Promise<void> {
      isOver = true;
      await Promise.all(lanes);
      agent.destroy();
    },
  };
}

/** Keeps what it gets. */
export async function keepBytes() {
  const chunks: Buffer[] = [];
  const port = await listening(
    createTcpServer((socket) =>
      socket.on('error', () => undefined).on('data', (chunk) => chunks.push(chunk)),
    ),
    0,
  );
  return {
    port,
    bytes: () => chunks.reduce((sum, {length}) => sum + length, 0),
    isSame: (sent: Buffer) => Buffer.concat(chunks).equals(sent),
  };
}

/** Who answers a request over a connection of its own; else the error's code. */
export async function ask(port: number, headers: Record<string, string> = {}): Promise<string> {
  const agent = new Agent({keepAlive: false});
  const {promise, resolve} = Promise.withResolvers<string>();
  get({host: '127.0.0.1', port, headers, agent, timeout: 8_000}, (response) => {
    response.setEncoding('utf8');
    let body = '';
    response.on('data', (text: string) => (body += text));
    response.on('end', () => resolve(body));
    response.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? ''));
  })
    .on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message))
    .on('timeout', () => resolve('timeout'));
  return await promise;
}

/** Who answers each of these requests, over one HTTP/2 connection. */
export async function askHttp2(
  port: number,
  requests: readonly Record<string, string>[],
): Promise<string[]> {
  const session = connectHttp2(`http://127.0.0.1:${port}`);
  session.on('error', () => undefined);
  try {
    return await Promise.all(
      requests.map(async (headers) => {
        const stream = session.request({':path': '/', ...headers});
        stream.setEncoding('utf8').end();
        return (await stream.toArray()).join('');
      }),
    );
  } finally {
    session.close();
  }
}

/**
 * Asks without a pause over two connections of HTTP/2, by eight streams at a time; counts answers and failures: of every third lane,
 * whose requests have these headers, by themselves.
 */
export function askOverHttp2(port: number, headers?: Record<string, string>) {
  const seen: Record<string, number> = {};
  const seenWithHeaders: Record<string, number> = {};
  let isOver = false;
  const sessions = [1, 2].map(() => connectHttp2(`http://127.0.0.1:${port}`));
  for (const session of sessions) session.on('error', () => undefined);
  const ask = async (
    session: ClientHttp2Session,
    count: number,
    more: Record<string, string>,
  ): Promise<string> => {
    try {
      const fields = {':method': 'POST', 'x-count': `${count}`, cookie: 'a=b', ...more};
      const stream = session.request(fields);
      const body = 'x'.repeat(count % 3 === 0 ? 170_000 : 10);
      stream.end(body);
      const answer = Buffer.concat(await stream.toArray()).toString();
      return answer.startsWith(body) ? answer.slice(body.length) : `other: ${answer.length}`;
    } catch (error) {
      // A session that is over says so at once, again and again.
      await immediately();
      return (error as NodeJS.ErrnoException).code ?? String(error);
    }
  };
  const lane = async (session: ClientHttp2Session, at: number): Promise<void> => {
    const isWithHeaders = headers !== undefined && at % 3 === 0;
    const into = isWithHeaders ? seenWithHeaders : seen;
    for (let count = 0; !isOver; count++) {
      const end = await ask(session, count, isWithHeaders ? headers : {});
      into[end] = (into[end] ?? 0) + 1;
    }
  };
  const lanes = sessions.flatMap((session) =>
    Array.from({length: 8}, (_, at) => lane(session, at)),
  );
  return {
    seen,
    seenWithHeaders,
    async stop(): Promise<void> {
      isOver = true;
      await Promise.all(lanes);
      for (const session of sessions) session.close();
    },
  };
}

/** What a client reads that sends `bytes`, and ends; else what went wrong. */
export async function talk(port: number, bytes: Buffer): Promise<Buffer | string> {
  const socket = connect({host: '127.0.0.1', port, allowHalfOpen: true});
  socket.end(bytes);
  try {
    return Buffer.concat(await socket.toArray());
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? String(error);
  }
}
