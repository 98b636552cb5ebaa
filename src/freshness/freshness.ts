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
 * Tags and namespaces have a table each, because the question is asked of every entry older than the last invalidation: an entry
 * without tags then costs one comparison however many tags were invalidated, and the hash of a key's namespace is computed only
 * where a namespace was invalidated after the entry was stored. It also keeps a flood of tags from raising the floor of the
 * entries that have none.
 *
 * Who calls what:
 *   a write or delete of a key      `voidKey` (one comparison while no lease is out)
 *   a miss that wants to load       `grant`
 *   a fill                          `mayFill`, then the store's `set`, then `filled`
 *   a load that will not fill       `release`
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

/** Who is told of every invalidation, after it is in force for fills and in the same step as it is for readers. */
export interface InvalidationListener {
  /** A key was written by other than a leased fill, or deleted; or its expiry was moved nearer. */
  key(bytes: Uint8Array, start: number, length: number): void;
  tag(bytes: Uint8Array, start: number, length: number): void;
  namespace(bytes: Uint8Array, start: number, length: number): void;
  /** Everything was cleared. */
  clear(): void;
}

export interface FreshnessOptions extends LeaseOptions {
  /** Tags whose last invalidation is remembered, a power of two. Default 65,536. */
  readonly generationCapacity?: number;
  /** Namespaces whose last invalidation is remembered, a power of two. Default 4,096, or as many as tags where they are fewer. */
  readonly namespaceCapacity?: number;
}

const TAG_CAPACITY = 65_536;
/** Namespaces are declared in code: there are dozens, not thousands. */
const NAMESPACE_CAPACITY = 4096;

/** Longest key that the engine accepts. */
const MAX_KEY_BYTES = 65_535;

export class Freshness {
  readonly leases: Leases;
  readonly tags: Generations;
  readonly namespaces: Generations;
  /** null: nobody follows, and an invalidation costs one comparison more. */
  listener: InvalidationListener | null = null;
  readonly #store: VersionedStore;
  /** Where a key is copied to find its namespace; grows to the longest key met. */
  #key = new Uint8Array(512);

  /** Becomes the store's liveness check. */
  constructor(store: VersionedStore, options: FreshnessOptions) {
    this.#store = store;
    this.leases = new Leases(options);
    this.tags = new Generations(options.generationCapacity ?? TAG_CAPACITY);
    this.namespaces = new Generations(
      options.namespaceCapacity ?? Math.min(NAMESPACE_CAPACITY, options.generationCapacity ?? TAG_CAPACITY),
    );
    store.setLiveness((ref) => this.isDead(ref));
  }

  /** Was the entry stored before its namespace or one of its tags was invalidated? O(tags). */
  isDead(ref: number): boolean {
    const store = this.#store;
    const { tags, namespaces } = this;
    const version = store.version(ref);
    if (version < tags.newest) {
      const count = store.tagCount(ref);
      for (let i = 0; i < count; i += 1) if (tags.invalidatedAfter(store.tagHash(ref, i), version)) return true;
    }
    if (version >= namespaces.newest) return false;
    const length = store.keyLength(ref);
    if (length > this.#key.length) this.#key = new Uint8Array(MAX_KEY_BYTES);
    store.copyKey(ref, this.#key, 0);
    return namespaces.invalidatedAfter(namespaceOfKey(this.#key, 0, length), version);
  }

  /** A miss asks to load: the token's counter, or HELD. The token's epoch is `leases.epoch`. `owner`: see `Leases.abandon`. */
  grant(
    key: Uint8Array,
    start: number,
    length: number,
    nowMs: number,
    durationMs = DEFAULT_LEASE_MS,
    owner = 0,
  ): number {
    const { leases, namespaces } = this;
    // The holder of a lease whose namespace was invalidated since loads in vain: nobody should wait for it.
    if (leases.live !== 0 && namespaces.newest !== 0) {
      const version = leases.newestVersionOf(key, start, length);
      if (version >= 0 && namespaces.invalidatedAfter(namespaceOfKey(key, start, length), version)) {
        leases.voidKey(key, start, length);
      }
    }
    // A number of its own, so that "invalidated after the grant" is a strict comparison.
    return leases.grant(key, start, length, this.#store.nextVersion(), nowMs, durationMs, owner);
  }

  /**
   * May a value loaded under this token be stored under `key` with these tags? A refusal is counted and ends the token. After a
   * stored fill call `filled`.
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
    if (allowed && version < this.namespaces.newest) {
      allowed = !this.namespaces.invalidatedAfter(namespaceOfKey(key, start, length), version);
    }
    if (version < this.tags.newest) {
      for (let i = 0; allowed && i < tagCount; i += 1) allowed = !this.tags.invalidatedAfter(tags[i]!, version);
    }
    if (!allowed) {
      this.leases.refused();
      // Its load was in vain: kept, the token would make every other caller wait for a fill that cannot come.
      this.leases.release(key, start, length, epoch, counter);
    }
    return allowed;
  }

  /** The holder will not fill: the next caller is granted at once. Nothing is invalidated. Whether the token was good. */
  release(key: Uint8Array, start: number, length: number, epoch: number, counter: number): boolean {
    return this.leases.release(key, start, length, epoch, counter);
  }

  /** The fill was stored. */
  filled(key: Uint8Array, start: number, length: number): void {
    this.leases.filled(key, start, length);
  }

  /** `key` was written, deleted or invalidated. One comparison while no lease is out. */
  voidKey(key: Uint8Array, start: number, length: number): void {
    if (this.leases.live !== 0) this.leases.voidKey(key, start, length);
    if (this.listener !== null) this.listener.key(key, start, length);
  }

  /** The store was cleared. */
  voidAll(): void {
    if (this.leases.live !== 0) this.leases.voidAll();
    if (this.listener !== null) this.listener.clear();
  }

  /** The expiry of `key` was moved nearer: who keeps a copy until the old one must hear. */
  shortened(key: Uint8Array, start: number, length: number): void {
    if (this.listener !== null) this.listener.key(key, start, length);
  }

  /** Every entry stored under this tag so far is dead, and every load under way may not be stored under it. O(1). */
  invalidateTag(name: Uint8Array, start: number, length: number): void {
    this.#invalidate(this.tags, tagHash(name, start, length));
    if (this.listener !== null) this.listener.tag(name, start, length);
  }

  /** As `invalidateTag`, for all keys that begin with `name` and `:` (the empty name: keys without `:`). O(1). */
  invalidateNamespace(name: Uint8Array, start: number, length: number): void {
    this.#invalidate(this.namespaces, namespaceHash(name, start, length));
    if (this.listener !== null) this.listener.namespace(name, start, length);
  }

  /** Checks both tables and the leases. */
  invariants(): void {
    this.leases.invariants();
    this.tags.invariants();
    this.namespaces.invariants();
  }

  /** Bytes of all tables. */
  get sizeBytes(): number {
    return this.leases.sizeBytes + this.tags.sizeBytes + this.namespaces.sizeBytes;
  }

  #invalidate(generations: Generations, hash: number): void {
    const number = this.#store.nextVersion();
    generations.invalidate(hash, number);
    // Only now: the check must already know what the floor makes the engine ask.
    this.#store.invalidationFloor = number;
  }
}

export { HELD };
