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
 *   a set with a source version     `judgeSource`, then as a write; `source-versions.ts` says what the answers mean
 */
import { Generations } from './generations.ts';
import { DEFAULT_LEASE_MS, HELD, type LeaseOptions, Leases } from './leases.ts';
import { keyHash, namespaceHash, namespaceOfKey, tagHash } from './names.ts';
import {
  AGAIN,
  compareSource,
  OLDER,
  SAME,
  type SourceVerdict,
  SourceVersions,
  STORE,
  UNSURE,
} from './source-versions.ts';

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
  peek(key: Uint8Array, start: number, length: number, nowMs: number): number;
  reap(key: Uint8Array, start: number, length: number, nowMs: number): boolean;
  readSource(ref: number, into: { high: number; low: number }): boolean;
  onSourceGone(listener: (ref: number, cause: string, nowMs: number) => void): void;
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
  /** Keys whose versioned entry left that are remembered, a power of two. Default 65,536, or as many as tags where they are fewer. */
  readonly sourceCapacity?: number;
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
  readonly sources: SourceVersions;
  /** null: nobody follows, and an invalidation costs one comparison more. */
  listener: InvalidationListener | null = null;
  /** In a cluster: tokens of this key that were granted before this number are of an earlier reign, and void. null: tokens outlive nothing but their table. */
  fillFloor: ((key: Uint8Array, start: number, length: number) => number) | null = null;
  readonly #store: VersionedStore;
  /** Where a key is copied to find its namespace; grows to the longest key met. */
  #key = new Uint8Array(512);
  readonly #source = { high: 0, low: 0 };

  /** Becomes the store's liveness check. */
  constructor(store: VersionedStore, options: FreshnessOptions) {
    this.#store = store;
    this.leases = new Leases(options);
    this.tags = new Generations(options.generationCapacity ?? TAG_CAPACITY);
    this.namespaces = new Generations(
      options.namespaceCapacity ?? Math.min(NAMESPACE_CAPACITY, options.generationCapacity ?? TAG_CAPACITY),
    );
    this.sources = new SourceVersions(
      options.sourceCapacity ?? Math.min(TAG_CAPACITY, options.generationCapacity ?? TAG_CAPACITY),
    );
    store.setLiveness((ref) => this.isDead(ref));
    store.onSourceGone((ref, cause, nowMs) => this.#sourceGone(ref, cause, nowMs));
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
    if (leases.live !== 0 && this.fillFloor !== null) {
      const version = leases.newestVersionOf(key, start, length);
      if (version >= 0 && version < this.fillFloor(key, start, length)) leases.voidKey(key, start, length);
    }
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
    let allowed = version >= 0 && (this.fillFloor === null || version >= this.fillFloor(key, start, length));
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

  /**
   * May a write that carries this source version be stored? STORE: go on as with any write (`voidKey`, then the store). SAME, OLDER: do
   * nothing. UNSURE: delete the key instead, with `voidKey`. O(1).
   */
  judgeSource(key: Uint8Array, start: number, length: number, high: number, low: number, nowMs: number): SourceVerdict {
    const verdict = this.#judgeSource(key, start, length, high, low, nowMs);
    this.sources.verdicts[verdict] = this.sources.verdicts[verdict]! + 1;
    return verdict;
  }

  #judgeSource(
    key: Uint8Array,
    start: number,
    length: number,
    high: number,
    low: number,
    nowMs: number,
  ): SourceVerdict {
    const ref = this.#store.peek(key, start, length, nowMs);
    if (ref === 0) {
      // What has expired or is dead may still lie there: out with it, so that its version is remembered.
      this.#store.reap(key, start, length, nowMs);
    } else if (this.#store.readSource(ref, this.#source)) {
      const order = compareSource(high, low, this.#source.high, this.#source.low);
      return order > 0 ? STORE : order === 0 ? SAME : OLDER;
    }
    const namespace = namespaceOfKey(key, start, length);
    const verdict = this.sources.judge(keyHash(key, start, length), namespace, high, low, ref !== 0, nowMs);
    if (verdict !== AGAIN) return verdict as SourceVerdict;
    const { leftAt, leftTagged } = this.sources;
    return (leftTagged && this.tags.newest > leftAt) || this.namespaces.invalidatedAfter(namespace, leftAt)
      ? UNSURE
      : STORE;
  }

  /** A write with this source version was good and found no room: an older one must not come after it. */
  sourceLost(key: Uint8Array, start: number, length: number, high: number, low: number, nowMs: number): void {
    this.sources.note(
      keyHash(key, start, length),
      namespaceOfKey(key, start, length),
      high,
      low,
      false,
      true,
      this.#newest,
      nowMs,
    );
  }

  /** The holder will not fill: the next caller is granted at once. Nothing is invalidated. Whether the token was good. */
  release(key: Uint8Array, start: number, length: number, epoch: number, counter: number): boolean {
    return this.leases.release(key, start, length, epoch, counter);
  }

  /** The fill was stored. */
  filled(key: Uint8Array, start: number, length: number): void {
    if (this.sources.size !== 0) this.sources.changed(keyHash(key, start, length));
    this.leases.filled(key, start, length);
  }

  /**
   * `key` was written, deleted or invalidated. A few comparisons while no lease is out and no versioned entry has left.
   * @param versioned the write carries a source version that `judgeSource` let in
   */
  voidKey(key: Uint8Array, start: number, length: number, versioned = false): void {
    if (this.sources.size !== 0 && !versioned) this.sources.changed(keyHash(key, start, length));
    if (this.leases.live !== 0) this.leases.voidKey(key, start, length);
    if (this.listener !== null) this.listener.key(key, start, length);
  }

  /** The store was cleared. */
  voidAll(): void {
    if (this.leases.live !== 0) this.leases.voidAll();
    if (this.listener !== null) this.listener.clear();
  }

  /**
   * After a bug, when the tables cannot be trusted: every token is void, everything stored so far is dead, followers are told so. The caller clears
   * the store. O(capacity).
   */
  reset(): void {
    this.leases.voidAll();
    this.tags.invalidateAll(this.#store.nextVersion());
    this.namespaces.invalidateAll(this.#store.nextVersion());
    this.sources.reset();
    this.#store.invalidationFloor = this.namespaces.newest;
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

  /** A copy does what the owner did: as `invalidateTag`, by the hash. Nobody is told: followers hear of it from the owner. */
  copyTag(hash: number): void {
    this.#invalidate(this.tags, hash);
  }

  copyNamespace(hash: number): void {
    this.#invalidate(this.namespaces, hash);
  }

  /** Checks both tables and the leases. */
  invariants(): void {
    this.leases.invariants();
    this.tags.invariants();
    this.namespaces.invariants();
    this.sources.invariants();
  }

  /** Bytes of all tables. */
  get sizeBytes(): number {
    return this.leases.sizeBytes + this.tags.sizeBytes + this.namespaces.sizeBytes + this.sources.sizeBytes;
  }

  /** The number of the last invalidation. */
  get #newest(): number {
    return Math.max(this.tags.newest, this.namespaces.newest);
  }

  #sourceGone(ref: number, cause: string, nowMs: number): void {
    const store = this.#store;
    if (!store.readSource(ref, this.#source)) return;
    const { high, low } = this.#source;
    const length = store.keyLength(ref);
    if (length > this.#key.length) this.#key = new Uint8Array(MAX_KEY_BYTES);
    store.copyKey(ref, this.#key, 0);
    // Whatever took it away in the end, what was invalidated before that may not come back.
    const changed = (cause !== 'evict' && cause !== 'expire') || this.isDead(ref);
    const hash = keyHash(this.#key, 0, length);
    this.sources.note(
      hash,
      namespaceOfKey(this.#key, 0, length),
      high,
      low,
      changed,
      store.tagCount(ref) !== 0,
      this.#newest,
      nowMs,
    );
  }

  #invalidate(generations: Generations, hash: number): void {
    const number = this.#store.nextVersion();
    generations.invalidate(hash, number);
    // Only now: the check must already know what the floor makes the engine ask.
    this.#store.invalidationFloor = number;
  }
}

export { HELD, OLDER, SAME, STORE, UNSURE };
