/**
 * Changes that a database makes known by itself, and what they invalidate. The port between the library and whoever reads them: `cache/` knows no database,
 * and a stream knows no store.
 *
 *     database --committed rows--> ChangeStream --names--> ChangeTarget.invalidate --> store --> L1s of all processes
 *                                       |  <----- acknowledged ------'
 *                                       '--> position acknowledged to the database
 *
 * One rule makes it lose nothing: the stream tells the database that it has got as far as P only when everything up to P is invalidated and acknowledged. So a
 * crash of either side repeats some invalidations, which costs misses, and skips none.
 *
 * The second rule is for what no position can cover (the stream was cut off for too long, the database is another one now, a table was rewritten): **in
 * doubt the whole namespaces are invalidated.**
 */
import type { Clock } from '../../base/clock.ts';
import type { Random } from '../../base/random.ts';
import type { Scheduler } from '../../base/scheduler.ts';
import type { InvalidateRequest } from '../../stores/store.ts';

/** Where committed changes come from. One is followed at most once at a time. */
export interface ChangeStream {
  /** For stats, metrics and sentences; once per Breakwater. */
  readonly name: string;
  /** Begins at once, in the background, and goes on until it is stopped, whatever fails. */
  open(target: ChangeTarget): ChangeRun;
}

export interface ChangeRun {
  /**
   * Resolves when what is cached from now on is covered: this process reads the changes, or another one does that invalidates at least as much. Rejects when something stands in the
   * way that waiting does not cure (`wal_level`, rights, a table that is not there), with its code; the run tries on all the same.
   */
  readonly ready: Promise<void>;
  /** Ends what is under way, acknowledges what is done, and closes its connections. Stopping twice is once. */
  stop(): Promise<void>;
  stats(): ChangeStats;
}

/** What a stream is given to work with. */
export interface ChangeTarget {
  readonly clock: Clock;
  readonly scheduler: Scheduler;
  readonly random: Random;
  /**
   * Invalidates, and does not give up. `acknowledged`: by the store. `queued`: not all of it; the rest is in the store's outbox, which retries, and the position must wait
   * for {@link hasSettled}. Rejects only when `signal` fires or the Breakwater is closed.
   */
  invalidate(what: InvalidateRequest, signal: AbortSignal): Promise<'acknowledged' | 'queued'>;
  /** Is nothing left in the outbox of what was queued until then, ms of the clock? */
  hasSettled(untilMs: number): boolean;
  /**
   * What was last remembered under `name`, by whichever process; null: nothing, or it was evicted. Kept in the store itself, so that a store that was emptied or exchanged says so.
   */
  recall(name: string, signal: AbortSignal): Promise<string | null>;
  /** Rejects when the store did not acknowledge it. */
  remember(name: string, text: string, signal: AbortSignal): Promise<void>;
  tell(event: Omit<ChangesEvent, 'stream'>): void;
}

/** Something happened to a stream that its reader should know of. */
export interface ChangesEvent {
  readonly stream: string;
  /**
   * - `active`: this process reads the changes; `standby`: another one does
   * - `lost`: connection or slot are gone, or something was refused; tried again (`error`)
   * - `gap`: changes may have been missed, so `namespaces` were invalidated (`reason`)
   * - `folded`: so many rows of one transaction that `namespaces` were invalidated instead of their keys
   * - `mapping`: a function of the mapping failed for a row, or needs a column that the change does not carry: `namespaces` were invalidated (`reason`, `error`). Told once a table and
   *   second at most; the stats count them all
   * - `stopped`
   */
  readonly what: 'active' | 'standby' | 'lost' | 'gap' | 'folded' | 'mapping' | 'stopped';
  readonly namespaces: readonly string[];
  readonly reason: string | null;
  readonly error: unknown;
}

export interface ChangeStats {
  /** `waiting`: not connected, or something was refused; the next attempt comes. */
  readonly state: 'starting' | 'active' | 'standby' | 'waiting' | 'stopped';
  /** Whether somebody, here or elsewhere, reads the changes and invalidates at least what is declared here. */
  readonly isCovered: boolean;
  /** For how long changes have been committed that are not invalidated yet; 0 = none known of; null = not known here. */
  readonly lagMs: number | null;
  /** Bytes of the database's log between its end and the acknowledged position; null = not known. */
  readonly lagBytes: number | null;
  /** Bytes of its log that the database keeps for this stream; how many more it would keep before it gives the stream up, null = no bound or not known. */
  readonly retainedBytes: number | null;
  readonly safeBytes: number | null;
  /** The acknowledged position, as the database writes it. */
  readonly position: string | null;
  /** Rows of mapped tables; transactions; rows of tables that nobody mapped. */
  readonly rows: number;
  readonly transactions: number;
  readonly unmappedRows: number;
  /** Names that were invalidated. */
  readonly keys: number;
  readonly tags: number;
  readonly namespaces: number;
  /** Rows whose mapping threw or gave what cannot be a name; rows that needed a column whose value was not there. Their namespaces were invalidated. */
  readonly mappingFailures: number;
  readonly unknownValues: number;
  /** Transactions that changed more rows of a table than are told apart; tables that were truncated; tables whose definition changed. */
  readonly folded: number;
  readonly truncated: number;
  readonly schemaChanges: number;
  /** Times that changes may have been missed, so that namespaces were invalidated. */
  readonly gaps: number;
  /** Times that this process became the one that reads; times that it was cut off or refused. */
  readonly activations: number;
  readonly failures: number;
  /** From the commit to the acknowledged invalidation, by the database's clock, of transactions since the start; null = none yet. */
  readonly delayMs: { readonly p50: number; readonly p99: number; readonly max: number } | null;
  readonly lastError: string | null;
}
