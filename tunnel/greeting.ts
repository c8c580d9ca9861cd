/**
 * The first words over a connection, of both roles.
 *
 * The layer says HELLO, or RESUME when it goes on with a session; the agent says WELCOME and may give a
 * ticket, or finds the session that is to have the connection. Before this is over nothing that came is to
 * be trusted: whoever says anything else is turned away, and so is who does not know the token.
 */

import {ProtocolError} from './errors.ts';
import {FRAME} from './frames.ts';
import {
  answerHello,
  CAPABILITY,
  emitHello,
  emitWelcome,
  isSameToken,
  parseWelcome,
  type Terms,
  TOKEN_BYTES,
  VERSIONS,
  type VersionRange,
} from './handshake.ts';
import type {Limits} from './limits.ts';
import type {MuxOptions, PeerInfo, Resumable} from './mux-types.ts';
import type {Resume} from './resume.ts';
import {emitResume, parseResume} from './resume-frames.ts';

/** What the first message leads to. */
export type Greeted =
  | {
      readonly kind: 'peer';
      readonly peer: PeerInfo;
      /** Empty when the session ends with its connection. */
      readonly ticket: Uint8Array;
      /** What to say to it, before anything else. */
      readonly answer: Uint8Array | undefined;
    }
  | {
      readonly kind: 'session';
      /** Whose connection this is. */
      readonly session: Resumable;
      /** Messages that its peer has. */
      readonly received: number;
    };

/** How one side introduces itself, and whom it lets in. */
export class Greeting {
  readonly #options: MuxOptions;
  readonly #limits: Limits;
  readonly #versions: VersionRange;
  readonly #token: Uint8Array;
  readonly #verifyToken: (token: Uint8Array) => boolean;

  /** Throws RangeError when the token is not 32 bytes long, or there is none where one is needed. */
  constructor(options: MuxOptions, limits: Limits) {
    const token = options.token ?? new Uint8Array(0);
    const needsToken = options.role === 'layer' || options.verifyToken === undefined;
    if (needsToken && token.length !== TOKEN_BYTES) throw new RangeError('a token has 32 bytes');
    this.#options = options;
    this.#limits = limits;
    this.#versions = options.versions ?? VERSIONS;
    this.#token = token;
    this.#verifyToken = options.verifyToken ?? ((shown) => isSameToken(shown, token));
  }

  /** Returns the layer's first message over its first connection; the agent has none. */
  hello(): Uint8Array | undefined {
    if (this.#options.role === 'agent') return undefined;
    return emitHello({...this.#versions, token: this.#token, ...this.#terms()});
  }

  /** Returns the layer's first message over any later connection. */
  resume(version: number, {ticket, received}: Resume): Uint8Array {
    return emitResume({version, token: this.#token, ticket, received});
  }

  /**
   * Reads the first frame that came. `self` is who gets the ticket. Throws ProtocolError of the handshake,
   * or RESUME_UNKNOWN.
   */
  read(type: number, payload: Uint8Array, self: Resumable): Greeted {
    if (this.#options.role === 'layer') {
      if (type !== FRAME.welcome) throw new ProtocolError('HANDSHAKE_EXPECTED');
      const welcome = parseWelcome(payload, this.#versions);
      return {kind: 'peer', peer: welcome, ticket: welcome.ticket, answer: undefined};
    }
    if (type === FRAME.resume) return this.#findSession(payload);
    if (type !== FRAME.hello) throw new ProtocolError('HANDSHAKE_EXPECTED');
    const {welcome, hello} = answerHello(payload, this.#verifyToken, {
      versions: this.#versions,
      ...this.#terms(),
    });
    const mayResume = (hello.capabilities & CAPABILITY.resume) !== 0;
    const tickets = mayResume ? this.#options.resume?.tickets : undefined;
    const ticket = tickets?.issue(self, this.#options.random) ?? welcome.ticket;
    const peer = {...hello, version: welcome.version};
    return {kind: 'peer', peer, ticket, answer: emitWelcome({...welcome, ticket})};
  }

  #findSession(payload: Uint8Array): Greeted {
    const {token, ticket, received} = parseResume(payload, this.#versions);
    if (!this.#verifyToken(token)) throw new ProtocolError('BAD_TOKEN');
    const session = this.#options.resume?.tickets?.find(ticket);
    if (session === undefined) throw new ProtocolError('RESUME_UNKNOWN');
    return {kind: 'session', session, received};
  }

  #terms(): Terms {
    const {capabilities = 0, resume} = this.#options;
    return {
      capabilities: capabilities | (resume ? CAPABILITY.resume : 0),
      limits: this.#limits,
      ticket: new Uint8Array(0),
    };
  }
}
