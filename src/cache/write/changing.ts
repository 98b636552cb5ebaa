/**
 * What a cache does when the truth changes: the order in which the source, the store and this process are told, so that nothing old is left behind.
 *
 *     write   the source, then the store, and this process both before and behind the store
 *     delete  the same without a source
 *     set     a value that the caller vouches for, under the source's version where it has one
 *
 * Why this process twice: see voids.ts. Reading is in cache.ts, which asks nothing of this but to be told what to forget.
 */
import { BreakwaterError } from '../../base/errors.ts';
import { jitteredTtlMs } from '../../freshness/jitter.ts';
import type { SetOutcome, StoreOutbox } from '../../stores/store.ts';
import { notBegun, setError, unacknowledged, writeError } from '../acknowledged.ts';
import { checkNames, duration, invalid } from '../checks.ts';
import { chunkTtlMs, type Packing } from '../codec/packing.ts';
import { FREEZE_VALUES } from '../codec.ts';
import type { Counters } from '../counters.ts';
import { type Entry, keptMs } from '../entry.ts';
import type { KnownKeys } from '../filter/known-keys.ts';
import { invalidValue } from '../loads.ts';
import { invalidating, setting } from '../observe/acknowledged.ts';
import type { Settings } from '../options.ts';
import type { Check } from '../schema.ts';
import { newToken } from '../session.ts';
import type { Shared, WriteUnderWay } from '../shared.ts';
import type { Source } from '../source.ts';
import { parseSourceVersion } from '../source-version.ts';
import type { SetOptions, Written } from '../types.ts';
import { hashTags } from '../voids.ts';
import type { Behind } from './behind.ts';
import type { Declared } from './declared.ts';
import { openWriter, type WritingParts } from './open.ts';
import type { PackedValue, WriteReceipt, Writer } from './writer.ts';

/** What the cache gives. */
export interface ChangingParts<K extends string, V, A> {
  readonly name: string;
  /** The cache's name and a colon. */
  readonly prefix: string;
  /** Hash of the namespace. */
  readonly namespace: number;
  readonly declared: Declared<K, V>;
  readonly settings: Settings;
  readonly shared: Shared;
  readonly source: Source;
  readonly packing: Packing;
  readonly check: Check;
  readonly known: KnownKeys | null;
  readonly counters: Counters;
  tagsOf(value: A, id: K): readonly string[];
  /** The full key. @throws BreakwaterError `CACHE_KEY_INVALID`, `CACHE_CLOSED` */
  keyOf(id: K): string;
  /** @throws BreakwaterError `CACHE_KEY_INVALID` of an id that nothing is to be stored under */
  checkId(id: K): void;
  /** @throws BreakwaterError `CACHE_CLOSED` */
  refuseClosed(): void;
  /** Out of L1, and whatever is on its way is not kept. */
  forget(id: K): void;
  /** Into L1, unless something crossed it since `stamp`. */
  keep(id: K, entry: Entry<A>, stamp: number, atMs: number): void;
}

const SET_OPTIONS = ['ttl', 'version'] as const;
const NO_TAGS: readonly string[] = Object.freeze([]);

export class Changing<K extends string, V, A> {
  /** Whose source is being changed, or whose invalidation is not acknowledged yet. */
  readonly writes = new Set<WriteUnderWay>();
  /** null: policy `aside`, or `through`. */
  readonly behind: Behind | null;
  /** null: policy `aside`. */
  readonly #writer: Writer<V> | null;
  readonly #parts: ChangingParts<K, V, A>;
  readonly #shared: Shared;

  constructor(parts: ChangingParts<K, V, A>) {
    this.#parts = parts;
    this.#shared = parts.shared;
    const { writer, behind } = openWriter(parts.declared, this.#writing());
    this.#writer = writer;
    this.behind = behind;
  }

  async set(id: K, value: V, options: SetOptions = {}): Promise<boolean> {
    const key = this.#parts.keyOf(id);
    this.#parts.checkId(id);
    checkNames(options, SET_OPTIONS, 'set');
    if (this.behind !== null) throw noSet(key);
    const { store, voids, ports, writeTimeoutMs } = this.#shared;
    const packing = this.#parts.packing;
    const encoded = packing.codec.encode(value, key);
    const shared = encoded.value as A;
    if (shared === null) throw absentValue(key);
    if (FREEZE_VALUES) packing.codec.freeze(shared);
    const wrong = this.#parts.check(shared);
    if (wrong !== null) throw invalidValue(key, wrong);
    const meanMs = options.ttl === undefined ? this.#parts.settings.ttlMs : duration(options.ttl, 'ttl', 'set', 1);
    const ttlMs = jitteredTtlMs(meanMs, this.#parts.settings.jitter, ports.random.nextFloat());
    const lifetime = { ttlMs, graceMs: this.#parts.settings.graceMs, loadMs: 0 };
    const tags = this.#parts.tagsOf(shared, id);
    const version = options.version === undefined ? {} : { version: parseSourceVersion(options.version, `set ${key}`) };
    this.#parts.counters.sets += 1;
    this.#parts.forget(id);
    const { stamp } = voids;
    const nowMs = ports.clock.now();
    let outcome: SetOutcome;
    try {
      const packed = packing.pack(key, encoded.plain, lifetime, tags, nowMs);
      const call = { timeoutMs: writeTimeoutMs };
      // Nothing is awaited before the store is told, where it need not be: calls take effect in their order.
      const parcel = packed instanceof Promise ? await packed : packed;
      try {
        for (const chunk of parcel.chunks) {
          await store.set(chunk.key, chunk.bytes, { ttlMs: chunkTtlMs(lifetime), tags }, call);
        }
      } catch (error) {
        // The caller has said that what the key had is replaced.
        await store.delete([key], call).catch(() => 0);
        throw error;
      }
      const isLate = packed instanceof Promise || parcel.chunks.length > 0;
      // Another write or an invalidation of this process came meanwhile: it is as if it had come behind this one. (Versions are put in order by the store.)
      if (isLate && options.version === undefined && voids.crossed(stamp, key, this.#parts.namespace, hashTags(tags))) {
        await store.delete([key], call);
        outcome = 'stored';
      } else {
        const write = { ttlMs: keptMs(lifetime), tags, ...version };
        outcome = await setting(this.#shared, this.#parts.name, key, () => store.set(key, parcel.bytes, write, call));
      }
    } catch (error) {
      this.#parts.forget(id);
      throw setError(key, error);
    }
    // Before our own second void: whether another write or an invalidation came between.
    const isCrossed = voids.crossed(stamp, key, this.#parts.namespace, hashTags(tags));
    this.#parts.forget(id);
    if (outcome !== 'stored') {
      if (outcome !== 'same') this.#parts.counters.setsOutdated += 1;
      // What is in the store is not known from here, so L1 gets nothing.
      return outcome === 'same';
    }
    if (!isCrossed && store.feed?.tellsOfReadsOnly !== true) {
      const entry = { value: shared, tags, ageMs: 0, ...lifetime, version: null, encodedBytes: encoded.plain.length };
      this.#parts.keep(id, entry, voids.stamp, nowMs);
    }
    return true;
  }

  async delete(id: K): Promise<boolean> {
    const key = this.#parts.keyOf(id);
    this.#parts.counters.deletes += 1;
    return this.#invalidate(id, key);
  }

  async write(id: K, update: unknown): Promise<Written<unknown>> {
    const key = this.#parts.keyOf(id);
    if (typeof update !== 'function') {
      if (this.#writer === null) throw invalid(`write of ${key}`, 'a function that changes the source', update);
      const { result, token } = await this.writeMany(new Map([[id, update as V | null]]));
      return { result: result.get(id)!, token };
    }
    return await this.#underWay([key], () => this.#change(id, key, update as () => unknown));
  }

  async writeMany(changes: ReadonlyMap<K, V | null>): Promise<Written<ReadonlyMap<K, WriteReceipt>>> {
    this.#parts.refuseClosed();
    if (this.#writer === null) {
      throw new BreakwaterError(
        'CACHE_OPTION_INVALID',
        `cannot write values to cache "${this.#parts.name}" under policy "aside": declare policy 'through' or 'behind', or use write(id, fn)`,
      );
    }
    if (Object.prototype.toString.call(changes) !== '[object Map]') {
      throw invalid(`the values of writeMany of cache "${this.#parts.name}"`, 'a Map of ids and values', changes);
    }
    const writer = this.#writer;
    const copy: ReadonlyMap<K, V | null> = new Map(changes);
    const keys = Array.from(copy.keys(), (id) => this.#parts.keyOf(id));
    for (const id of copy.keys()) this.#parts.checkId(id);
    return await this.#underWay(keys, async () => {
      const result = (await writer.write(copy)) as ReadonlyMap<string, WriteReceipt> as never;
      return { result, token: newToken(this.#shared.sessionId, this.#shared.voids.stamp) };
    });
  }

  async #underWay<T>(keys: readonly string[], work: () => Promise<T>): Promise<T> {
    this.#parts.counters.writes += keys.length;
    const done = work();
    const writes = keys.map((key) => ({ key, done }));
    for (const write of writes) this.writes.add(write);
    try {
      return await done;
    } finally {
      for (const write of writes) this.writes.delete(write);
    }
  }

  async #change<T>(id: K, key: string, update: () => T | Promise<T>): Promise<Written<T>> {
    // Before the row can be committed, so that nobody is told that it does not exist.
    this.#parts.known?.add(id);
    // What was queued before is the earlier change.
    await this.behind?.settled(id);
    const { outbox } = this.#shared.store;
    const settle = outbox?.isDurable === true ? await this.#intend(outbox, [key]) : undefined;
    let result: T;
    try {
      result = await update();
    } catch (error) {
      // The source may have taken the change before it failed.
      await this.#invalidate(id, key, settle).catch((doubt: unknown) => {
        throw writeError(key, error, doubt);
      });
      throw error;
    }
    await this.#invalidate(id, key, settle);
    return { result, token: newToken(this.#shared.sessionId, this.#shared.voids.stamp) };
  }

  /** The word that is found on disk if this process ends before the change is invalidated. */
  async #intend(outbox: StoreOutbox, keys: readonly string[]): Promise<() => void> {
    try {
      return await outbox.intend(keys, { timeoutMs: this.#shared.writeTimeoutMs });
    } catch (error) {
      throw notBegun(keys.join(', '), error);
    }
  }

  /** @param settle told when the invalidation is acknowledged, or in the outbox */
  async #invalidate(id: K, key: string, settle?: () => void): Promise<boolean> {
    return (await this.#invalidateAll([id], [key], settle)) > 0;
  }

  async #invalidateAll(ids: readonly K[], keys: readonly string[], settle?: () => void): Promise<number> {
    const { store, writeTimeoutMs } = this.#shared;
    // 1. Nobody who asks from now on joins a load that began earlier; what L1 has goes.
    for (const id of ids) this.#parts.forget(id);
    const said = keys.length === 1 ? `delete ${keys[0]}` : `delete ${keys.length} keys (${keys[0]}, ...)`;
    try {
      // 2. The store drops the entries and voids the leases of loads under way, anywhere.
      const what = { cache: this.#parts.name, what: said, keys };
      const deleted = await invalidating(this.#shared, what, () => store.delete(keys, { timeoutMs: writeTimeoutMs }));
      settle?.();
      return deleted;
    } catch (error) {
      const doubt = unacknowledged('CACHE_INVALIDATION_UNACKNOWLEDGED', said, error);
      if (doubt.queued) settle?.();
      throw doubt;
    } finally {
      // 3. What was read from the store between 1 and 2 may be old: it is not kept, and nobody joins it.
      for (const id of ids) this.#parts.forget(id);
    }
  }

  /** What the writer does with this cache. */
  #writing(): WritingParts<V> {
    const { store, ports, watch } = this.#shared;
    const ids = (given: readonly string[]): readonly K[] => given as readonly K[];
    const keysOf = (given: readonly string[]): string[] => given.map((id) => this.#parts.prefix + id);
    return {
      name: this.#parts.name,
      store,
      ports,
      timeoutMs: this.#shared.writeTimeoutMs,
      readTimeoutMs: this.#shared.readTimeoutMs,
      loadTimeoutMs: this.#parts.settings.loadTimeoutMs,
      keyOf: (id) => this.#parts.keyOf(id as K),
      pack: (id, value) => this.#packed(id as K, value),
      unpack: async (id, hit) => {
        const entry = await this.#parts.packing.open<A>(this.#parts.prefix + id, hit, 0, async () => []);
        return 'unreadable' in entry ? undefined : entry.value;
      },
      guarded: (call, timeoutMs) =>
        this.#parts.source.guard.run(({ signal }) => call(signal), {
          hardTimeoutMs: timeoutMs,
          deadlineMs: timeoutMs + this.#parts.source.queueTimeoutMs,
        }),
      intend: async (keys) => {
        const { outbox } = store;
        return outbox?.isDurable === true ? await this.#intend(outbox, keys) : () => undefined;
      },
      forget: (id) => this.#parts.forget(id as K),
      invalidate: async (given, settle) => void (await this.#invalidateAll(ids(given), keysOf(given), settle)),
      bothFailed: (given, update, invalidation) => writeError(keysOf(given).join(', '), update, invalidation),
      onDeadLetter: (letter) => {
        if (watch.hears('dead-letter')) {
          const { id, version, code, message } = letter;
          watch.tell('dead-letter', { cache: this.#parts.name, id, version, code, message });
        }
      },
      onDurability: (durability) => this.#shared.onQueueDurability(this.#parts.name, durability),
    };
  }

  /** A value, or null for an absence, as the store keeps it: as `set` makes it. */
  async #packed(id: K, value: V | null): Promise<PackedValue> {
    const key = this.#parts.prefix + id;
    const { ports } = this.#shared;
    const { settings, packing } = { settings: this.#parts.settings, packing: this.#parts.packing };
    const meanMs = value === null ? Math.max(1, settings.negativeTtlMs) : settings.ttlMs;
    const ttlMs = Math.max(1, jitteredTtlMs(meanMs, settings.jitter, ports.random.nextFloat()));
    const lifetime = { ttlMs, graceMs: value === null ? 0 : settings.graceMs, loadMs: 0 };
    let plain: string | Uint8Array | null = null;
    let tags = NO_TAGS;
    if (value !== null) {
      const encoded = packing.codec.encode(value, key);
      const shared = encoded.value as A;
      if (shared === null) throw absentValue(key);
      const wrong = this.#parts.check(shared);
      if (wrong !== null) throw invalidValue(key, wrong);
      tags = this.#parts.tagsOf(shared, id);
      plain = encoded.plain;
    }
    const { bytes, chunks } = await packing.pack(key, plain, lifetime, tags, ports.clock.now());
    if (chunks.length > 0) {
      throw new BreakwaterError(
        'STORE_TOO_LARGE',
        `cannot write ${key} by policy: its value is larger than one entry of the store; write it with write(id, fn)`,
      );
    }
    return { bytes, ttlMs: keptMs(lifetime), tags };
  }
}

function noSet(key: string): BreakwaterError {
  return new BreakwaterError(
    'CACHE_OPTION_INVALID',
    `cannot set ${key}: under policy "behind" a value that only the cache has would hide what is queued; use write`,
  );
}

function absentValue(key: string): BreakwaterError {
  return new BreakwaterError(
    'CACHE_VALUE_UNSERIALISABLE',
    `cannot cache ${key}: the value is null, which means "known absent"; delete the key and let the loader say so`,
  );
}
