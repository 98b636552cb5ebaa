/**
 * The model: the face of the engine over a plain Map, memory unbounded, written to be obviously right and nothing else.
 * The property tests run the real Store beside it; tests of commands may run on it alone.
 */
import { assert } from '../../src/base/assert.ts';
import type { Random } from '../../src/base/random.ts';
import {
  MAX_TAGS,
  type SourceGoneCause,
  type SourceVersion,
  STORED,
  type StoreFace,
  type StoreOptions,
  type StoreStats,
  type TagList,
  TOO_LARGE,
} from '../../src/engine/face.ts';

interface ModelEntry {
  readonly ref: number;
  readonly name: string;
  readonly key: Uint8Array;
  readonly value: Uint8Array;
  readonly flags: number;
  readonly tags: readonly number[];
  readonly version: number;
  readonly source: SourceVersion | null;
  expiresAtMs: number;
}

export class MapStore implements StoreFace {
  invalidationFloor = 0;
  readonly #options: Partial<StoreOptions>;
  readonly #entries = new Map<string, ModelEntry>();
  readonly #refs = new Map<number, ModelEntry>();
  #isDead: (ref: number) => boolean = () => false;
  #sourceGone: (ref: number, cause: SourceGoneCause, nowMs: number) => void = () => {};
  #lastRef = 0;
  #lastVersion = 0;
  #counts = { hits: 0, misses: 0, stores: 0, deletions: 0, expirations: 0, invalidations: 0 };

  constructor(options: Partial<StoreOptions> = {}) {
    this.#options = options;
  }

  find(key: Uint8Array, start: number, length: number, nowMs: number): number {
    const entry = this.#entries.get(nameOf(key, start, length));
    if (entry !== undefined && this.#reapIfGone(entry, nowMs) === false) {
      this.#counts.hits += 1;
      return entry.ref;
    }
    this.#counts.misses += 1;
    return 0;
  }

  peek(key: Uint8Array, start: number, length: number, nowMs: number): number {
    const entry = this.#entries.get(nameOf(key, start, length));
    return entry !== undefined && this.#isLive(entry, nowMs) ? entry.ref : 0;
  }

  valueLength(ref: number): number {
    return this.#entry(ref).value.length;
  }

  keyLength(ref: number): number {
    return this.#entry(ref).key.length;
  }

  copyValue(ref: number, target: Uint8Array, targetStart: number): void {
    target.set(this.#entry(ref).value, targetStart);
  }

  copyValueRange(ref: number, from: number, to: number, target: Uint8Array, targetStart: number): void {
    const { value } = this.#entry(ref);
    assert(from >= 0 && from <= to && to <= value.length, 'the range lies within the value');
    target.set(value.subarray(from, to), targetStart);
  }

  copyKey(ref: number, target: Uint8Array, targetStart: number): void {
    target.set(this.#entry(ref).key, targetStart);
  }

  expiresAtMs(ref: number): number {
    return this.#entry(ref).expiresAtMs;
  }

  version(ref: number): number {
    return this.#entry(ref).version;
  }

  flags(ref: number): number {
    return this.#entry(ref).flags;
  }

  tagCount(ref: number): number {
    return this.#entry(ref).tags.length;
  }

  tagHash(ref: number, index: number): number {
    return this.#entry(ref).tags[index]!;
  }

  readSource(ref: number, into: { high: number; low: number }): boolean {
    const { source } = this.#entry(ref);
    if (source !== null) Object.assign(into, source);
    return source !== null;
  }

  onSourceGone(listener: (ref: number, cause: SourceGoneCause, nowMs: number) => void): void {
    this.#sourceGone = listener;
  }

  #tellSource(entry: ModelEntry, cause: SourceGoneCause, nowMs: number): void {
    if (entry.source !== null) this.#sourceGone(entry.ref, cause, nowMs);
  }

  set(
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
    if (keyLength > (this.#options.maxKeyBytes ?? 512)) return TOO_LARGE;
    if (valueLength > (this.#options.maxValueBytes ?? 8 * 1024 * 1024)) return TOO_LARGE;
    if (tags !== null && tags.count > MAX_TAGS) return TOO_LARGE;
    const name = nameOf(key, keyStart, keyLength);
    const old = this.#entries.get(name);
    if (old !== undefined) {
      if (source === null) this.#tellSource(old, 'replace', nowMs);
      this.#refs.delete(old.ref);
    }
    this.#lastRef += 1;
    const entry: ModelEntry = {
      ref: this.#lastRef,
      name,
      key: key.slice(keyStart, keyStart + keyLength),
      value: value.slice(valueStart, valueStart + valueLength),
      flags: flags & 0xff,
      tags: tags === null ? [] : [...tags.hashes.subarray(0, tags.count)],
      version: this.nextVersion(),
      source: source === null ? null : { high: source.high, low: source.low },
      expiresAtMs: Math.floor(expiresAtMs),
    };
    this.#entries.set(name, entry);
    this.#refs.set(entry.ref, entry);
    this.#counts.stores += 1;
    return STORED;
  }

  delete(key: Uint8Array, start: number, length: number, nowMs: number): boolean {
    const entry = this.#entries.get(nameOf(key, start, length));
    if (entry === undefined) return false;
    this.#tellSource(entry, 'delete', nowMs);
    if (this.#reapIfGone(entry, nowMs)) return false;
    this.#remove(entry);
    this.#counts.deletions += 1;
    return true;
  }

  reap(key: Uint8Array, start: number, length: number, nowMs: number): boolean {
    const entry = this.#entries.get(nameOf(key, start, length));
    return entry !== undefined && this.#reapIfGone(entry, nowMs);
  }

  setExpiry(ref: number, expiresAtMs: number): boolean {
    this.#entry(ref).expiresAtMs = Math.floor(expiresAtMs);
    return true;
  }

  clear(_nowMs: number): void {
    this.#entries.clear();
    this.#refs.clear();
  }

  scan(cursor: number, budgetBuckets: number, nowMs: number, visit: (ref: number) => void): number {
    // Refs grow with every write, so walking them upwards keeps the guarantee: what is present throughout is passed once.
    const refs = [...this.#refs.keys()].filter((ref) => ref > cursor);
    for (const ref of refs.slice(0, budgetBuckets * 7)) {
      if (this.#isLive(this.#entry(ref), nowMs)) visit(ref);
    }
    return refs.length > budgetBuckets * 7 ? refs[budgetBuckets * 7 - 1]! : 0;
  }

  randomRef(random: Random, nowMs: number): number {
    const live = [...this.#entries.values()].filter((entry) => this.#isLive(entry, nowMs));
    return live.length === 0 ? 0 : live[random.nextUint32() % live.length]!.ref;
  }

  get size(): number {
    return this.#entries.size;
  }

  tick(nowMs: number, _budgetEntries: number): number {
    for (const entry of this.#entries.values()) this.#reapIfGone(entry, nowMs);
    return 1000;
  }

  nextVersion(): number {
    this.#lastVersion += 1;
    return this.#lastVersion;
  }

  setLiveness(isDead: (ref: number) => boolean): void {
    this.#isDead = isDead;
  }

  get stats(): StoreStats {
    let liveBytes = 0;
    for (const { key, value } of this.#entries.values()) liveBytes += key.length + value.length;
    return {
      ...this.#counts,
      evictions: 0,
      refusals: 0,
      moves: 0,
      entries: this.#entries.size,
      memoryBytes: this.#options.memoryBytes ?? 0,
      usedBytes: liveBytes,
      logBytes: liveBytes,
      jumboBytes: 0,
      tableBytes: 0,
      overflowBytes: 0,
      sketchBytes: 0,
      fixedBytes: 0,
      liveBytes,
      segmentBytes: 0,
      segments: 0,
      freeSegments: 0,
    };
  }

  invariants(): void {
    assert(this.#refs.size === this.#entries.size, 'every entry has one ref');
    for (const entry of this.#entries.values()) assert(this.#refs.get(entry.ref) === entry, 'a ref names its entry');
  }

  #entry(ref: number): ModelEntry {
    const entry = this.#refs.get(ref);
    assert(entry !== undefined, 'a ref names a live entry');
    return entry;
  }

  #isLive(entry: ModelEntry, nowMs: number): boolean {
    if (entry.expiresAtMs !== 0 && entry.expiresAtMs <= Math.floor(nowMs)) return false;
    return !(entry.version < this.invalidationFloor && this.#isDead(entry.ref));
  }

  #reapIfGone(entry: ModelEntry, nowMs: number): boolean {
    if (this.#isLive(entry, nowMs)) return false;
    const expired = entry.expiresAtMs !== 0 && entry.expiresAtMs <= Math.floor(nowMs);
    this.#counts[expired ? 'expirations' : 'invalidations'] += 1;
    this.#tellSource(entry, expired ? 'expire' : 'invalidate', nowMs);
    this.#remove(entry);
    this.#options.onRemove?.(expired ? 'expire' : 'invalidate');
    return true;
  }

  #remove(entry: ModelEntry): void {
    this.#entries.delete(entry.name);
    this.#refs.delete(entry.ref);
  }
}

function nameOf(key: Uint8Array, start: number, length: number): string {
  let name = '';
  for (let at = start; at < start + length; at += 1) name += String.fromCharCode(key[at]!);
  return name;
}
