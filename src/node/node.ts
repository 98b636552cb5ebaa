/**
 * One whole member of Breakwater as a deterministic machine: bytes and times in, bytes out. It opens no socket, sets no timer, reads
 * no clock and rolls no dice of its own; the server moves bytes to it and calls it, and so does the simulator, thousands of times faster.
 *
 *   onRequest   a chunk of a client's bytes -> replies
 *   onFrame     a message of another member -> messages (a single node has none: refused and counted)
 *   onPush      what a session is to be told unasked: records of the invalidation feed, news of leases
 *   onTick      time passes -> expired and dead entries go, within a budget
 *
 * The same options, bytes and times give the same replies, byte for byte (node.test.ts runs it twice and compares).
 *
 * Bounded by construction: a request by the parser's limits, replies by the session's `outputLimitBytes` (the rest of the input waits in
 * the parser and is executed when the server calls again), entries by `memoryBytes`, leases and generations by their tables.
 *
 * An exception inside a command is a bug of ours. It ends neither the process nor the other sessions: the command is answered with an error, and
 * unless it was a mere want of memory for the reply, nothing that the tables say can be relied on any more, so everything is thrown away
 * (a miss is always safe) and the session is closed. When even that fails the node answers every request with an error: to its clients it is down.
 *
 * `node/` stays routing: what a command means is in commands/, what may be served or stored in freshness/.
 */
import { assert } from '../base/assert.ts';
import type { Random } from '../base/random.ts';
import { Context, type HostFacts } from '../commands/context.ts';
import { COMMAND_COUNT, execute } from '../commands/execute.ts';
import type { SessionInfo } from '../commands/session.ts';
import { COMMANDS } from '../commands/table.ts';
import type { EvictionPolicy, StoreFace, StoreOptions } from '../engine/face.ts';
import { Store } from '../engine/store.ts';
import { Freshness } from '../freshness/freshness.ts';
import type { PlainSet } from '../freshness/plain-set.ts';
import { NEED_MORE, REQUEST, type RequestLimits } from '../resp/parser.ts';
import type { ReplyWriter } from '../resp/writer.ts';
import { NodeSession } from './node-session.ts';
import { type NodeStats, statsOf } from './node-stats.ts';

/** What stands between a command and its reply in a cluster (`cluster-node.ts`). */
export interface ReplyGate {
  /** A request was executed, or failed; its reply is `out.bytes[from .. out.length)`. The gate may take it away, and give it back later by another door. */
  onReply(session: NodeSession, from: number, out: ReplyWriter): void;
}

export interface NodeOptions {
  /** Bound of the store, all its structures counted. */
  readonly memoryBytes: number;
  readonly eviction: EvictionPolicy;
  /** Source of all chance: hash seeds, the epoch of lease tokens, RANDOMKEY. */
  readonly random: Random;
  /**
   * Secret 32-bit seed of the hashes of keys, so that nobody can choose keys that collide. Default: drawn from `random`, which is fine
   * where nobody attacks; a server takes it from the operating system, because `random` also draws what clients see (ids, epochs).
   */
  readonly hashSeed?: number;
  /** The moment of the start, milliseconds since the epoch. */
  readonly startMs: number;
  /** Breakwater's version, for INFO. */
  readonly version: string;
  /** 40 hexadecimal digits; default: made by chance. */
  readonly nodeId?: string;
  /** Longest key in bytes. Default 512. */
  readonly maxKeyBytes?: number;
  /** Longest value in bytes. Default 8 MiB. */
  readonly maxValueBytes?: number;
  /** Shown by INFO; the server enforces it. Default 10,000. */
  readonly maxClients?: number;
  /** Lease tokens remembered, a power of two. Default 65,536. */
  readonly leaseCapacity?: number;
  /** Invalidated names remembered, a power of two. Default 65,536. */
  readonly generationCapacity?: number;
  /** Records of the invalidation feed kept for followers that are behind. Default 65,536. */
  readonly feedRecords?: number;
  /** Parameters of the server for CONFIG GET (`port`, `bind`, `timeout` ...). */
  readonly parameters?: Readonly<Record<string, string>>;
  /** By namespace (`*` = every other): what a plain SET may do after an invalidation. Default: all `write`. */
  readonly plainSet?: Readonly<Record<string, PlainSet>>;
  /** Told of every exception inside a command or a tick, to be logged. Must not throw. */
  readonly onInternalError?: (error: unknown, where: string) => void;
  /** Limits of the request parser other than those that follow from the sizes above. */
  readonly requestLimits?: RequestLimits;
  /** Makes the store; default the engine. For tests. */
  readonly makeStore?: (options: StoreOptions) => StoreFace;
}

const INTERNAL =
  'ERR internal error NODE_INTERNAL: a bug of the node, its log says more; the command may or may not have taken effect';
const BROKEN =
  'ERR internal error NODE_BROKEN: the node could not recover from a bug and serves nothing until it is started again';
/** Key, value and the few words around them fit into a bulk of the largest value plus this. */
const BULK_SLACK_BYTES = 1024;
/** Entries that one tick may touch: well below a millisecond. */
const TICK_BUDGET_ENTRIES = 2000;
/** A tick is wanted at least this often, to keep INFO and the sweep going. */
const LONGEST_TICK_MS = 1000;

export class Node {
  readonly id: string;
  readonly context: Context;
  /** null: every reply goes out at once. */
  gate: ReplyGate | null = null;
  readonly #limits: RequestLimits;
  #lastSessionId = 0;
  #framesRefused = 0;
  readonly #onInternalError: (error: unknown, where: string) => void;
  /** Not even an empty node could be made of it. */
  #isBroken = false;

  constructor(options: NodeOptions) {
    const { random } = options;
    const maxKeyBytes = options.maxKeyBytes ?? 512;
    const maxValueBytes = options.maxValueBytes ?? 8 * 1024 * 1024;
    this.id = options.nodeId ?? hexadecimal(random, 40);
    this.#onInternalError = options.onInternalError ?? (() => {});
    this.#limits = { maxBulkBytes: maxValueBytes + BULK_SLACK_BYTES, ...options.requestLimits };
    const hashSeed = options.hashSeed ?? random.nextUint32();
    const storeOptions: StoreOptions = {
      memoryBytes: options.memoryBytes,
      eviction: options.eviction,
      seed: hashSeed,
      maxKeyBytes,
      maxValueBytes,
    };
    const store = options.makeStore?.(storeOptions) ?? new Store(storeOptions);
    const freshness = new Freshness(store, {
      epoch: random.nextUint32(),
      seed: Math.imul(hashSeed, 0x9e37_79b1),
      ...(options.leaseCapacity === undefined ? {} : { capacity: options.leaseCapacity }),
      ...(options.generationCapacity === undefined ? {} : { generationCapacity: options.generationCapacity }),
    });
    this.context = new Context({
      store,
      freshness,
      random,
      startedMs: Math.floor(options.startMs),
      commandCount: COMMAND_COUNT,
      ...(options.feedRecords === undefined ? {} : { feedRecords: options.feedRecords }),
      ...(options.plainSet === undefined ? {} : { plainSet: options.plainSet }),
      settings: {
        memoryBytes: options.memoryBytes,
        eviction: options.eviction,
        maxKeyBytes,
        maxValueBytes,
        maxClients: options.maxClients ?? 10_000,
        version: options.version,
        runId: this.id,
        parameters: options.parameters ?? {},
      },
    });
  }

  /** Facts for INFO that only the server knows; it writes them now and then. */
  get host(): HostFacts {
    return this.context.host;
  }

  get store(): StoreFace {
    return this.context.store;
  }

  openSession(nowMs: number, info: SessionInfo): NodeSession {
    this.#lastSessionId += 1;
    const session = new NodeSession(this.#lastSessionId, info, this.#moment(nowMs), this.#limits);
    this.context.sessions.set(session.id, session);
    this.context.sessionsOpened += 1;
    return session;
  }

  /** The connection is gone. What it had sent but not completed is dropped. Idempotent. */
  closeSession(session: NodeSession): void {
    session.closing = true;
    this.context.sessions.delete(session.id);
    this.context.pushes.lost(session);
  }

  /**
   * Executes every complete request in `chunk[start .. end)` and appends the replies to `out`. The chunk may be reused afterwards.
   *
   * Stops when `out.length` has passed `session.outputLimitBytes`: the rest of the input is kept, and a call with an empty chunk goes on.
   * (`out` is the server's: it must have been emptied by then.) Sets `session.closing` after QUIT or a protocol error: the
   * connection is to be closed once the replies are sent, and nothing more is executed.
   */
  onRequest(
    session: NodeSession,
    chunk: Uint8Array,
    start: number,
    end: number,
    nowMs: number,
    out: ReplyWriter,
  ): void {
    if (session.closing) return;
    const { context } = this;
    const { parser } = session;
    const before = out.length;
    const now = this.#moment(nowMs);
    const limit = session.outputLimitBytes;
    session.activeMs = now;
    context.inputBytes += end - start;
    out.protocol = session.protocol;
    parser.begin(chunk, start, end);
    const { gate } = this;
    while (out.length < limit && !session.halted) {
      const found = parser.next();
      if (found === REQUEST) {
        session.requests += 1;
        const replyAt = out.length;
        if (this.#isBroken) {
          out.error(BROKEN);
          session.closing = session.kind === 'resp';
        } else {
          try {
            execute(context, session, parser.args, out, now);
          } catch (error) {
            out.length = replyAt;
            out.error(INTERNAL);
            this.#failed(error, nameOfRow(session.lastCommand), session);
          }
          if (gate !== null) gate.onReply(session, replyAt, out);
        }
        if (session.closing) break;
      } else {
        if (found !== NEED_MORE) {
          context.protocolErrors += 1;
          session.closing = true;
          out.error(`ERR ${parser.error}`);
        }
        break;
      }
    }
    parser.finish();
    session.inputBytes = parser.bufferedBytes;
    context.outputBytes += out.length - before;
    if (this.#isBroken) return;
    try {
      context.pushes.settle(now);
    } catch (error) {
      this.#failed(error, 'feed', null);
    }
  }

  /** Is there anything to be said to sessions unasked? To be looked at after `onRequest`, `closeSession` and `onTick`. */
  get hasPushes(): boolean {
    return this.context.pushes.hasDue;
  }

  /** The sessions for which `onPush` has something to write; each is named once, so the caller remembers whom it has not served. */
  takePushed(): NodeSession[] {
    return this.context.pushes.takeDue() as NodeSession[];
  }

  /** Appends what is to be said to `session` unasked until `out` reaches the session's limit. True when there is more. */
  onPush(session: NodeSession, out: ReplyWriter): boolean {
    if (session.closing) return false;
    const before = out.length;
    out.protocol = session.protocol;
    const hasMore = this.context.pushes.write(session, out, session.outputLimitBytes);
    this.context.outputBytes += out.length - before;
    return hasMore;
  }

  /** The door for other members. A single node has no peers: whatever comes is refused and counted. */
  onFrame(_from: string, _bytes: Uint8Array, _nowMs: number, _out: unknown): void {
    this.#framesRefused += 1;
  }

  /** Background work within a budget. Returns the milliseconds until it wants to be called again. */
  onTick(nowMs: number): number {
    const now = this.#moment(nowMs);
    if (this.#isBroken) return LONGEST_TICK_MS;
    try {
      const wanted = Math.min(this.context.store.tick(now, TICK_BUDGET_ENTRIES), this.context.pushes.tick(now));
      assert(wanted >= 0, 'the next tick is not in the past');
      return Math.min(wanted, LONGEST_TICK_MS);
    } catch (error) {
      this.#failed(error, 'tick', null);
      return LONGEST_TICK_MS;
    }
  }

  /** False after a bug that could not be recovered from: every request is answered with an error. */
  get isServing(): boolean {
    return !this.#isBroken;
  }

  /** Everything countable, as a plain object. O(commands). */
  stats(): NodeStats {
    return statsOf(this.id, this.context, this.#framesRefused);
  }

  /** An exception of ours: told, counted, and unless only memory was wanting, nothing of before is served. */
  #failed(error: unknown, where: string, session: NodeSession | null): void {
    const { context } = this;
    context.internalErrors += 1;
    context.errorReplies += 1;
    this.#onInternalError(error, where);
    if (error instanceof RangeError) return;
    if (session?.kind === 'resp') session.closing = true;
    context.internalResets += 1;
    try {
      context.store.clear(context.nowMs);
      context.freshness.reset();
    } catch (second) {
      this.#isBroken = true;
      this.#onInternalError(second, `recovery from a failed ${where}`);
    }
  }

  /** Whole milliseconds that never go back, whatever the caller's clock does. */
  #moment(nowMs: number): number {
    const { context } = this;
    const now = Math.floor(nowMs);
    if (now > context.nowMs) context.nowMs = now;
    return context.nowMs;
  }
}

function nameOfRow(row: number): string {
  return COMMANDS[row]?.name ?? 'request';
}

function hexadecimal(random: Random, digits: number): string {
  let text = '';
  while (text.length < digits) text += random.nextUint32().toString(16).padStart(8, '0');
  return text.slice(0, digits);
}
