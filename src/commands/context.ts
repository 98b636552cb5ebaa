/**
 * What a command may touch: the member's store and freshness, the moment, chance, who is connected, and facts about the
 * process that only the server knows. One per node; `nowMs` is set before each request.
 */
import { assert } from '../base/assert.ts';
import type { Random } from '../base/random.ts';
import type { EvictionPolicy, StoreFace, TagList } from '../engine/face.ts';
import { MAX_TAGS } from '../engine/face.ts';
import type { Locks, Tallies } from '../freshness/beside.ts';
import type { Freshness } from '../freshness/freshness.ts';
import { LockTable } from '../freshness/lock-table.ts';
import { type PlainSet, PlainSets } from '../freshness/plain-set.ts';
import { TallyTable } from '../freshness/tally-table.ts';
import type { Args } from '../resp/parser.ts';
import type { ReplyWriter } from '../resp/writer.ts';
import type { ClusterFace } from './cluster-face.ts';
import { Pushes } from './pushes.ts';
import type { Session } from './session.ts';

/** The longest reply of one command that copies many values: MGET of one large value under a thousand names must not end the process. */
export const MAX_REPLY_BYTES = 256 * 1024 * 1024;

/** Kept for building changed values; a larger one is made and given back. */
const SCRATCH_BYTES = 64 * 1024;

/** What was configured, as INFO and CONFIG GET show it. */
export interface Settings {
  readonly memoryBytes: number;
  readonly eviction: EvictionPolicy;
  readonly maxKeyBytes: number;
  readonly maxValueBytes: number;
  /** Open sessions at most; enforced by the server. */
  readonly maxClients: number;
  /** Breakwater's version. */
  readonly version: string;
  /** 40 hexadecimal digits, new at each start. */
  readonly runId: string;
  /** Further parameters of the server (port, bind, timeout ...), as text. */
  readonly parameters: Readonly<Record<string, string>>;
}

/** Facts about the process, set by the server now and then; 0 or '' where nobody told. */
export interface HostFacts {
  rssBytes: number;
  heapUsedBytes: number;
  cpuUserSeconds: number;
  cpuSystemSeconds: number;
  processId: number;
  /** E.g. `Linux 6.1 x64`. */
  os: string;
  /** E.g. `v20.20.0`. */
  runtime: string;
  port: number;
  totalMemoryBytes: number;
}

/** Counters that INFO shows, all since the start. */
export interface Totals {
  readonly hits: number;
  readonly misses: number;
  readonly evictions: number;
  readonly expirations: number;
  readonly invalidations: number;
  readonly sessions: number;
  readonly commands: number;
  readonly errorReplies: number;
  readonly unknownCommands: number;
  readonly protocolErrors: number;
  readonly inputBytes: number;
  readonly outputBytes: number;
}

/** Per row of the command table. */
export interface CallCounts {
  readonly calls: Float64Array;
  readonly failures: Float64Array;
  readonly rejections: Float64Array;
}

export class Context {
  readonly store: StoreFace;
  readonly freshness: Freshness;
  /** Beside the store: nothing evicts or flushes a lock. */
  locks: Locks = new LockTable();
  tallies: Tallies = new TallyTable();
  /** What plain SETs may do, by namespace. */
  readonly plainSets: PlainSets;
  readonly random: Random;
  readonly settings: Settings;
  readonly host: HostFacts;
  readonly startedMs: number;
  /** null: a single node. */
  cluster: ClusterFace | null = null;
  /** The write at hand is the fill of a lease: in a cluster nobody waits until copies have it. */
  isFill = false;
  /** The moment of the current request, whole milliseconds. */
  nowMs: number;
  /** Open sessions by id. */
  readonly sessions = new Map<number, Session>();
  sessionsOpened = 0;
  /** What is said to sessions unasked. */
  readonly pushes: Pushes;
  /** Requests executed, known or not. */
  commandsProcessed = 0;
  /** Replies that were errors. */
  errorReplies = 0;
  protocolErrors = 0;
  /** Commands and ticks that failed for a bug of ours, and how often everything was thrown away after one. */
  internalErrors = 0;
  internalResets = 0;
  inputBytes = 0;
  outputBytes = 0;
  /** Per row of the command table: executed, answered with an error, refused before execution (arity). */
  readonly calls: Float64Array;
  readonly failures: Float64Array;
  readonly rejections: Float64Array;
  /** Requests for commands that do not exist. */
  unknownCommands = 0;
  /** What INFO subtracts: the counters at the last CONFIG RESETSTAT. */
  statsBase: Totals | null = null;
  callsBase: CallCounts | null = null;
  /** Tags of the entry at hand. */
  readonly tags: { count: number; readonly hashes: Float64Array } = { count: 0, hashes: new Float64Array(MAX_TAGS) };
  #scratch = new Uint8Array(SCRATCH_BYTES);

  constructor(parts: {
    readonly store: StoreFace;
    readonly freshness: Freshness;
    readonly random: Random;
    readonly settings: Settings;
    readonly startedMs: number;
    /** Rows of the command table. */
    readonly commandCount: number;
    /** Records of the invalidation feed kept. */
    readonly feedRecords?: number;
    /** By namespace; default: all `write`. */
    readonly plainSet?: Readonly<Record<string, PlainSet>>;
  }) {
    this.store = parts.store;
    this.freshness = parts.freshness;
    this.plainSets = new PlainSets(parts.plainSet ?? {});
    this.random = parts.random;
    this.settings = parts.settings;
    this.startedMs = parts.startedMs;
    this.nowMs = parts.startedMs;
    const run = { epoch: parts.startedMs, node: parts.settings.runId.slice(0, 8) };
    this.pushes = new Pushes(parts.freshness, run, parts.startedMs, parts.feedRecords);
    this.calls = new Float64Array(parts.commandCount);
    this.failures = new Float64Array(parts.commandCount);
    this.rejections = new Float64Array(parts.commandCount);
    this.host = {
      rssBytes: 0,
      heapUsedBytes: 0,
      cpuUserSeconds: 0,
      cpuSystemSeconds: 0,
      processId: 0,
      os: '',
      runtime: '',
      port: 0,
      totalMemoryBytes: 0,
    };
  }

  /** Room for `size` bytes until the next call. One large value does not keep the buffer large. */
  scratch(size: number): Uint8Array {
    if (size <= SCRATCH_BYTES) {
      if (this.#scratch.length !== SCRATCH_BYTES) this.#scratch = new Uint8Array(SCRATCH_BYTES);
    } else if (this.#scratch.length < size) {
      this.#scratch = new Uint8Array(size);
    }
    return this.#scratch;
  }

  /** The tags of an entry, to be written again with its changed value; null when it has none. Overwritten by the next call. */
  tagsOf(ref: number): TagList | null {
    const count = this.store.tagCount(ref);
    if (count === 0) return null;
    assert(count <= MAX_TAGS, 'an entry has at most MAX_TAGS tags');
    for (let i = 0; i < count; i += 1) this.tags.hashes[i] = this.store.tagHash(ref, i);
    this.tags.count = count;
    return this.tags;
  }
}

/** What a command is: it reads its arguments, acts, and writes exactly one reply. */
export type CommandFunction = (context: Context, session: Session, args: Args, out: ReplyWriter) => void;
