/**
 * Policies `through` and `behind`: `write(id, value)`. (`aside` is `write(id, fn)`, in cache.ts, and there under every policy.)
 *
 * Through, one value or several:
 *
 *     1. every value is encoded and checked: what the cache could not keep is not written to the database
 *     2. the keys are noted in the outbox, where that is on disk
 *     3. a lease is taken for each key          (stores that take leased writes: all but a ring and a cluster of nodes)
 *     4. the database, in one transaction; the rows as it has them now come back
 *     5. under its lease the row is filled, as a write: every L1 is told; where that is refused or not known, or there is no lease, the key is invalidated
 *
 * Why a lease and not `set` with the row's version: a `set` on its way can be overtaken by an update that is no write of this cache (SQL, `write(id, fn)`), whose
 * invalidation carries no version and so cannot keep it out; it would then show the older row until its TTL. A lease is voided by every invalidation since 3, which is before
 * anything was committed. So of two writers at once at most one fills, and only if it was alone. A fill whose answer was lost may still arrive: the invalidation that follows
 * voids its lease or removes what it stored.
 * A key of a ring may have a copy on a second server, which a fill on the first does not reach: there 5 is the invalidation alone, and the next reader loads.
 */
import { BreakwaterError } from '../../base/errors.ts';
import type { CacheStore, FillEntry } from '../../stores/store.ts';
import { invalid } from '../checks.ts';
import type { Sink } from '../data-source.ts';
import type { WritePolicy } from '../types.ts';
import type { Behind } from './behind.ts';
import { cloneOf } from './queue-log.ts';
import { guardedWrite } from './refusals.ts';

/** What came of `write(id, value)`. */
export interface WriteReceipt {
  /** Policy `behind`: of two writes of a row the later one has the larger number, whichever processes they came through. null: policy `through`. */
  readonly version: number | null;
}

/** A value as the store keeps it. */
export interface PackedValue {
  readonly bytes: Uint8Array;
  readonly ttlMs: number;
  readonly tags: readonly string[];
}

export interface WriterPorts<V> {
  readonly name: string;
  readonly policy: Exclude<WritePolicy, 'aside'>;
  readonly sink: Sink<V>;
  /** Of policy `behind`. */
  readonly behind: Behind | null;
  readonly store: CacheStore;
  readonly timeoutMs: number;
  readonly readTimeoutMs: number;
  readonly loadTimeoutMs: number;
  keyOf(id: string): string;
  /** Encodes, checks and packs; null = absent. @throws BreakwaterError */
  pack(id: string, value: V | null): Promise<PackedValue>;
  guarded<T>(call: (signal: AbortSignal) => Promise<T>, timeoutMs: number): Promise<T>;
  /** Notes that the rows of these keys are about to change; what takes the notes away. */
  intend(keys: readonly string[]): Promise<() => void>;
  /** This process's own copies of `id` go. */
  forget(id: string): void;
  /** Invalidates; rejects as `delete` does. */
  invalidate(ids: readonly string[], settle: () => void): Promise<void>;
  /** What to reject with when the update failed, and the invalidation too. */
  bothFailed(ids: readonly string[], update: unknown, invalidation: unknown): unknown;
}

export class Writer<V> {
  readonly #ports: WriterPorts<V>;

  constructor(ports: WriterPorts<V>) {
    this.#ports = ports;
  }

  /** @throws BreakwaterError */
  async write(changes: ReadonlyMap<string, V | null>): Promise<Map<string, WriteReceipt>> {
    for (const [id, value] of changes) {
      const key = this.#ports.keyOf(id);
      if (value === undefined) {
        throw invalid(`the value of ${key}`, 'a value, or null to delete the row', value);
      }
      if (typeof value === 'function') {
        throw new BreakwaterError(
          'CACHE_OPTION_INVALID',
          `cannot write ${key} with others: a function is for write(id, fn) alone`,
        );
      }
      if (value !== null) this.#ports.sink.ordered?.accept?.(id, value);
    }
    return this.#ports.behind === null ? await this.#through(changes) : await this.#behind(this.#ports.behind, changes);
  }

  async #behind(behind: Behind, changes: ReadonlyMap<string, V | null>): Promise<Map<string, WriteReceipt>> {
    const { keyOf, pack } = this.#ports;
    const ready: { readonly id: string; readonly clone: Uint8Array; readonly packed: Uint8Array }[] = [];
    for (const [id, value] of changes) {
      const { bytes } = await pack(id, value);
      ready.push({ id, clone: cloneOf(value, keyOf(id)), packed: bytes });
    }
    const written = await Promise.allSettled(ready.map(({ id, clone, packed }) => behind.write(id, clone, packed)));
    const receipts = new Map<string, WriteReceipt>();
    written.forEach((one, index) => {
      if (one.status === 'rejected') throw one.reason;
      receipts.set(ready[index]!.id, { version: one.value });
    });
    return receipts;
  }

  async #through(changes: ReadonlyMap<string, V | null>): Promise<Map<string, WriteReceipt>> {
    const { sink, loadTimeoutMs, guarded, intend, invalidate, bothFailed, keyOf, pack } = this.#ports;
    const ids = [...changes.keys()];
    for (const [id, value] of changes) await pack(id, value);
    const settle = await intend(ids.map(keyOf));
    const leases = await this.#leases(ids);
    let rows: ReadonlyMap<string, V | null> | null;
    try {
      rows = await guardedWrite(guarded, (signal) => writeRows(sink, changes, signal), loadTimeoutMs);
    } catch (error) {
      // The database may have taken the change before it failed.
      await invalidate(ids, settle).catch((doubt: unknown) => {
        throw bothFailed(ids, error, doubt);
      });
      throw error;
    }
    const filled = rows === null ? new Set<string>() : await this.#fill(leases, rows);
    const rest = ids.filter((id) => !filled.has(id));
    if (rest.length === 0) settle();
    else await invalidate(rest, settle);
    return new Map(ids.map((id) => [id, { version: null }]));
  }

  async #leases(ids: readonly string[]): Promise<ReadonlyMap<string, string>> {
    const { store, sink, readTimeoutMs, loadTimeoutMs, keyOf } = this.#ports;
    const leases = new Map<string, string>();
    if (store.takesLeasedWrites !== true || sink.write === undefined) return leases;
    // A store that is away holds up nothing: without a lease the key is invalidated.
    const call = { timeoutMs: readTimeoutMs, leaseMs: loadTimeoutMs };
    const found = await store.lease(ids.map(keyOf), call).catch(() => []);
    found.forEach((lease, index) => {
      if (lease !== null) leases.set(ids[index]!, lease);
    });
    return leases;
  }

  /** The ids whose rows the store has now. */
  async #fill(leases: ReadonlyMap<string, string>, rows: ReadonlyMap<string, V | null>): Promise<Set<string>> {
    const { store, timeoutMs, keyOf, pack, forget } = this.#ports;
    const entries = new Map<string, FillEntry>();
    for (const [id, lease] of leases) {
      const row = rows.get(id);
      // Absences are for loads to say: they have a TTL of their own, which may be 0.
      if (row === undefined || row === null) continue;
      const packed = await pack(id, row).catch(() => null);
      if (packed === null) continue;
      entries.set(id, { key: keyOf(id), value: packed.bytes, lease, ttlMs: packed.ttlMs, tags: packed.tags });
    }
    const ids = [...entries.keys()];
    if (ids.length === 0) return new Set();
    // Nobody joins a load of before, and nothing that was read before the fill is kept.
    for (const id of ids) forget(id);
    const stored = await store.fill([...entries.values()], { timeoutMs, isWrite: true }).catch(() => []);
    for (const id of ids) forget(id);
    return new Set(ids.filter((_, index) => stored[index] === true));
  }
}

/** The rows as the database has them, or null: it does not say. */
async function writeRows<V>(
  sink: Sink<V>,
  changes: ReadonlyMap<string, V | null>,
  signal: AbortSignal,
): Promise<ReadonlyMap<string, V | null> | null> {
  if (sink.write !== undefined) return await sink.write(changes, { signal });
  const rows = new Map<string, V>();
  const gone: string[] = [];
  for (const [id, value] of changes) {
    if (value === null) gone.push(id);
    else rows.set(id, value);
  }
  if (rows.size > 0) await sink.upsert(rows, { signal });
  if (gone.length > 0) await sink.delete(gone, { signal });
  return null;
}
