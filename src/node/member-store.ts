/**
 * The engine of a cluster's member: the same memory, and every change of it told to a journal. Reading is inherited untouched, so a GET costs what it costs on a single node.
 *
 * Why here and not in the commands: a write that forgot to tell would be a copy that is wrong for good, and there are forty commands but only four ways to change the memory. What the engine does by
 * itself is told too, by `onGone`: evictions, expiries, what died of an invalidation; because a copy that still has what its owner lost would serve it after the next "first" SET of that key.
 *
 * What a copy is told to do goes through `copy...`, which tells nobody.
 */
import { type SourceVersion, STORED, type StoreOptions, type TagList } from '../engine/face.ts';
import { Store } from '../engine/store.ts';

/** Told after each change. `range` is the key's. */
export interface Journal {
  /** `isFirst`: there was no record of the key, be it expired or dead. */
  stored(
    range: number,
    key: Uint8Array,
    keyStart: number,
    keyLength: number,
    value: Uint8Array,
    valueStart: number,
    valueLength: number,
    leftMs: number,
    tags: TagList | null,
    source: SourceVersion | null,
    isFirst: boolean,
  ): void;
  /** Whether or not it was there: copies may have it. */
  deleted(range: number, key: Uint8Array, start: number, length: number): void;
  /** `isNearer`: it ends sooner than before. */
  expiryMoved(range: number, key: Uint8Array, length: number, leftMs: number, isNearer: boolean): void;
  cleared(): void;
}

const LONGEST_KEY = 65_535;

export class MemberStore extends Store {
  /** null: nobody is told, as long as the member is being put together. */
  journal: Journal | null = null;
  readonly #rangeOf: (key: Uint8Array, start: number, length: number) => number;
  /** A change within a change is no second one. */
  #depth = 0;
  readonly #key: Uint8Array;

  constructor(options: StoreOptions, rangeOf: (key: Uint8Array, start: number, length: number) => number) {
    super(options);
    this.#rangeOf = rangeOf;
    this.#key = new Uint8Array(options.maxKeyBytes ?? LONGEST_KEY);
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
    const isTold = this.#depth === 0;
    const range = isTold ? this.#rangeOf(key, keyStart, keyLength) : 0;
    const isFirst = isTold && !this.holds(key, keyStart, keyLength);
    const result = super.set(
      key,
      keyStart,
      keyLength,
      value,
      valueStart,
      valueLength,
      expiresAtMs,
      nowMs,
      isTold ? range : flags,
      tags,
      source,
    );
    if (!isTold || result !== STORED) return result;
    const leftMs = leftOf(expiresAtMs, nowMs);
    this.journal?.stored(
      range,
      key,
      keyStart,
      keyLength,
      value,
      valueStart,
      valueLength,
      leftMs,
      tags,
      source,
      isFirst,
    );
    return result;
  }

  override delete(key: Uint8Array, start: number, length: number, nowMs: number): boolean {
    const wasThere = super.delete(key, start, length, nowMs);
    this.journal?.deleted(this.#rangeOf(key, start, length), key, start, length);
    return wasThere;
  }

  override setExpiry(ref: number, expiresAtMs: number): boolean {
    const { journal } = this;
    if (journal === null) return this.copyExpiry(ref, expiresAtMs);
    const before = this.expiresAtMs(ref);
    const length = this.keyLength(ref);
    this.copyKey(ref, this.#key, 0);
    if (!this.copyExpiry(ref, expiresAtMs)) return false;
    const isNearer = expiresAtMs !== 0 && (before === 0 || expiresAtMs < before);
    const leftMs = leftOf(expiresAtMs, this.nowMs);
    journal.expiryMoved(this.#rangeOf(this.#key, 0, length), this.#key, length, leftMs, isNearer);
    return true;
  }

  override clear(nowMs: number): void {
    super.clear(nowMs);
    this.journal?.cleared();
  }

  // -- what a copy is told

  /** Key and value lie in the same bytes. */
  copySet(
    body: Uint8Array,
    keyAt: number,
    keyLength: number,
    valueAt: number,
    valueLength: number,
    expiresAtMs: number,
    nowMs: number,
    range: number,
    tags: TagList | null,
    source: SourceVersion | null,
  ): number {
    return super.set(body, keyAt, keyLength, body, valueAt, valueLength, expiresAtMs, nowMs, range, tags, source);
  }

  copyDelete(key: Uint8Array, start: number, length: number, nowMs: number): void {
    super.delete(key, start, length, nowMs);
  }

  copyExpiry(ref: number, expiresAtMs: number): boolean {
    this.#depth += 1;
    const done = super.setExpiry(ref, expiresAtMs);
    this.#depth -= 1;
    return done;
  }

  // -- ranges

  /** The low 8 bits of the entry's range: kept where the engine has room for what its caller likes. */
  markOf(ref: number): number {
    return this.flags(ref);
  }
}

/** What is left until a moment: at least 1 ms, or 0 for never. */
function leftOf(expiresAtMs: number, nowMs: number): number {
  return expiresAtMs === 0 ? 0 : Math.max(1, Math.ceil(expiresAtMs - nowMs));
}
