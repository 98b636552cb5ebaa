/**
 * Warming: filling the store with what will be asked for, before it is. A new store, a new region, the hour before a sale.
 *
 * What could go wrong with it, and why it does not:
 *
 *   - it overwrites an invalidation. A job that reads rows and `set`s them does: the row is read, changed and invalidated, and then set. Here each key is filled with a lease
 *     like any other load, so what was invalidated after its row was read is not stored (flights.ts)
 *   - it takes the database away from those who wait for it. A batch is one call of the loader behind the guard, at background priority: a slot only when there is one for the
 *     background, a token of the rate like everybody, nothing while the breaker is open. It takes the leases when it has the slot, not while it waits for one: nobody is
 *     kept waiting for a key by a warming that waits itself
 *   - it does work twice. What is there and fresh is found by a read without a lease, and not decoded; what another process loads is left to it
 *   - it needs memory for all keys. It takes from the iterable what it works at, and no more: the iterable may be endless
 *   - it dies half way. `cursor` says how many ids of the beginning are done, whatever became of them; `skip` goes on from there
 */
import { BreakwaterError, messageOf } from '../base/errors.ts';
import type { Scheduler } from '../base/scheduler.ts';
import type { Duration } from '../base/units.ts';
import { listen } from './abort.ts';
import { checkNames, checkSignal, count, duration, invalid } from './checks.ts';
import { GuardShedError, SourceBusyError } from './guard/errors.ts';

export interface WarmOptions {
  /** Ids of one batch: one read of the store, one call of the loader. Default 100, at most the cache's `maxBatch`. */
  readonly batch?: number | undefined;
  /** Batches under way at once. Default 2; the guard's `backgroundConcurrency` bounds those of them that load. */
  readonly concurrency?: number | undefined;
  /** Most ids a second, of those that have to be loaded. Default: no limit but the guard's. */
  readonly rate?: number | undefined;
  /** Ids of the beginning that an earlier run has done: its `cursor`. They are taken from the iterable and passed by. Default 0. */
  readonly skip?: number | undefined;
  /** How long it goes on without any batch getting through to the source (`CACHE_WARM_STALLED`). Default `"5m"`. */
  readonly patience?: Duration | undefined;
  /** Ends it; what is under way is given up, and the promise rejects with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
  /** Called after each batch. What it throws ends the warming. */
  readonly onProgress?: ((progress: WarmProgress) => void) | undefined;
}

/** How far it is. All but `cursor` count ids of this run. */
export interface WarmProgress {
  /** So many ids of the beginning are done, with those that were skipped: where to go on from. */
  readonly cursor: number;
  /** The last of them; null = none yet. */
  readonly lastId: string | null;
  /** Done in all. The next six add up to it. */
  readonly done: number;
  /** Were there and fresh. */
  readonly present: number;
  /** Loaded and stored; of which the source had no row: `absent`, remembered as such. */
  readonly loaded: number;
  readonly absent: number;
  /** Loaded, and not stored: they were invalidated meanwhile, or the store would not have them. They are loaded when they are asked for. */
  readonly refused: number;
  /** Being loaded by somebody else. */
  readonly elsewhere: number;
  /** Not loaded, for an error. */
  readonly failed: number;
  /** Times that a batch had to come again because the guard did not let it through. */
  readonly waits: number;
  /** The first of the errors, by id. At most ten. */
  readonly errors: readonly { readonly id: string; readonly error: unknown }[];
}

/** What became of one id. */
export type Warmed = 'present' | 'loaded' | 'absent' | 'refused' | 'elsewhere' | { readonly error: unknown };

/** What a warming needs of its cache. */
export interface WarmParts<K extends string> {
  readonly name: string;
  readonly maxBatch: number;
  readonly scheduler: Scheduler;
  readonly nowMs: () => number;
  /** Of those that are not in the store, or not fresh there, in order. @throws BreakwaterError the store does not answer */
  missing(ids: readonly K[]): Promise<readonly K[]>;
  /** Loads and stores in a slot of the guard. @throws GuardShedError nothing was asked; BreakwaterError `CACHE_CLOSED` */
  load(ids: readonly K[], signal: AbortSignal): Promise<readonly Warmed[]>;
}

const OPTIONS = ['batch', 'concurrency', 'rate', 'skip', 'patience', 'signal', 'onProgress'] as const;
const MOST_AT_ONCE = 64;
const MOST_ERRORS = 10;
const SHORTEST_PAUSE_MS = 50;
const LONGEST_PAUSE_MS = 5_000;

/** @throws BreakwaterError `CACHE_WARM_STALLED`, `CACHE_CLOSED`; the signal's reason; what the iterable or `onProgress` threw */
export async function warm<K extends string>(
  parts: WarmParts<K>,
  ids: Iterable<K> | AsyncIterable<K>,
  options: WarmOptions,
): Promise<WarmProgress> {
  return await new Warming(parts, options).run(ids);
}

class Warming<K extends string> {
  readonly #parts: WarmParts<K>;
  readonly #batch: number;
  readonly #concurrency: number;
  readonly #intervalMs: number;
  readonly #skip: number;
  readonly #patienceMs: number;
  readonly #onProgress: ((progress: WarmProgress) => void) | null;
  readonly #given: AbortSignal | undefined;
  /** Of everything under way: the caller's signal, or the first error. */
  readonly #stop = new AbortController();
  readonly #counts = { done: 0, present: 0, loaded: 0, absent: 0, refused: 0, elsewhere: 0, failed: 0, waits: 0 };
  readonly #errors: { id: string; error: unknown }[] = [];
  #cursor: number;
  #lastId: string | null = null;
  /** Batches that are done, by their first id's place, and that follow one that is not. */
  readonly #early = new Map<number, { readonly next: number; readonly lastId: string }>();
  #nextLoadAtMs = 0;
  #throughAtMs: number;

  constructor(parts: WarmParts<K>, options: WarmOptions) {
    const where = `warm of cache "${parts.name}"`;
    checkNames(options, OPTIONS, where);
    const { rate, skip = 0, onProgress, signal } = options;
    if (rate !== undefined && !(typeof rate === 'number' && rate > 0))
      throw invalid(`rate of ${where}`, 'a number above 0', rate);
    if (!Number.isSafeInteger(skip) || skip < 0) throw invalid(`skip of ${where}`, 'a whole number from 0', skip);
    if (onProgress !== undefined && typeof onProgress !== 'function') {
      throw invalid(`onProgress of ${where}`, 'a function', onProgress);
    }
    checkSignal(signal, where);
    this.#parts = parts;
    this.#batch = count(options.batch ?? Math.min(100, parts.maxBatch), 'batch', where, parts.maxBatch);
    this.#concurrency = count(options.concurrency ?? 2, 'concurrency', where, MOST_AT_ONCE);
    this.#intervalMs = rate === undefined ? 0 : 1_000 / rate;
    this.#skip = skip;
    this.#cursor = skip;
    this.#patienceMs = duration(options.patience ?? '5m', 'patience', where, 1);
    this.#onProgress = onProgress ?? null;
    this.#given = signal;
    this.#throughAtMs = parts.nowMs();
  }

  async run(ids: Iterable<K> | AsyncIterable<K>): Promise<WarmProgress> {
    this.#given?.throwIfAborted();
    const unlisten =
      this.#given === undefined ? null : listen(this.#given, () => this.#stop.abort(this.#given!.reason));
    const iterator = Symbol.asyncIterator in ids ? ids[Symbol.asyncIterator]() : ids[Symbol.iterator]();
    const take = batches(iterator, this.#batch, this.#skip);
    const work = async (): Promise<void> => {
      for (;;) {
        const batch = await this.#unlessStopped(take());
        if (batch === null) return;
        await this.#warm(batch.ids);
        this.#noteDone(batch.at, batch.ids);
        this.#onProgress?.(this.#progress());
      }
    };
    try {
      const workers = Array.from({ length: this.#concurrency }, () =>
        work().catch((error: unknown) => {
          this.#stop.abort(error);
          throw error;
        }),
      );
      await Promise.allSettled(workers);
      await Promise.all(workers);
      return this.#progress();
    } finally {
      unlisten?.();
      // An endless one is told that nobody will ask again; one that hangs is not waited for.
      void Promise.resolve(iterator.return?.()).catch(() => {});
    }
  }

  async #warm(ids: readonly K[]): Promise<void> {
    const counts = this.#counts;
    let left: readonly K[] = ids;
    for (let pauseMs = SHORTEST_PAUSE_MS; ; pauseMs = Math.min(LONGEST_PAUSE_MS, pauseMs * 2)) {
      let shed: unknown;
      try {
        left = await this.#unlessStopped(this.#parts.missing(left));
        if (left.length > 0) {
          await this.#paced(left.length);
          const became = await this.#unlessStopped(this.#parts.load(left, this.#stop.signal));
          for (const [index, one] of became.entries()) this.#note(left[index]!, one);
        }
        counts.present += ids.length - left.length;
        counts.done += ids.length;
        this.#throughAtMs = this.#parts.nowMs();
        return;
      } catch (error) {
        if (!isTemporary(error)) throw error;
        shed = error;
      }
      counts.waits += 1;
      const nowMs = this.#parts.nowMs();
      if (nowMs - this.#throughAtMs >= this.#patienceMs) {
        throw new BreakwaterError(
          'CACHE_WARM_STALLED',
          `cannot go on warming cache "${this.#parts.name}": nothing got through for ${Math.round(nowMs - this.#throughAtMs)} ms, the last time because ${messageOf(shed)}`,
          { cause: shed },
        );
      }
      const wishedMs = shed instanceof GuardShedError || shed instanceof SourceBusyError ? shed.retryAfterMs : null;
      await this.#sleep(Math.max(pauseMs, Math.min(LONGEST_PAUSE_MS, wishedMs ?? 0)));
    }
  }

  #note(id: K, became: Warmed): void {
    if (typeof became === 'string') {
      this.#counts[became] += 1;
      return;
    }
    this.#counts.failed += 1;
    if (this.#errors.length < MOST_ERRORS) this.#errors.push({ id, error: became.error });
  }

  #noteDone(at: number, ids: readonly K[]): void {
    this.#early.set(at, { next: at + ids.length, lastId: ids.at(-1)! });
    for (let run = this.#early.get(this.#cursor); run !== undefined; run = this.#early.get(this.#cursor)) {
      this.#early.delete(this.#cursor);
      this.#cursor = run.next;
      this.#lastId = run.lastId;
    }
  }

  #progress(): WarmProgress {
    return { cursor: this.#cursor, lastId: this.#lastId, ...this.#counts, errors: [...this.#errors] };
  }

  /** Takes `ids` turns at the rate. */
  async #paced(ids: number): Promise<void> {
    if (this.#intervalMs === 0) return;
    const nowMs = this.#parts.nowMs();
    const atMs = Math.max(nowMs, this.#nextLoadAtMs);
    this.#nextLoadAtMs = atMs + ids * this.#intervalMs;
    if (atMs > nowMs) await this.#sleep(atMs - nowMs);
  }

  #sleep(ms: number): Promise<void> {
    let wake: () => void = () => {};
    const timer = this.#parts.scheduler.setTimer(ms, () => wake());
    const slept = new Promise<void>((resolve) => {
      wake = resolve;
    });
    return this.#unlessStopped(slept).finally(() => timer.cancel());
  }

  /** The iterable and the store are not ours: neither may keep us from ending. */
  #unlessStopped<T>(promise: Promise<T>): Promise<T> {
    const { signal } = this.#stop;
    return new Promise((resolve, reject) => {
      const unlisten = listen(signal, () => reject(signal.reason));
      if (signal.aborted) reject(signal.reason);
      promise.then(resolve, reject).finally(unlisten);
    });
  }
}

/** Whether asking again later makes sense: the guard was in the way, or the store did not answer. */
function isTemporary(error: unknown): boolean {
  if (error instanceof GuardShedError) return error.code !== 'GUARD_CLOSED';
  if (error instanceof SourceBusyError) return true;
  return error instanceof BreakwaterError && error.code.startsWith('STORE_') && error.code !== 'STORE_CLOSED';
}

interface Taken<K> {
  /** Place of the first, from the beginning. */
  readonly at: number;
  readonly ids: readonly K[];
}

/** Gives one batch after another, each to one caller; null at the end. */
function batches<K extends string>(
  iterator: Iterator<K> | AsyncIterator<K>,
  most: number,
  skip: number,
): () => Promise<Taken<K> | null> {
  let at = 0;
  let isOver = false;
  let turn: Promise<unknown> = Promise.resolve();
  const take = async (): Promise<Taken<K> | null> => {
    const ids: K[] = [];
    while (!isOver && ids.length < most) {
      const next = await iterator.next();
      if (next.done === true) {
        isOver = true;
      } else if (at < skip) {
        at += 1;
      } else {
        const id: unknown = next.value;
        if (typeof id !== 'string') throw invalid('an id to warm', 'text', id);
        ids.push(next.value);
      }
    }
    if (ids.length === 0) return null;
    const first = at;
    at += ids.length;
    return { at: first, ids };
  };
  return () => {
    const taken = turn.then(take);
    turn = taken.catch(() => {
      isOver = true;
    });
    return taken;
  };
}
