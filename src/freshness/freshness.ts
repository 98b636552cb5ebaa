/**
 * May this be served, may this be stored: the two questions that close staleness, answered in one place for the node's
 * commands and for the embedded store.
 *
 *   served   an entry is dead when a name of it (its namespace, its tags) was invalidated after it was stored
 *   stored   a leased fill is refused when its token was voided by a write of its key (`leases.ts`), or when a name of the
 *            entry was invalidated after the token was granted (`generations.ts`)
 *
 * Everything is compared by the member's own version numbers. No clock takes part: time only says for how long a caller waits
 * for another one's load.
 *
 * Who calls what:
 *   a write or delete of a key      `voidKey` (one comparison while no lease is out)
 *   a miss that wants to load       `grant`
 *   a fill                          `mayFill`, then the store's `set`, then `filled`
 *   an invalidated tag, namespace   `invalidateTag`, `invalidateNamespace`: O(1) whatever they cover
 *   a flush                         `voidAll`
 */
import { Generations } from './generations.ts';
import { DEFAULT_LEASE_MS, HELD, type LeaseOptions, Leases } from './leases.ts';
import { namespaceHash, namespaceOfKey, tagHash } from './names.ts';

/** What is needed of the engine (`engine/face.ts` has it); written out because `freshness/` does not depend on the engine. */
export interface VersionedStore {
  keyLength(ref: number): number;
  copyKey(ref: number, target: Uint8Array, targetStart: number): void;
  version(ref: number): number;
  tagCount(ref: number): number;
  tagHash(ref: number, index: number): number;
  nextVersion(): number;
  invalidationFloor: number;
  setLiveness(isDead: (ref: number) => boolean): void;
}

export interface FreshnessOptions extends LeaseOptions {
  /** Names whose last invalidation is remembered. Default 65,536. */
  readonly generationCapacity?: number;
}

/** Longest key that the engine accepts. */
const MAX_KEY_BYTES = 65_535;

export class Freshness {
  readonly leases: Leases;
  readonly generations: Generations;
  readonly #store: VersionedStore;
  /** Where a key is copied to find its namespace; grows to the longest key met. */
  #key = new Uint8Array(512);

  /** Becomes the store's liveness check. */
  constructor(store: VersionedStore, options: FreshnessOptions) {
    this.#store = store;
    this.leases = new Leases(options);
    this.generations = new Generations(options.generationCapacity);
    store.setLiveness((ref) => this.isDead(ref));
  }

  /** Was the entry stored before its namespace or one of its tags was invalidated? O(tags). */
  isDead(ref: number): boolean {
    const store = this.#store;
    const generations = this.generations;
    const version = store.version(ref);
    if (version >= generations.newest) return false;
    if (version < generations.floor) return true;
    const tags = store.tagCount(ref);
    for (let i = 0; i < tags; i += 1) if (generations.invalidatedAfter(store.tagHash(ref, i), version)) return true;
    const length = store.keyLength(ref);
    if (length > this.#key.length) this.#key = new Uint8Array(MAX_KEY_BYTES);
    store.copyKey(ref, this.#key, 0);
    return generations.invalidatedAfter(namespaceOfKey(this.#key, 0, length), version);
  }

  /** A miss asks to load: the token's counter, or HELD. The token's epoch is `leases.epoch`. */
  grant(key: Uint8Array, start: number, length: number, nowMs: number, durationMs = DEFAULT_LEASE_MS): number {
    const { leases, generations } = this;
    // The holder of a lease whose namespace was invalidated since loads in vain: nobody should wait for it.
    if (leases.live !== 0 && generations.newest !== 0) {
      const version = leases.newestVersionOf(key, start, length);
      if (version >= 0 && generations.invalidatedAfter(namespaceOfKey(key, start, length), version)) {
        leases.voidKey(key, start, length);
      }
    }
    // A number of its own, so that "invalidated after the grant" is a strict comparison.
    return leases.grant(key, start, length, this.#store.nextVersion(), nowMs, durationMs);
  }

  /**
   * May a value loaded under this token be stored under `key` with these tags? Counts a refusal. After a stored fill
   * call `filled`.
   * @param tags hashes by `tagHash`, `tags[0 .. tagCount)`
   */
  mayFill(
    key: Uint8Array,
    start: number,
    length: number,
    epoch: number,
    counter: number,
    tags: Float64Array,
    tagCount: number,
  ): boolean {
    const version = this.leases.versionOf(key, start, length, epoch, counter);
    let allowed = version >= 0;
    if (allowed && version < this.generations.newest) {
      allowed = !this.generations.invalidatedAfter(namespaceOfKey(key, start, length), version);
      for (let i = 0; allowed && i < tagCount; i += 1) {
        allowed = !this.generations.invalidatedAfter(tags[i]!, version);
      }
    }
    if (!allowed) this.leases.refused();
    return allowed;
  }

  /** The fill was stored. */
  filled(key: Uint8Array, start: number, length: number): void {
    this.leases.filled(key, start, length);
  }

  /** `key` was written, deleted or invalidated. One comparison while no lease is out. */
  voidKey(key: Uint8Array, start: number, length: number): void {
    if (this.leases.live !== 0) this.leases.voidKey(key, start, length);
  }

  /** The store was cleared. */
  voidAll(): void {
    if (this.leases.live !== 0) this.leases.voidAll();
  }

  /** Every entry stored under this tag so far is dead, and every load under way may not be stored under it. O(1). */
  invalidateTag(name: Uint8Array, start: number, length: number): void {
    this.#invalidate(tagHash(name, start, length));
  }

  /** As `invalidateTag`, for all keys that begin with `name` and `:` (the empty name: keys without `:`). O(1). */
  invalidateNamespace(name: Uint8Array, start: number, length: number): void {
    this.#invalidate(namespaceHash(name, start, length));
  }

  #invalidate(hash: number): void {
    this.generations.invalidate(hash, this.#store.nextVersion());
    // Only now: the check must already know what the floor makes the engine ask.
    this.#store.invalidationFloor = this.generations.newest;
  }
}

export { HELD };
