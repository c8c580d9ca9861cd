/**
 * One connection of HTTP/2 with prior knowledge (h2c; gRPC): each of its streams goes to the application or to a
 * program.
 *
 * Theory of operation. There is one connection to the application for each of the client's, made first. As long as all streams
 * are the application's, what the ends say passes as it is, byte for byte; only answers may get fields added behind theirs. It
 * is read along: frames, header blocks and the tables of their compression, SETTINGS, windows, streams. Nothing of a request's
 * head is passed on before filters have decided; if they have to think, all behind it waits, for a moment (`hold.ts`). What
 * does not make sense is not for us to judge: from there on both directions pass unread (`passthrough.ts`), and no filter is
 * asked again.
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
 * How either connection ends the other, and what still passes then, is in `shutdown.ts`.
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
import {ClientEnd} from './client-end.ts';
import {Exchanges} from './exchanges.ts';
import {LITTLE_BYTES, READ_BYTES, UNREAD_BYTES, WRITE_BYTES} from './limits.ts';
import {Link} from './link.ts';
import type {Output} from './output.ts';
import type {Parts} from './parts.ts';
import {Passthrough} from './passthrough.ts';
import {Programs} from './programs.ts';
import {LARGEST_FRAME_BYTES, PREFACE} from './protocol.ts';
import {Routing} from './routing.ts';
import {OWN_SETTINGS, TABLE_BYTES} from './settings.ts';
import {Shutdown} from './shutdown.ts';
import {Streams} from './streams.ts';
import {Succession} from './succession.ts';
import {Way} from './way.ts';

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
  readonly #passthrough: Passthrough;
  readonly #shutdown: Shutdown;
  #isVerbatim = true;
  #isTurning = false;
  #heldBytes = 0;

  /** The client's connection is nobody else's. */
  constructor(context: RelayContext, client: StreamSocket) {
    this.context = context;
    this.changes = new LastingChanges(context);
    const turns = {
      onTurn: () => this.#turn(),
      onMistake: (error: unknown) => this.#shutdown.fail(error),
    };
    this.programs = new Programs(turns);
    this.streams = new Streams(this, () => this.#shutdown.endIfIdle());
    this.exchanges = new Exchanges(this);
    this.#routing = new Routing(this);
    this.#clientEnd = new ClientEnd(this, this.#routing);
    this.#succession = new Succession(this, this.#clientEnd);
    this.#passthrough = new Passthrough(this, this.#clientEnd, this.#routing);
    this.#shutdown = new Shutdown(this, this.#clientEnd, this.#routing, this.#passthrough);
    const events = {
      ...turns,
      onBytes: (bytes: Buffer) => this.#passthrough.fromClient(bytes),
      onBroken: (code: number) => this.#shutdown.breakOff(code),
      onEnd: () => this.#shutdown.clientEnded(),
      onClosed: (error: Error | undefined) => this.#shutdown.clientClosed(error !== undefined),
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
      onBytes: (bytes: Buffer) => this.#passthrough.fromApplication(bytes),
      onBroken: (code: number) => this.#shutdown.breakOffApplication(code),
      onEnd: () => this.#shutdown.applicationEnded(),
      onClosed: (error: Error | undefined) => this.#shutdown.applicationClosed(error !== undefined),
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
    const forget = this.context.connection.lettingGo.onSaid(() => {
      this.#shutdown.letGo();
      this.#turn();
    });
    if (socket.isClosed) this.#shutdown.clientClosed(true);
    else {
      socket.readBytes = READ_BYTES;
      this.client.read(head.subarray(PREFACE.length));
    }
    try {
      await this.#shutdown.over;
    } finally {
      forget();
      this.#shutdown.close();
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

  /** Something has to be said, and the application has not said what it allows. */
  #greet(): void {
    this.divide();
    this.client.output.settings(OWN_SETTINGS);
    this.#clientEnd.unacknowledged.push(undefined);
  }

  get toApplication(): Output | undefined {
    return this.#shutdown.isApplicationGone ? undefined : this.application?.output;
  }

  after<T>(promise: Promise<T>, act: (value: T) => void): void {
    const goOn = (value: T): void => {
      try {
        act(value);
      } catch (error) {
        this.#shutdown.fail(error);
      }
      this.#turn();
    };
    promise.then(goOn, (error) => this.#shutdown.fail(error));
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
    if (!this.#isVerbatim && !this.#passthrough.isOn) {
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
}
