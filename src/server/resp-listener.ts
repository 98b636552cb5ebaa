/**
 * Moves bytes between RESP sockets and the node. It decides nothing: bytes go to `node.onRequest`, replies come back in
 * one buffer, and that buffer goes out in one write per chunk.
 *
 * Life of a chunk
 *   1. The kernel's bytes land in `#input`, one buffer shared by all connections (adopt.ts). Nothing is allocated.
 *   2. `node.onRequest` parses and executes every complete request and appends the replies to `#out`, shared as well.
 *   3. libuv gets `#out` (direct-write.ts) and writes it at once if the kernel has room; then the same buffer serves the next
 *      connection. If not, the buffer now belongs to the socket and a fresh one is made.
 *
 * A client that does not read costs bounded memory
 *   - The node stops executing once a reply buffer passes `OUTPUT_LIMIT_BYTES` and keeps the unexecuted input (at most one
 *     chunk). Such a connection is `stalled`: nothing is read from it until its replies have left.
 *   - Stalled for longer than `stallTimeoutMs`: closed, counted in `closedStalled`.
 *   - All connections together hold at most `clientMemoryBytes`: above it the one that holds most is closed, counted in
 *     `closedForMemory`, until the rest fits.
 *
 * No timer per connection: `tick()` is called by the server's one ticker and walks the connections.
 */
import net from 'node:net';
import type { Clock } from '../base/clock.ts';
import { listenOn } from '../http/listen.ts';
import { ReplyWriter } from '../resp/writer.ts';
import { adoptSocket } from './adopt.ts';
import { BROKEN, DirectWriter, PENDING, SENT, UNAVAILABLE, type WriteHandle, writeHandleOf } from './direct-write.ts';
import { familyOf } from './families.ts';
import type { LatencyMeter } from './latency.ts';

/** One read takes at most this much: requests of a deep pipeline come in one piece, a large value in a few. */
const INPUT_BYTES = 64 * 1024;
/** A connection's replies above this wait until the client has read. */
export const OUTPUT_LIMIT_BYTES = 128 * 1024;
/** How many times in a row one connection's pipeline may fill the output before others get their turn. */
const ROUNDS_PER_TURN = 4;
/** Reply buffers start at this size. */
const REPLY_BYTES = 16 * 1024;
/** Views of short replies are kept by length: in a steady load nearly every write finds its view made. */
const KEPT_VIEWS = 2048;
/** Linux caps this at net.core.somaxconn; Node's 511 drops SYNs when a fleet reconnects at once. */
const BACKLOG = 4096;
const NOTHING = new Uint8Array(0);
const EMPTY = Buffer.alloc(0);
const TOO_MANY_CLIENTS = '-ERR max number of clients reached\r\n';

/** What the listener needs to know of a session of the node. */
export interface ListenedSession {
  /** Set by the node: close after the replies have left. */
  closing: boolean;
  outputLimitBytes: number;
  /** Bytes of requests that have arrived in part. */
  readonly inputBytes: number;
  /** When bytes last came, ms. */
  readonly activeMs: number;
  /** Row of the last command in the command table; -1 = none yet. */
  readonly lastCommand: number;
  /** Nothing more of it is executed before it was told something: so many of its replies wait for other members of a cluster. */
  readonly halted?: boolean;
  /** Replies that wait for others; null: none ever did. */
  readonly parked?: { readonly count: number } | null;
}

/** What the listener needs of the node. */
export interface ListenedNode<S extends ListenedSession> {
  openSession(
    nowMs: number,
    info: { address: string; localAddress?: string; kind: 'resp' | 'http' | 'internal'; isProxied?: boolean },
  ): S;
  closeSession(session: S): void;
  onRequest(session: S, chunk: Uint8Array, start: number, end: number, nowMs: number, out: ReplyWriter): void;
  /** Has anybody something to be told unasked? */
  readonly hasPushes: boolean;
  /** Whom; each is named once. */
  takePushed(): S[];
  /** Appends it to `out`; true when there is more than fits. */
  onPush(session: S, out: ReplyWriter): boolean;
}

export interface RespListenerOptions {
  readonly maxClients: number;
  readonly stallTimeoutMs: number;
  /** 0 = never. */
  readonly idleTimeoutMs: number;
  readonly clientMemoryBytes: number;
}

/** Plain counters since the start. */
export interface ListenerCounters {
  accepted: number;
  refusedMaxClients: number;
  closedIdle: number;
  closedStalled: number;
  closedForMemory: number;
  socketErrors: number;
}

/** One client. */
class Connection<S> {
  readonly socket: net.Socket;
  readonly session: S;
  /** Beneath the socket, for direct-write.ts; null where that is not possible. */
  readonly handle: WriteHandle | null;
  /** Called when replies that had to wait have left. */
  readonly onSent: () => void;
  /** Since when replies wait for the client to read; 0 = they do not. */
  stalledSinceMs = 0;
  /** Bytes held for it: replies that wait and requests half arrived. */
  heldBytes = 0;
  /** No more input is wanted: the connection ends once its replies have left. */
  ending = false;
  /** What libuv still had to send at the last tick: a slow reader that reads is not stalled. */
  unsentBytes = 0;
  /** More of its input is waiting in the node for room in the output. */
  hasBacklog = false;
  /** It is to be told something when its replies have left. */
  hasPushes = false;
  /** The read side is stopped. */
  paused = false;
  /** It has said all that it will: it ends when the replies that wait for other members have come. */
  endsWhenTold = false;

  constructor(socket: net.Socket, session: S, onSent: (connection: Connection<S>) => void) {
    this.socket = socket;
    this.session = session;
    this.handle = writeHandleOf(socket);
    this.onSent = () => onSent(this);
  }
}

export class RespListener<S extends ListenedSession> {
  readonly #node: ListenedNode<S>;
  readonly #clock: Clock;
  readonly #options: RespListenerOptions;
  readonly #latency: LatencyMeter;
  readonly #server: net.Server;
  /** For clients that know nothing of clusters; null: none listens. */
  #proxyServer: net.Server | null = null;
  /** Called for sessions that are to be told something and are no connection of this listener. */
  onOthers: (session: S) => void = () => {};
  readonly #connections = new Set<Connection<S>>();
  readonly #bySession = new Map<S, Connection<S>>();
  /** Pushes go out at the end of this turn of the event loop: one write for all that happened in it. */
  #pushScheduled = false;
  readonly #input = Buffer.allocUnsafeSlow(INPUT_BYTES);
  readonly #out = new ReplyWriter(REPLY_BYTES);
  readonly #writer = new DirectWriter();
  /** Views of `#out`'s buffer by length, and the buffer they look at. */
  #views: (Buffer | undefined)[] = new Array(KEPT_VIEWS);
  #viewed: Uint8Array = NOTHING;
  #heldBytes = 0;
  #closed = false;
  readonly counters: ListenerCounters = {
    accepted: 0,
    refusedMaxClients: 0,
    closedIdle: 0,
    closedStalled: 0,
    closedForMemory: 0,
    socketErrors: 0,
  };

  constructor(node: ListenedNode<S>, clock: Clock, latency: LatencyMeter, options: RespListenerOptions) {
    this.#node = node;
    this.#clock = clock;
    this.#latency = latency;
    this.#options = options;
    this.#server = this.#makeServer(false);
  }

  /** Connections open now. */
  get connectionCount(): number {
    return this.#connections.size;
  }

  /** Bytes held for connections: replies not yet read and requests half arrived. */
  get heldBytes(): number {
    return this.#heldBytes;
  }

  /**
   * Starts listening; resolves with the port.
   * @throws BreakwaterError `LISTEN_FAILED`
   */
  listen(port: number, host: string): Promise<number> {
    return listenOn(this.#server, port, host, BACKLOG, 'RESP');
  }

  /**
   * Listens on one port more, whose clients know nothing of clusters (`SessionInfo.isProxied`); resolves with the port.
   * @throws BreakwaterError `LISTEN_FAILED`
   */
  listenForPlain(port: number, host: string): Promise<number> {
    this.#proxyServer ??= this.#makeServer(true);
    return listenOn(this.#proxyServer, port, host, BACKLOG, 'RESP (proxy)');
  }

  /** Idle and stalled clients are closed. O(connections); call about once a second. */
  tick(nowMs: number): void {
    const { idleTimeoutMs, stallTimeoutMs } = this.#options;
    for (const connection of this.#connections) {
      if (connection.stalledSinceMs !== 0) {
        const unsent = unsentBytesOf(connection.socket);
        if (unsent !== connection.unsentBytes) {
          connection.unsentBytes = unsent;
          connection.stalledSinceMs = nowMs;
        } else if (nowMs - connection.stalledSinceMs >= stallTimeoutMs) {
          this.counters.closedStalled += 1;
          connection.socket.destroy();
        }
      } else if (idleTimeoutMs !== 0 && nowMs - connection.session.activeMs >= idleTimeoutMs) {
        this.counters.closedIdle += 1;
        connection.socket.destroy();
      }
    }
  }

  /** Stops accepting, lets replies under way leave for at most `drainMs`, then closes everything. */
  async close(drainMs: number): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    const closed = Promise.all(
      [this.#server, this.#proxyServer].map(
        (server) => new Promise<void>((resolve) => server?.close(() => resolve()) ?? resolve()),
      ),
    );
    for (const connection of this.#connections) this.#end(connection);
    const deadline = setTimeout(() => {
      for (const connection of this.#connections) connection.socket.destroy();
    }, drainMs);
    while (this.#connections.size > 0) {
      await new Promise<void>((resolve) => {
        for (const connection of this.#connections) {
          connection.socket.once('close', () => resolve());
          break;
        }
      });
    }
    clearTimeout(deadline);
    await closed;
  }

  #makeServer(isProxied: boolean): net.Server {
    const server = net.createServer({ pauseOnConnect: true, allowHalfOpen: true, noDelay: true });
    server.on('connection', (accepted) => this.#accept(accepted, isProxied));
    return server;
  }

  #accept(accepted: net.Socket, isProxied: boolean): void {
    if (this.#closed || this.#connections.size >= this.#options.maxClients) {
      this.counters.refusedMaxClients += 1;
      accepted.on('error', () => {});
      accepted.end(TOO_MANY_CLIENTS, () => accepted.destroy());
      return;
    }
    const nowMs = Math.floor(this.#clock.now());
    const { remoteAddress, remotePort, localAddress, localPort } = accepted;
    if (remoteAddress === undefined) {
      accepted.destroy(); // it was gone before we looked
      return;
    }
    const session = this.#node.openSession(nowMs, {
      address: `${remoteAddress}:${remotePort}`,
      localAddress: `${localAddress}:${localPort}`,
      kind: 'resp',
      isProxied,
    });
    session.outputLimitBytes = OUTPUT_LIMIT_BYTES;
    const socket = adoptSocket(accepted, this.#input, (bytes, length) => this.#onBytes(connection, bytes, length));
    const connection = new Connection(socket, session, (each) => this.#onFlushed(each));
    this.#connections.add(connection);
    this.#bySession.set(session, connection);
    this.counters.accepted += 1;
    socket.on('end', () => this.#endWhenTold(connection));
    socket.on('error', () => {
      this.counters.socketErrors += 1;
    });
    socket.on('close', () => this.#forget(connection));
  }

  #forget(connection: Connection<S>): void {
    if (!this.#connections.delete(connection)) return;
    this.#heldBytes -= connection.heldBytes;
    connection.ending = true;
    this.#bySession.delete(connection.session);
    this.#node.closeSession(connection.session);
    if (this.#node.hasPushes) this.schedulePushes();
  }

  /** The hot path. Returns false to stop reading from this client. */
  #onBytes(connection: Connection<S>, bytes: Uint8Array, length: number): boolean {
    if (connection.ending) return false;
    const startMs = this.#clock.now();
    this.#execute(connection, bytes, length, Math.floor(startMs));
    const weight = this.#latency.weigh();
    if (weight !== 0) {
      this.#latency.record(familyOf(connection.session.lastCommand), this.#clock.now() - startMs, weight);
    }
    return !connection.paused;
  }

  /** Hands `length` bytes to the node and writes what it answers; sets `paused` when the client must read first. */
  #execute(connection: Connection<S>, bytes: Uint8Array, length: number, nowMs: number): void {
    const { session } = connection;
    const out = this.#out;
    out.reset();
    this.#node.onRequest(session, bytes, 0, length, nowMs, out);
    let rounds = 1;
    while (out.length >= session.outputLimitBytes && !session.closing) {
      // The node stopped in the middle of a pipeline: send what there is, and go on only if it left.
      if (!this.#flush(connection, nowMs)) {
        connection.hasBacklog = true;
        return;
      }
      if (rounds === ROUNDS_PER_TURN) {
        this.#pause(connection);
        connection.hasBacklog = true;
        setImmediate(() => this.#continue(connection));
        return;
      }
      rounds += 1;
      out.reset();
      this.#node.onRequest(session, NOTHING, 0, 0, nowMs, out);
    }
    connection.hasBacklog = session.halted === true;
    const flushed = out.length === 0 || this.#flush(connection, nowMs);
    if (session.closing) this.#endWhenTold(connection);
    else if (connection.hasBacklog) this.#pause(connection);
    if (this.#node.hasPushes) this.schedulePushes();
    const held = session.inputBytes;
    if (flushed && (held !== 0 || connection.heldBytes !== 0)) this.#hold(connection, held);
  }

  /** Sends what sessions are to be told unasked, soon. To be called when the node has something after a tick. */
  schedulePushes(): void {
    if (this.#pushScheduled || this.#closed) return;
    this.#pushScheduled = true;
    setImmediate(() => {
      this.#pushScheduled = false;
      for (const session of this.#node.takePushed()) {
        const connection = this.#bySession.get(session);
        if (connection !== undefined) this.#push(connection);
        else this.onOthers(session);
      }
    });
  }

  /**
   * A follower that does not read is not written to: it keeps its place in the node's log until that has moved on, and costs nothing. It
   * is served again when its replies have left (`#onFlushed`).
   */
  #push(connection: Connection<S>): void {
    let hasMore = true;
    const wasHalted = connection.session.halted === true;
    while (hasMore) {
      if (connection.ending || connection.stalledSinceMs !== 0) {
        connection.hasPushes = true;
        return;
      }
      connection.hasPushes = false;
      const out = this.#out;
      out.reset();
      hasMore = this.#node.onPush(connection.session, out);
      if (out.length !== 0) this.#flush(connection, Math.floor(this.#clock.now()));
    }
    if (wasHalted && connection.session.halted !== true) this.#continue(connection);
    if (connection.endsWhenTold) this.#endWhenTold(connection);
  }

  /** Writes `#out`. True when the kernel took all of it, so that `#out` may be used again. */
  #flush(connection: Connection<S>, nowMs: number): boolean {
    const { socket } = connection;
    const out = this.#out;
    if (connection.ending) return true;
    const view = this.#view(out.bytes, out.length);
    let result = this.#writer.write(socket, connection.handle, view, connection.onSent);
    if (result === SENT) return true;
    if (result === UNAVAILABLE) result = writeStream(socket, view, connection.onSent);
    if (result === SENT) return true;
    if (result === BROKEN) {
      this.counters.socketErrors += 1;
      socket.destroy();
      return true;
    }
    // libuv keeps the buffer until the client reads: it is the socket's now.
    const held = out.take().length;
    this.#pause(connection);
    connection.stalledSinceMs = nowMs;
    this.#hold(connection, held + connection.session.inputBytes);
    return false;
  }

  #view(bytes: Uint8Array, length: number): Buffer {
    if (this.#viewed !== bytes) {
      this.#viewed = bytes;
      this.#views = new Array(KEPT_VIEWS);
    }
    if (length >= KEPT_VIEWS) return Buffer.from(bytes.buffer, bytes.byteOffset, length);
    const kept = this.#views[length];
    if (kept !== undefined) return kept;
    const made = Buffer.from(bytes.buffer, bytes.byteOffset, length);
    this.#views[length] = made;
    return made;
  }

  #onFlushed(connection: Connection<S>): void {
    if (connection.socket.destroyed) return;
    connection.stalledSinceMs = 0;
    this.#hold(connection, connection.session.inputBytes);
    if (connection.hasPushes) this.#push(connection);
    this.#continue(connection);
  }

  /** The client has read: execute what waited, then read on. */
  #continue(connection: Connection<S>): void {
    if (connection.socket.destroyed || connection.stalledSinceMs !== 0) return;
    if (connection.hasBacklog) {
      connection.paused = false;
      this.#execute(connection, NOTHING, 0, Math.floor(this.#clock.now()));
      if (connection.paused || connection.ending) return;
    }
    connection.paused = false;
    if (!connection.ending) connection.socket.resume();
  }

  #pause(connection: Connection<S>): void {
    connection.paused = true;
    connection.socket.pause();
  }

  /** As `#end`, when the replies that wait for other members have come, and what waits to be executed is; there is a deadline on both. */
  #endWhenTold(connection: Connection<S>): void {
    const { parked, halted, closing } = connection.session;
    const hasParked = parked !== undefined && parked !== null && parked.count > 0;
    connection.endsWhenTold = hasParked || (halted === true && !closing);
    if (!connection.endsWhenTold) this.#end(connection);
    else if (!connection.paused) this.#pause(connection);
  }

  /** Everything that was asked is answered: close our side once it has left, then the whole connection. */
  #end(connection: Connection<S>): void {
    if (connection.ending) return;
    connection.ending = true;
    connection.paused = true;
    if (connection.stalledSinceMs === 0) connection.stalledSinceMs = this.#clock.now();
    connection.socket.destroySoon();
  }

  /** Notes what is held for a connection and closes the greediest while all of them hold too much. */
  #hold(connection: Connection<S>, bytes: number): void {
    if (!this.#connections.has(connection)) return;
    this.#heldBytes += bytes - connection.heldBytes;
    connection.heldBytes = bytes;
    while (this.#heldBytes > this.#options.clientMemoryBytes) {
      let greediest = connection;
      for (const other of this.#connections) if (other.heldBytes > greediest.heldBytes) greediest = other;
      this.counters.closedForMemory += 1;
      greediest.socket.destroy();
      this.#forget(greediest);
    }
  }
}

/** `socket.write` in the words of {@link DirectWriter}. */
function writeStream(socket: net.Socket, bytes: Buffer, onSent: () => void): number {
  if (socket.destroyed || !socket.writable) return BROKEN;
  socket.write(bytes);
  if (socket.writableLength === 0) return SENT;
  socket.write(EMPTY, onSent); // ordered behind the replies: called when they have left
  return PENDING;
}

/** Bytes that libuv has not handed to the kernel yet; shrinks while the client reads, also within one large write. */
function unsentBytesOf(socket: net.Socket): number {
  const { _handle: handle } = socket as unknown as { _handle?: { writeQueueSize?: number } | null };
  return handle?.writeQueueSize ?? 0;
}
