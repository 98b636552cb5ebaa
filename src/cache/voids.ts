/**
 * What this process knows to have been invalidated, and when: the memory that lets a reader find out whether something
 * crossed it. A value that was read or loaded takes time to arrive; if its key was deleted on the way, it may be given to those
 * who asked before the delete, but it may not be kept.
 *
 *   1. `get` reads `user:42` from L2: the old value is on its way back.      stamp at the start: 7
 *   2. `delete('42')`: voids the key.                                        stamp 8
 *   3. The old value arrives. Its key was voided after 7: it is not put into L1.
 *
 * The delete voids twice, when it is called and when the store has acknowledged it. A read sent between the two may still
 * meet the old value; it began before the delete was acknowledged, so its caller may have it, and the second void keeps it out of L1.
 *
 * The stamps are a counter of this process. Keys, tags and namespaces are remembered by hash in bounded tables
 * (`freshness/generations.ts`): what was forgotten counts as crossed.
 */
import { Generations } from '../freshness/generations.ts';
import { namespaceHash, tagHash } from '../freshness/names.ts';

const CAPACITY = 4096;

const encoder = new TextEncoder();

export class Voids {
  /** Tags and namespaces. */
  readonly names: Generations;
  readonly #keys: Generations;
  /** Keys that changed in the store, perhaps only by a lease or a fill. */
  readonly #changed: Generations;
  #stamp = 0;
  /** The last void of a tag or namespace, or the last suspicion: an entry of a lower stamp is looked at. L1 reads it at every hit. */
  newest = 0;
  /** What came in before may have missed an invalidation: L2 is asked for its version before it is served. 0 = nothing is suspect. */
  suspectedAt = 0;
  /** The link to the store's node that stands and is followed; 0 = none. What is read over one link is of one run of the node. `coherence.ts` moves it. */
  link = 0;
  /** Until when what this process knows is all there is to know, by its clock: L1 is bypassed later. `coherence.ts` moves it. */
  goodUntilMs = Number.POSITIVE_INFINITY;
  /** Nobody tells what others invalidate: only what an L1's own ttl bounds may be kept. */
  isBoundByTtl = false;

  /** @param capacity names and keys remembered, a power of two */
  constructor(capacity = CAPACITY) {
    this.names = new Generations(capacity);
    this.#keys = new Generations(capacity);
    this.#changed = new Generations(capacity);
  }

  /** The number of the last void; what starts now is crossed by what comes later. */
  get stamp(): number {
    return this.#stamp;
  }

  voidKey(key: string): void {
    this.#stamp += 1;
    this.#keys.invalidate(hashTag(key), this.#stamp);
  }

  /** What was read of the key before may be out of date; whether it was invalidated nobody said. */
  changeKey(key: string): void {
    this.#stamp += 1;
    this.#changed.invalidate(hashTag(key), this.#stamp);
  }

  /** Has the key changed since `stamp`? True as well when that was forgotten. */
  changed(stamp: number, key: string): boolean {
    return stamp < this.#changed.newest && this.#changed.invalidatedAfter(hashTag(key), stamp);
  }

  voidTag(tag: string): void {
    this.#stamp += 1;
    this.names.invalidate(hashTag(tag), this.#stamp);
    this.newest = this.#stamp;
  }

  voidNamespace(name: string): void {
    this.#stamp += 1;
    this.names.invalidate(hashNamespace(name), this.#stamp);
    this.newest = this.#stamp;
  }

  /** Anything may have been invalidated. */
  voidAll(): void {
    this.#stamp += 1;
    this.names.invalidateAll(this.#stamp);
    this.newest = this.#stamp;
  }

  /** Something may have been missed: what is on its way is not kept, what is there is to be revalidated. */
  suspectAll(): void {
    this.#stamp += 1;
    this.suspectedAt = this.#stamp;
    this.newest = this.#stamp;
  }

  /** Was the key, its namespace or one of the tags voided after `stamp`? True as well when that was forgotten. */
  crossed(stamp: number, key: string, namespace: number, tags: readonly number[]): boolean {
    if (stamp === this.#stamp) return false;
    if (stamp < this.suspectedAt) return true;
    if (stamp < this.#keys.newest && this.#keys.invalidatedAfter(hashTag(key), stamp)) return true;
    return this.crossedNames(stamp, namespace, tags);
  }

  /** As {@link crossed} without the key. */
  crossedNames(stamp: number, namespace: number, tags: readonly number[]): boolean {
    if (stamp >= this.names.newest) return false;
    if (this.names.invalidatedAfter(namespace, stamp)) return true;
    for (const tag of tags) if (this.names.invalidatedAfter(tag, stamp)) return true;
    return false;
  }
}

const NO_TAGS: readonly number[] = Object.freeze([]);

export function hashTags(tags: readonly string[]): readonly number[] {
  return tags.length === 0 ? NO_TAGS : tags.map(hashTag);
}

export function hashNamespace(name: string): number {
  const bytes = encoder.encode(name);
  return namespaceHash(bytes, 0, bytes.length);
}

function hashTag(name: string): number {
  const bytes = encoder.encode(name);
  return tagHash(bytes, 0, bytes.length);
}
