/**
 * Reads of replicas that lag. An invalidation says "load anew", and a load that reads a replica which has not replayed the change yet puts the old row back into the
 * cache, with a good lease, until its TTL. So each id comes with a moment: what is loaded must show all that was committed before it (`LoadContext.quietMs` ago;
 * cache/quiet.ts). A replica that is not known to have come so far is not read: the primary is. In doubt the primary.
 *
 * By position (`lag: 'lsn'`, the default):
 *
 *   1. The primary says how far its log has come (`pg_current_wal_insert_lsn()`): all that was committed before the question is at or before that position. One
 *      such question is on its way at a time, shared by all loads that came before it was sent, and its answer is remembered with the moment of the question.
 *   2. On the connection that will read the rows, the replica says how far it has replayed. Then the rows are read there, of those ids whose position it has passed.
 *   3. The other ids are read at the primary.
 *
 * Why not `pg_current_wal_lsn()`: with `synchronous_commit = off` a commit is visible before it is written; it is always inserted. Why on the same connection, each time:
 * behind one address there may be several replicas, or another one since the last question. Why two statements: within one, the snapshot may be older than the answer.
 *
 * By time (`lag: { bound }`), where the functions are not to be had: an id that has been quiet for longer than the bound is read at a replica. The bound is the operator's word
 * that no replica lags more; nobody checks it. Ids of which nothing is known, which is all of them where the store is not in this process, are read at the primary.
 *
 * A replica that fails is left alone for a second, and its ids are read at the primary: within the guard's cap, since each load asks the primary once at most.
 */
import { performance } from 'node:perf_hooks';
import { BreakwaterError } from '../../base/errors.ts';
import { type Duration, parseDurationMs } from '../../base/units.ts';
import { checkNames, invalid } from '../../cache/checks.ts';
import type { PostgresPool, Result } from './connection.ts';
import { PrimaryPosition } from './position.ts';
import { Statement } from './statement.ts';

export interface PostgresReplicaOptions {
  /** Of one replica, or of an address behind which there are several. */
  readonly pool?: PostgresPool;
  /** Of several replicas, asked in turn. Instead of {@link pool}. */
  readonly pools?: readonly PostgresPool[];
  /**
   * How it is known that a replica shows a change: `'lsn'` (default) compares positions in the write-ahead log; `{ bound: '2s' }` takes your word that no replica lags
   * longer, and is of use with the embedded store only.
   */
  readonly lag?: 'lsn' | { readonly bound: Duration };
  /** With `'lsn'`: how long a load waits for a replica that is behind before it asks the primary. Default 0: not at all. */
  readonly wait?: Duration;
}

/** Since the start. Ids are counted where their row was asked for. */
export interface ReplicaStats {
  /** Loads, and ids, that a replica answered, and that the primary did. */
  readonly replicaIds: number;
  readonly primaryIds: number;
  /** Of those of the primary: ids for which the replica was not far enough, and not known to be. */
  readonly behind: number;
  readonly unknown: number;
  /** Times that a replica could not be used. */
  readonly failures: number;
  /** Questions to the primary for its position. */
  readonly positions: number;
}

const OPTIONS = ['pool', 'pools', 'lag', 'wait'] as const;
const WHERE = 'replica of postgres()';
const REST_MS = 1_000;
const POLL_MS = 5;
const LONGEST_WAIT_MS = 60_000;
/** Whether it is a replica, and what it has replayed. */
const REPLAYED = "SELECT pg_is_in_recovery(), (pg_last_wal_replay_lsn() - '0/0'::pg_lsn)::text";

/** Reads `ids` with the statement that it makes of them. */
export type Read = (ids: readonly string[]) => { readonly text: string; readonly values: unknown[] };

interface Replica {
  readonly statement: Statement;
  restUntilMs: number;
}

export class Replicas {
  readonly #primary: Statement;
  readonly #replicas: readonly Replica[];
  readonly #position: PrimaryPosition | null;
  readonly #boundMs: number;
  readonly #waitMs: number;
  #turn = 0;
  readonly #counts = { replicaIds: 0, primaryIds: 0, behind: 0, unknown: 0, failures: 0 };

  /** @throws BreakwaterError `CACHE_OPTION_UNKNOWN`, `CACHE_OPTION_INVALID`, `DURATION_INVALID` */
  constructor(primary: Statement, options: PostgresReplicaOptions, prepare: boolean) {
    checkNames(options, OPTIONS, WHERE);
    const { pool, pools, lag = 'lsn', wait } = options;
    const given: readonly unknown[] = pools ?? [pool];
    const arePools = Array.isArray(given) && given.length > 0 && given.every(isPool);
    if ((pool === undefined) === (pools === undefined) || !arePools) {
      throw invalid(WHERE, 'pool, a Pool of pg, or pools, several', { pool, pools });
    }
    if (lag !== 'lsn') checkNames(lag, ['bound'], `lag of ${WHERE}`);
    this.#primary = primary;
    this.#replicas = (given as PostgresPool[]).map((one) => ({
      statement: new Statement(one, prepare, `a replica of ${primary.name}`),
      restUntilMs: Number.NEGATIVE_INFINITY,
    }));
    this.#position = lag === 'lsn' ? new PrimaryPosition(primary) : null;
    this.#boundMs = lag === 'lsn' ? 0 : parseDurationMs(lag.bound, `lag.bound of ${WHERE}`);
    this.#waitMs = wait === undefined ? 0 : parseDurationMs(wait, `wait of ${WHERE}`);
    if (wait !== undefined && (lag !== 'lsn' || this.#waitMs > LONGEST_WAIT_MS)) {
      throw invalid(`wait of ${WHERE}`, `at most ${LONGEST_WAIT_MS} ms, with lag: 'lsn'`, wait);
    }
  }

  stats(): ReplicaStats {
    return { ...this.#counts, positions: this.#position?.asked ?? 0 };
  }

  /**
   * The rows of `ids`: those of the replica and those of the primary, whose columns are the same.
   * @throws BreakwaterError as the primary does; what a replica fails with is not thrown
   */
  async load(
    ids: readonly string[],
    quietMs: (id: string) => number,
    read: Read,
    signal: AbortSignal | undefined,
  ): Promise<Result[]> {
    const results: Result[] = [];
    const left = new Set(ids);
    const replica = this.#next();
    const targets = replica === null ? null : await this.#targets(ids, quietMs, signal);
    if (replica !== null && targets !== null && targets.size > 0) {
      const found = await this.#ask(replica, targets, read, signal);
      if (found !== null) {
        results.push(found.result);
        for (const id of found.ids) left.delete(id);
        this.#counts.replicaIds += found.ids.length;
      }
      this.#counts.unknown += ids.length - targets.size;
      this.#counts.behind += targets.size - (found?.ids.length ?? 0);
    } else this.#counts.unknown += ids.length;
    if (left.size > 0) {
      const rest = left.size === ids.length ? ids : [...left];
      this.#counts.primaryIds += rest.length;
      const { text, values } = read(rest);
      results.push(await this.#primary.read(text, values, signal));
    }
    return results;
  }

  /** That every replica is one and answers. @throws BreakwaterError */
  async check(read: Read, signal: AbortSignal | undefined): Promise<void> {
    for (const { statement } of this.#replicas) {
      const { rows } = await statement.read(REPLAYED, [], signal);
      if (rows[0]?.[0] !== true) {
        throw new BreakwaterError(
          'SOURCE_REPLICA',
          `cannot use ${statement.name}: it is not a replica, or not one any more`,
        );
      }
      const { text, values } = read([]);
      await statement.read(text, values, signal);
    }
    await this.#position?.after(performance.now(), signal);
  }

  #next(): Replica | null {
    const nowMs = performance.now();
    for (let i = 0; i < this.#replicas.length; i += 1) {
      this.#turn = (this.#turn + 1) % this.#replicas.length;
      const replica = this.#replicas[this.#turn]!;
      if (nowMs >= replica.restUntilMs) return replica;
    }
    return null;
  }

  /** How far a replica must have come for each id; ids that no replica may be asked for are left out. Null: it is not known of any. */
  async #targets(
    ids: readonly string[],
    quietMs: (id: string) => number,
    signal: AbortSignal | undefined,
  ): Promise<ReadonlyMap<string, bigint> | null> {
    const nowMs = performance.now();
    const quiet = ids.map((id) => [id, quietMs(id)] as const);
    const position = this.#position;
    if (position === null) {
      return new Map(quiet.filter(([, ms]) => ms > this.#boundMs).map(([id]) => [id, 0n]));
    }
    const targets = new Map<string, bigint>();
    let latest: bigint | null = null;
    for (const [id, ms] of quiet) {
      const known = position.known(nowMs - ms);
      if (known !== null) targets.set(id, known);
      else {
        try {
          latest ??= await position.after(nowMs, signal);
        } catch (error) {
          if (signal?.aborted) throw error;
          return targets; // the primary will say so itself
        }
        targets.set(id, latest);
      }
    }
    return targets;
  }

  /** Null: it was of no use. */
  async #ask(
    replica: Replica,
    targets: ReadonlyMap<string, bigint>,
    read: Read,
    signal: AbortSignal | undefined,
  ): Promise<{ readonly ids: readonly string[]; readonly result: Result } | null> {
    const { statement } = replica;
    const untilMs = performance.now() + this.#waitMs;
    let ids: readonly string[] = [];
    try {
      const result = await statement.readSeries(async (run) => {
        if (this.#position === null) ids = [...targets.keys()];
        else {
          for (;;) {
            const { rows } = await run(REPLAYED, []);
            const [isReplica, replayed] = rows[0] ?? [];
            if (isReplica !== true || typeof replayed !== 'string') {
              throw new BreakwaterError(
                'SOURCE_REPLICA',
                `cannot use ${statement.name}: it is not a replica (any more)`,
              );
            }
            const at = BigInt(replayed);
            ids = [...targets].filter(([, target]) => at >= target).map(([id]) => id);
            if (ids.length === targets.size || performance.now() >= untilMs || signal?.aborted) break;
            await new Promise((resolve) => setTimeout(resolve, POLL_MS));
          }
          if (ids.length === 0) return null;
        }
        const { text, values } = read(ids);
        return await run(text, values);
      }, signal);
      return result === null ? null : { ids, result };
    } catch (error) {
      if (signal?.aborted) throw error;
      this.#counts.failures += 1;
      replica.restUntilMs = performance.now() + REST_MS;
      return null;
    }
  }
}

function isPool(pool: unknown): boolean {
  return typeof (pool as Partial<PostgresPool> | null | undefined)?.connect === 'function';
}
