/**
 * One connection of HTTP/2 with prior knowledge (h2c; gRPC): each of its streams goes to the application or to a
 * program.
 *
 * Theory of operation. There is one connection to the application for each of the client's, made first. As long as all streams
 * are the application's, what the ends say passes as it is, byte for byte; only answers may get fields added behind theirs. It
 * is read along: frames, header blocks and the tables of their compression, SETTINGS, windows, streams. Nothing of a request's
 * head is passed on before filters have decided; if they have to think, all behind it waits, for a moment (`hold.ts`). What
 * does not make sense is not for us to judge: from there on both directions pass unread, and no filter is asked again.
 *
 * The first stream that is a program's, or that filters need more time for, divides the connection (`divide`). Frames still pass
 * between the two: DATA as it lies in memory, windows, resets, PING, SETTINGS and their acknowledgements, priorities and
 * GOAWAY one for one, so that the ends have each other's limits, and one that is slow slows the other, not us
 * (`client-end.ts`, `application-end.ts`). What was read along is what that needs:
 *
 *   - heads. A block can pass as long as all blocks of its direction do: both ends have one table of the compression then. With
 *     the first that does not, and changes the table, they are encoded anew, by a table that is what the receiver has (`link.ts`).
 *   - windows. Those of streams are their ends' own, but for streams that are not the application's: an `Exchange` has ours.
 *     The connections' windows are shared by both kinds (`way.ts`).
 *   - SETTINGS are in force when their acknowledgement passes.
 *   - a frame of which the client has a part gets its rest; what we say comes behind it (`output.ts`).
 *
 * Whatever the client gets that way is valid only after the application's SETTINGS; if a program is faster, it gets some
 * of ours before. An application that does not speak HTTP/2 answers for itself (`greeting.ts`).
 *
 * Limits: streams at a time; resets of streams that are not the application's (what it has, it sees and limits
 * itself); heads and CONTINUATION (`blocks.ts`); what exchanges keep, above which the client may send no more; and what
 * waits for a socket, above which the other one is not read. Frames without use cost what they have in bytes, and no
 * memory.
 */

import {socketOfDescriptor} from '../../../../sockets/connect.ts';
import type {StreamSocket} from '../../../../sockets/types.ts';
import {held} from '../../pass.ts';
import type {RelayContext} from '../context.ts';
import {LastingChanges} from '../lasting-changes.ts';
import {ApplicationEnd} from './application-end.ts';
import {Http2Error} from './blocks.ts';
import {ClientEnd} from './client-end.ts';
import {Exchanges} from './exchanges.ts';
import {greetingOf} from './greeting.ts';
import {CLOSE_MS, LITTLE_BYTES, READ_BYTES, UNREAD_BYTES, WRITE_BYTES} from './limits.ts';
import {Link} from './link.ts';
import type {Output} from './output.ts';
import type {Parts} from './parts.ts';
import {Programs} from './programs.ts';
import {
  CANCEL,
  INTERNAL_ERROR,
  LARGEST_FRAME_BYTES,
  MAX_31,
  NO_ERROR,
  PREFACE,
  PROTOCOL_ERROR,
} from './protocol.ts';
import {Routing} from './routing.ts';
import {OWN_SETTINGS, TABLE_BYTES} from './settings.ts';
import {Streams} from './streams.ts';
import {Succession} from './succession.ts';
import {Way} from './way.ts';

/** How long what waits for the end of a connection may wait without becoming less. */
const STALLED_MS = 60_000;

const NOTHING = Buffer.alloc(0);

export class Http2Relay implements Parts {
  readonly context: RelayContext;
  readonly client: Link;
  readonly application: Link | undefined;
  readonly up: Way;
  readonly down: Way;
  readonly streams: Streams;
  readonly exchanges: Exchanges;
  readonly programs: Programs;
  readonly changes: LastingChanges;
  readonly #routing: Routing;
  readonly #clientEnd: ClientEnd;
  readonly #succession: Succession;
  readonly #over = Promise.withResolvers<void>();
  /** What the application has said before it is known what it speaks; undefined: it is known. */
  #greeting: Buffer | undefined = NOTHING;
  /** It does not speak HTTP/2, or what the ends say makes no sense to us: all passes unread. */
  #isRaw = false;
  #isVerbatim = true;
  #isApplicationGone = false;
  /** The connection ends with its last stream. */
  #isEnding = false;
  #isTurning = false;
  #heldBytes = 0;
  #timer: NodeJS.Timeout | undefined;

  /** The client's connection is nobody else's. */
  constructor(context: RelayContext, client: StreamSocket) {
    this.context = context;
    this.changes = new LastingChanges(context);
    const turns = {
      onTurn: () => this.#turn(),
      onMistake: (error: unknown) => this.#fail(error),
    };
    this.programs = new Programs(turns);
    this.streams = new Streams(this, () => this.#endIfIdle());
    this.exchanges = new Exchanges(this);
    this.#routing = new Routing(this);
    this.#clientEnd = new ClientEnd(this, this.#routing);
    this.#succession = new Succession(this, this.#clientEnd);
    const events = {
      ...turns,
      onBytes: (bytes: Buffer) => this.#onClientBytes(bytes),
      onBroken: (code: number) => this.#breakOff(code),
      onEnd: () => this.#clientEnded(),
      onClosed: (error: Error | undefined) => this.#clientClosed(error !== undefined),
    };
    this.client = new Link(client, this.#clientEnd, events, TABLE_BYTES);
    this.client.reader.maxFrameBytes = LARGEST_FRAME_BYTES;
    this.application = this.#dial(turns);
    const {output} = this.client;
    output.greeting = () => this.#greet();
    const {passage} = context.connection;
    output.onLonger = (length, more, waiting) => passage.change(length, more, waiting);
    this.up = new Way(
      () => output,
      this.application?.output,
      (id) => this.streams.sent(this.streams.ofApplication.get(id)),
    );
    this.down = new Way(
      () => this.toApplication,
      output,
      (id) => this.streams.answered(this.streams.ofClient.get(id)),
    );
    if (this.application === undefined) this.divide();
    else {
      this.application.heads.passBlocksOf(this.client);
      this.application.heads.onTablesDiffer = () => this.#clientEnd.forbidTable();
      this.client.heads.passBlocksOf(this.application);
      this.client.heads.onTablesDiffer = () => this.#clientEnd.forbidApplicationTable();
    }
  }

  #dial(turns: {onTurn(): void; onMistake(error: unknown): void}): Link | undefined {
    let socket: StreamSocket;
    try {
      socket = socketOfDescriptor(this.context.connection.dialApplication());
    } catch {
      // Nobody is there: then there are only programs.
      return undefined;
    }
    this.context.connection.passage.join(socket);
    const end = new ApplicationEnd(this, this.#clientEnd);
    const events = {
      ...turns,
      onBytes: (bytes: Buffer) => this.#onApplicationBytes(bytes),
      onBroken: (code: number) => {
        if (this.#passUnread()) return;
        link.output.goaway(0, code, NOTHING);
        link.output.flush();
        socket.destroy();
      },
      onEnd: () => this.#applicationEnded(),
      onClosed: (error: Error | undefined) => {
        this.#applicationGone(error !== undefined);
        this.#resolveIfOver();
      },
    };
    const link = new Link(socket, end, events, TABLE_BYTES);
    link.reader.maxFrameBytes = LARGEST_FRAME_BYTES;
    socket.readBytes = READ_BYTES;
    return link;
  }

  /** Resolves when the connection is over; `head`: what was read of it. Rejects for a mistake of ours. */
  async run(head: Buffer): Promise<void> {
    const {socket} = this.client;
    this.toApplication?.write(PREFACE);
    const forget = this.context.connection.lettingGo.onSaid(() => this.#letGo());
    if (socket.isClosed) this.#clientClosed(true);
    else {
      socket.readBytes = READ_BYTES;
      this.client.read(head.subarray(PREFACE.length));
    }
    try {
      await this.#over.promise;
    } finally {
      forget();
      this.#routing.close();
      clearTimeout(this.#timer);
      this.#isTurning = true; // there are no more turns
      this.#count(0);
    }
  }

  /**
   * What both ends say passes as it is, but for fields behind those of answers: another process could go on with it
   * (sockets/passage.ts).
   */
  get isVerbatim(): boolean {
    return this.#isVerbatim;
  }

  /** Says something of our own, or does not say something of the ends', from now on. */
  divide(): void {
    if (!this.#isVerbatim) return;
    this.#isVerbatim = false;
    this.context.counters.dividedConnections++;
    this.context.connection.passage.hold();
    this.client.output.isWhole = true;
    if (this.application !== undefined) this.application.output.isWhole = true;
  }

  get toApplication(): Output | undefined {
    return this.#isApplicationGone ? undefined : this.application?.output;
  }

  after<T>(promise: Promise<T>, act: (value: T) => void): void {
    const goOn = (value: T): void => {
      try {
        act(value);
      } catch (error) {
        this.#fail(error);
      }
      this.#turn();
    };
    promise.then(goOn, (error) => this.#fail(error));
  }

  // ---- turns ----

  /** Whatever came was taken: gives the sockets what is to be said, and reads on as far as that is good. */
  #turn(): void {
    if (this.#isTurning) return;
    this.#isTurning = true;
    this.#flush();
    this.exchanges.turn();
    this.#flush();
    this.programs.turn();
    this.#setReading();
    this.#isTurning = false;
  }

  #flush(): void {
    const {toApplication, client} = this;
    if (!this.#isVerbatim && !this.#isRaw) {
      toApplication?.gather();
      client.output.gather();
      this.#succession.note();
    }
    toApplication?.flush();
    client.output.flush();
  }

  /**
   * Who does not take what the other one sends stops him. What either gets in answer to his own frames has a limit of its
   * own: he might write before he reads.
   */
  #setReading(): void {
    const {socket: client} = this.client;
    const application = this.application?.socket;
    const limit = held.isFull ? LITTLE_BYTES : WRITE_BYTES;
    const ofClient = client.bufferedBytes + this.client.output.asideBytes;
    const ofApplication = application?.bufferedBytes ?? 0;
    const isUpFull = ofApplication >= limit || this.up.heldBytes >= UNREAD_BYTES;
    const isDownFull = ofClient >= limit || this.down.heldBytes >= UNREAD_BYTES;
    if (!client.isClosed) client.readBytes = isUpFull || ofClient >= UNREAD_BYTES ? 0 : READ_BYTES;
    if (application !== undefined && !application.isClosed)
      application.readBytes = isDownFull || ofApplication >= UNREAD_BYTES ? 0 : READ_BYTES;
    const kept = this.client.keptBytes + (this.application?.keptBytes ?? 0);
    const waiting = this.exchanges.keptBytes + this.up.heldBytes + this.down.heldBytes;
    this.#count(waiting + kept + ofClient + ofApplication);
  }

  #count(bytes: number): void {
    if (bytes === this.#heldBytes) return;
    held.change(bytes - this.#heldBytes);
    this.#heldBytes = bytes;
  }

  // ---- before HTTP/2, and instead of it ----

  /** Something has to be said, and the application has not said what it allows. */
  #greet(): void {
    this.divide();
    this.client.output.settings(OWN_SETTINGS);
    this.#clientEnd.unacknowledged.push(undefined);
  }

  #onClientBytes(bytes: Buffer): number {
    if (!this.#isRaw) return 0;
    this.application?.socket.writeLent(bytes);
    return bytes.length;
  }

  #onApplicationBytes(bytes: Buffer): number {
    if (this.#isRaw) {
      this.client.socket.writeLent(bytes);
      return bytes.length;
    }
    const before = this.#greeting;
    if (before === undefined) return 0;
    const beginning = Buffer.concat([before, bytes.subarray(0, PREFACE.length)]);
    const greeting = greetingOf(beginning);
    this.#greeting = greeting === 'more' ? beginning : undefined;
    if (greeting === 'http2') this.application?.reader.push(before);
    if (greeting === 'other') this.#goRaw(before, bytes);
    return greeting === 'http2' ? 0 : bytes.length;
  }

  #goRaw(...said: Buffer[]): void {
    // The client was told that we speak HTTP/2.
    if (this.#clientEnd.unacknowledged.length > 0) throw new Http2Error(PROTOCOL_ERROR);
    this.#isRaw = true;
    this.streams.forgetAll();
    this.#passKept();
    for (const bytes of said) this.client.socket.writeLent(bytes);
  }

  /** What is said makes no sense to us: if everything was passed on so far, so is all that follows. */
  #passUnread(): boolean {
    if (!this.#isVerbatim) return this.#isRaw;
    this.context.counters.ambiguousConnections++;
    this.#isRaw = true;
    this.streams.forgetAll();
    this.#passKept();
    return true;
  }

  /** What was read so far, and not passed on. */
  #passKept(): void {
    const {client, application} = this;
    if (application === undefined) return;
    this.#routing.close();
    client.output.flush();
    application.output.flush();
    client.socket.writeLent(this.#greeting ?? NOTHING);
    this.#greeting = undefined;
    for (const bytes of client.takeUnread()) application.socket.writeLent(bytes);
    for (const bytes of application.takeUnread()) client.socket.writeLent(bytes);
  }

  // ---- the ends of connections ----

  /** The client has broken the protocol, or floods us. */
  #breakOff(code: number): void {
    if (this.#passUnread()) return;
    this.context.counters.brokenSessions++;
    this.client.output.goaway(this.streams.lastId, code, NOTHING);
    this.streams.forgetAll();
    this.#endApplication();
    this.#endClient(false);
  }

  /**
   * Ends it after the streams that there are, and those that are on their way (RFC 9113, section 6.8): the client has heard of
   * it when he answers a PING.
   */
  #letGo(): void {
    const {client} = this;
    if (this.#isRaw || this.#isEnding || client.socket.isClosed) return;
    this.divide();
    client.output.goaway(MAX_31, NO_ERROR, NOTHING);
    this.#clientEnd.probe(() => this.#takeNoMore());
    this.#turn();
  }

  #takeNoMore(): void {
    const {streams} = this;
    if (streams.lastOfClient === MAX_31)
      this.client.output.goaway(streams.lastId, NO_ERROR, NOTHING);
    streams.lastOfClient = Math.min(streams.lastOfClient, streams.lastId);
    this.#isEnding = true;
    this.#endIfIdle();
  }

  #endIfIdle(): void {
    if (!this.#isEnding || this.streams.ofClient.size > 0) return;
    this.#endClient(false);
    this.#endApplication();
  }

  #clientEnded(): void {
    if (this.#isVerbatim) {
      for (const bytes of this.client.takeUnread()) this.toApplication?.write(bytes);
    } else if (!this.#isRaw) {
      for (const stream of [...this.streams.ofClient.values()])
        if (stream.applicationId === 0) this.streams.forget(stream, CANCEL);
    }
    if (this.application === undefined || this.#isApplicationGone) this.#endClient(false);
    else this.#endApplication();
  }

  #clientClosed(isBroken: boolean): void {
    this.#routing.close();
    if (this.#isVerbatim && !isBroken)
      for (const bytes of this.client.takeUnread()) this.toApplication?.write(bytes);
    this.streams.forgetAll();
    this.programs.close();
    if (isBroken) this.application?.socket.destroy(true);
    else this.#endApplication();
    this.#resolveIfOver();
  }

  #applicationEnded(): void {
    this.#passGreeting();
    if (!this.#isVerbatim && !this.#isRaw) {
      this.#applicationGone(false);
      return;
    }
    // It may still listen.
    const {client, application} = this;
    for (const bytes of application?.takeUnread() ?? []) client.output.write(bytes);
    client.output.flush();
    client.socket.end();
  }

  #passGreeting(): void {
    const said = this.#greeting ?? NOTHING;
    this.#greeting = undefined;
    if (said.length > 0 && this.#clientEnd.unacknowledged.length === 0) this.#goRaw(said);
  }

  #applicationGone(isBroken: boolean): void {
    if (this.#isApplicationGone) return;
    this.#passGreeting();
    this.#isApplicationGone = true;
    if (!this.#isRaw) this.application?.socket.end();
    if (this.client.socket.isClosed) return;
    // Half of a frame can't be followed by anything.
    if (!this.streams.areProgramsAsked || this.client.output.isOpen) {
      this.streams.forgetAll();
      this.#endClient(isBroken);
      return;
    }
    // What programs answer goes on.
    this.#clientEnd.acknowledgeAll();
    for (const stream of [...this.streams.ofApplication.values()])
      this.streams.resetClient(stream, INTERNAL_ERROR);
    this.#takeNoMore();
  }

  #endApplication(): void {
    const {application} = this;
    if (application === undefined || application.socket.isClosed) return;
    application.output.flush();
    application.socket.end();
    if (this.client.socket.isClosed) this.#destroyLater(application.socket);
  }

  #endClient(isBroken: boolean): void {
    const {socket, output} = this.client;
    if (socket.isClosed) return;
    output.flush();
    if (isBroken && socket.bufferedBytes === 0) {
      socket.destroy(true);
      return;
    }
    socket.end();
    if (!this.#isRaw) this.#destroyLater(socket);
  }

  /** Closes a socket of which our half has ended, when its kernel has all of it; who takes nothing any more is cut off. */
  #destroyLater(socket: StreamSocket): void {
    clearTimeout(this.#timer);
    const waiting = socket.bufferedBytes;
    const close = (): void => {
      const left = socket.bufferedBytes;
      if (left > 0 && left < waiting) this.#destroyLater(socket);
      else socket.destroy(left > 0);
    };
    this.#timer = setTimeout(close, waiting > 0 ? STALLED_MS : CLOSE_MS);
  }

  #resolveIfOver(): void {
    if (this.client.socket.isClosed && this.application?.socket.isClosed !== false)
      this.#over.resolve();
  }

  #fail(error: unknown): void {
    this.#over.reject(error);
    this.application?.socket.destroy(true);
    this.client.socket.destroy(true);
    this.programs.close();
  }
}
