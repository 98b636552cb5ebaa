/**
 * What a member answers for ranges of its own while it has no majority (rule 5): it may have lost them, and what it holds may have been deleted elsewhere. By the namespace of the key,
 * when that has lasted for T (`cluster-guard.ts`):
 *
 *   miss     a read misses. The caller asks its database, and nothing that it loads is kept. The default
 *   gutter   a read is answered out of a small memory of its own, which only fills of leases granted by this memory enter, for a short while. What is invalidated elsewhere meanwhile is served for up to G
 *   error    -CLUSTERDOWN
 *
 * Writes and invalidations are not acknowledged in any of them (-CLUSTERDOWN); what they name leaves this memory all the same. A leased fill is answered as one that came too late (-LEASEVOID), in the gutter too:
 * callers know what to do with that. When the lease is back the memory is emptied, and tokens that it granted mean nothing to the real one: tokens of two memories have different epochs.
 *
 * It is a whole node machine with a small memory: so every command that reads answers a miss as it always does. Entries of `miss` namespaces never enter it.
 *
 * G counts from the granting of the token, since what a load reads is of after that: a fill is refused 3/8 G after it, and an entry lives G/2. Which tokens are too old is known by numbers: every G/8 the
 * number of that moment is noted, and those granted before are void.
 */
import { nextKeyOf } from '../commands/key-positions.ts';
import type { Session } from '../commands/session.ts';
import { COMMANDS } from '../commands/table.ts';
import { argIs, word } from '../commands/words.ts';
import type { SourceVersion, StoreOptions, TagList } from '../engine/face.ts';
import { Store } from '../engine/store.ts';
import { namespaceHash, namespaceOfKey } from '../freshness/names.ts';
import type { Args } from '../resp/parser.ts';
import { ReplyWriter } from '../resp/writer.ts';
import { Node, type NodeOptions } from './node.ts';

export const MINORITY_MODES = ['miss', 'gutter', 'error'] as const;
export type MinorityMode = (typeof MINORITY_MODES)[number];

/** G. */
export const DEFAULT_GUTTER_MS = 10_000;
const MEMORY_BYTES = 8 * 1024 * 1024;
const LEASES = 4096;
const TOO_LATE = 'LEASEVOID this fill was not stored: this member has no majority of the voters';
const LEASE = word('lease');
const ROWS = new Map(COMMANDS.map((row) => [row.name, row]));

export interface GutterOptions {
  /** By namespace; `*` = every other. Default `miss`. */
  readonly modes: Readonly<Record<string, MinorityMode>>;
  readonly gutterMs: number;
  readonly node: Omit<NodeOptions, 'nodeId' | 'makeStore'>;
}

/** Entries end after so long, whatever they were stored with. */
class ShortStore extends Store {
  readonly #mostMs: number;

  constructor(options: StoreOptions, mostMs: number) {
    super(options);
    this.#mostMs = mostMs;
  }

  override set(
    key: Uint8Array,
    keyStart: number,
    keyLength: number,
    value: Uint8Array,
    valueStart: number,
    valueLength: number,
    expiresAtMs: number,
    nowMs: number,
    flags = 0,
    tags: TagList | null = null,
    source: SourceVersion | null = null,
  ): number {
    const mostMs = nowMs + this.#mostMs;
    const untilMs = expiresAtMs === 0 ? mostMs : Math.min(expiresAtMs, mostMs);
    return super.set(key, keyStart, keyLength, value, valueStart, valueLength, untilMs, nowMs, flags, tags, source);
  }
}

export class Gutter {
  /** Reads that were answered, and fills that were kept. */
  readonly counts = { reads: 0, fills: 0 };
  readonly #options: GutterOptions;
  readonly #byHash = new Map<number, MinorityMode>();
  readonly #others: MinorityMode;
  /** Made when it is needed first. */
  #node: Node | null = null;
  #isEmpty = true;
  /** Numbers of the memory as they were at these moments, ascending. */
  #noted: { readonly atMs: number; readonly version: number }[] = [];
  readonly #scratch = new ReplyWriter();

  constructor(options: GutterOptions) {
    this.#options = options;
    const encoder = new TextEncoder();
    for (const [name, mode] of Object.entries(options.modes)) {
      if (name === '*') continue;
      const bytes = encoder.encode(name);
      this.#byHash.set(namespaceHash(bytes, 0, bytes.length), mode);
    }
    this.#others = options.modes['*'] ?? 'miss';
  }

  /** Answers a command whose keys are in a range of ours that we may not answer for. False: it did not, and the command is to be refused; what a write names has left this memory already. */
  answer(command: string, session: Session, args: Args, out: ReplyWriter, nowMs: number): boolean {
    const row = ROWS.get(command)!;
    const next = nextKeyOf(row)!;
    const mode = this.#modeOf(next, args);
    const isFill = row.name === 'bw.set' && hasLease(args);
    if (!row.flags.split(' ').includes('readonly') && !isFill) {
      this.#drop(next, args);
      return false;
    }
    if (mode === 'error') return false;
    const node = this.#awake(nowMs);
    if (!isFill) {
      this.counts.reads += 1;
      row.run(node.context, session, args, out);
      // Nothing may come of a token that was granted for a miss.
      if (mode === 'miss') this.#void(next, args);
      else this.#isEmpty = false;
      return true;
    }
    if (mode === 'gutter') {
      const scratch = this.#scratch;
      scratch.reset();
      scratch.protocol = out.protocol;
      row.run(node.context, session, args, scratch);
      if (scratch.bytes[0] !== MINUS) this.counts.fills += 1;
    }
    out.error(TOO_LATE);
    return true;
  }

  /** The lease is back, or a name was invalidated. */
  clear(nowMs: number): void {
    if (this.#isEmpty || this.#node === null) return;
    this.#isEmpty = true;
    this.#noted = [];
    const { store, freshness } = this.#node.context;
    store.clear(nowMs);
    freshness.reset();
  }

  /** The connection is gone. */
  lost(session: Session): void {
    if (this.#node === null) return;
    const { pushes, freshness } = this.#node.context;
    pushes.lost(session);
    freshness.leases.abandon(session.id);
  }

  onTick(nowMs: number): void {
    if (!this.#isEmpty) this.#node?.onTick(nowMs);
  }

  #awake(nowMs: number): Node {
    const { node: options, gutterMs } = this.#options;
    if (this.#node === null) {
      this.#node = new Node({
        ...options,
        startMs: nowMs,
        memoryBytes: Math.min(MEMORY_BYTES, options.memoryBytes),
        leaseCapacity: LEASES,
        generationCapacity: 64,
        feedRecords: 16,
        makeStore: (its) => new ShortStore(its, gutterMs / 2),
      });
      this.#node.context.freshness.fillFloor = () => this.#floor();
    }
    const { context } = this.#node;
    context.nowMs = Math.max(context.nowMs, Math.floor(nowMs));
    const last = this.#noted.at(-1);
    if (last === undefined || context.nowMs - last.atMs >= gutterMs / 8) {
      this.#noted.push({ atMs: context.nowMs, version: context.store.nextVersion() });
    }
    while (this.#noted.length > 1 && context.nowMs - this.#noted[0]!.atMs >= (gutterMs * 3) / 8) this.#noted.shift();
    return this.#node;
  }

  /** Tokens below are too old. */
  #floor(): number {
    return this.#noted[0]!.version;
  }

  #modeOf(next: NonNullable<ReturnType<typeof nextKeyOf>>, args: Args): MinorityMode {
    let mode: MinorityMode = 'gutter';
    for (let at = next(args, 0); at !== 0; at = next(args, at)) {
      const its =
        this.#byHash.size === 0
          ? this.#others
          : (this.#byHash.get(namespaceOfKey(args.bytes, args.start[at]!, args.length[at]!)) ?? this.#others);
      if (its === 'error') return 'error';
      if (its === 'miss') mode = 'miss';
    }
    return mode;
  }

  #drop(next: NonNullable<ReturnType<typeof nextKeyOf>>, args: Args): void {
    if (this.#node === null || this.#isEmpty) return;
    const { store, nowMs } = this.#node.context;
    this.#void(next, args);
    for (let at = next(args, 0); at !== 0; at = next(args, at)) {
      store.delete(args.bytes, args.start[at]!, args.length[at]!, nowMs);
    }
  }

  #void(next: NonNullable<ReturnType<typeof nextKeyOf>>, args: Args): void {
    const { freshness } = this.#node!.context;
    for (let at = next(args, 0); at !== 0; at = next(args, at)) {
      freshness.leases.voidKey(args.bytes, args.start[at]!, args.length[at]!);
    }
  }
}

const MINUS = 45;

function hasLease(args: Args): boolean {
  for (let at = 3; at < args.count; at += 1) if (argIs(args, at, LEASE)) return true;
  return false;
}
