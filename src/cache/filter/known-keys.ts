/**
 * Which keys exist at all: a filter in front of the source against *penetration*, the flood of requests for keys that do not exist. A
 * negative entry stops the second request for one absent key; a crawler or an attacker asks for each absent key once, and every one
 * is a query. The filter answers "certainly absent" from memory.
 *
 * The danger is the opposite error: a row that exists and is called absent is a wrong hit. Three rules keep it out:
 *
 *   1. Until a first build has gone through to its end, everything is "perhaps". A build that fails changes nothing.
 *   2. A key is added *before* its row is committed, by everyone who writes: `add` on `set` and `write`, and for every key
 *      that the invalidation feed names (a writer elsewhere invalidates what it inserts). Rows that are inserted behind the cache's back
 *      are unknown until the next build; who does that wants a change stream, or no filter.
 *   3. A build must not lose what is added meanwhile, nor what was added *before* it began and is committed after its scan passed by:
 *
 *          add(k) ... COMMIT is slow .......................... commit
 *                      | build begins, its snapshot has no k | build ends: k must still be known
 *
 *      So added keys are kept in *generations* of their own, apart from the built ones. A new generation begins with each build, and
 *      when a build has ended the two youngest are kept: a key stays known until a build that began one whole interval after
 *      it was added has ended. That covers every transaction which is shorter than the time from one build to the next.
 *
 *          builds        |----- 1 -----|         |----- 2 -----|         |----- 3 -----|
 *          generation  A |          B            |          C            |          D
 *          asked         all perhaps   | 1 A B   | 1 A B C     | 2 B C   | 2 B C D     | 3 C D
 *
 * Deleted keys stay "perhaps" until they are no longer built in: a load that finds nothing, no more. Build again now and then, at the
 * latest when `saturated`.
 *
 * Costs: about 14 bits a key at 1 % (10.5 would do for a filter that never grows and knows no generations); a lookup touches one cache
 * line in each layer, 0.1 to 0.2 microseconds; nothing is allocated.
 */
import { BreakwaterError } from '../../base/errors.ts';
import { GrowingFilter } from './growing-filter.ts';
import { KeyHash } from './key-hash.ts';

export interface KnownKeysOptions {
  /** How many keys there are, roughly; it grows past that. Default 100,000. */
  readonly expectedKeys?: number;
  /** Share of absent keys that may pass. Default 0.01. */
  readonly falsePositiveRate?: number;
  /** Most memory, a build under way not counted (it takes up to three quarters as much again). Default 64 MiB, about 19 million keys at 1 %. */
  readonly maxBytes?: number;
  /** Any 32-bit integer, best another in every process. */
  readonly seed: number;
}

/** How a build behaves towards the rest of the process. */
export interface BuildOptions {
  /** Stops the build; it rejects with the signal's reason and changes nothing. */
  readonly signal?: AbortSignal;
  /** Awaited every `keysPerTurn` keys, so that a long list does not block the event loop. Default: one turn of it. */
  readonly pause?: () => Promise<void>;
  /** Default 10,000 (about 2 ms). */
  readonly keysPerTurn?: number;
}

export interface KnownKeysStats {
  /** False until a first build went through: everything passes. */
  readonly ready: boolean;
  readonly building: boolean;
  readonly builds: number;
  /** Keys known, to within the rate of false positives. */
  readonly keys: number;
  readonly layers: number;
  readonly sizeBytes: number;
  /** There are more keys than memory for them: build again with more, or accept the rate. */
  readonly saturated: boolean;
  /** Of absent keys, the share that passes: what the bits say. */
  readonly falsePositiveRate: number;
  /** Answers "certainly absent". */
  readonly refused: number;
  /** Answers "perhaps". */
  readonly passed: number;
  /** Of those that passed, how many the source did not have (told by {@link KnownKeys.noteAbsent}). */
  readonly passedButAbsent: number;
  /** Of absent keys asked for, the share that passed, deleted ones included; null before anybody asked for one. */
  readonly observedFalsePositiveRate: number | null;
}

/** Half of the memory and of the rate is the built keys', a quarter each generation's. */
const BUILT_PART = 0.5;
const ADDED_PART = 0.25;
/** A generation begins small: what is added between two builds is a fraction of all. */
const ADDED_SHARE = 0.1;

export class KnownKeys {
  readonly #expectedKeys: number;
  readonly #falsePositiveRate: number;
  readonly #maxBytes: number;
  readonly #hash: KeyHash;
  /** What the last complete build found; null before there was one. */
  #built: GrowingFilter | null = null;
  /** Added keys, the youngest generation last. One to three of them. */
  readonly #generations: GrowingFilter[];
  /** Whether the youngest generation began with a build that has not succeeded: the next build needs no other. */
  #generationWaits = false;
  #building = false;
  #builds = 0;
  #refused = 0;
  #passed = 0;
  #passedButAbsent = 0;

  /** @throws BreakwaterError `FILTER_OPTION_INVALID` */
  constructor(options: KnownKeysOptions) {
    const { expectedKeys = 100_000, falsePositiveRate = 0.01, maxBytes = 64 * 1024 ** 2, seed } = options;
    check(expectedKeys >= 1, 'expectedKeys', 'at least 1', expectedKeys);
    check(
      falsePositiveRate >= 1e-6 && falsePositiveRate <= 0.5,
      'falsePositiveRate',
      'from 0.000001 to 0.5',
      falsePositiveRate,
    );
    check(maxBytes >= 1024, 'maxBytes', 'at least 1024', maxBytes);
    this.#expectedKeys = expectedKeys;
    this.#falsePositiveRate = falsePositiveRate;
    this.#maxBytes = maxBytes;
    this.#hash = new KeyHash(seed);
    this.#generations = [this.#newGeneration()];
  }

  /** Whether `key` may exist. False is certain. Counts. */
  mightContain(key: string): boolean {
    if (this.#built === null) {
      this.#passed += 1;
      return true;
    }
    this.#hash.take(key);
    const perhaps = this.#built.has(this.#hash) || this.#generations.some((filter) => filter.has(this.#hash));
    if (perhaps) this.#passed += 1;
    else this.#refused += 1;
    return perhaps;
  }

  /** Makes `key` known. Call it before the row is committed. O(1). */
  add(key: string): void {
    this.#hash.take(key);
    this.#generations[this.#generations.length - 1]!.add(this.#hash);
  }

  /** For measuring: the source had no row for a key that passed. */
  noteAbsent(): void {
    if (this.#built !== null) this.#passedButAbsent += 1;
  }

  /**
   * Reads all keys that exist and, when it has seen the last one, replaces what the build before found. Until then, and when `keys`
   * throws or `signal` aborts, nothing changes. Keys added meanwhile are kept.
   * @throws BreakwaterError `FILTER_BUILDING` when a build is under way
   */
  async build(keys: Iterable<string> | AsyncIterable<string>, options: BuildOptions = {}): Promise<void> {
    if (this.#building) {
      throw new BreakwaterError('FILTER_BUILDING', 'cannot build the filter of known keys: a build is under way');
    }
    const { signal, pause = nextTurn, keysPerTurn = 10_000 } = options;
    this.#building = true;
    if (!this.#generationWaits) this.#generations.push(this.#newGeneration());
    this.#generationWaits = true;
    try {
      this.#built = await this.#read(keys, signal, pause, keysPerTurn);
      this.#builds += 1;
      this.#generationWaits = false;
      if (this.#generations.length > 2) this.#generations.shift();
    } finally {
      this.#building = false;
    }
  }

  async #read(
    keys: Iterable<string> | AsyncIterable<string>,
    signal: AbortSignal | undefined,
    pause: () => Promise<void>,
    keysPerTurn: number,
  ): Promise<GrowingFilter> {
    const filter = new GrowingFilter(
      Math.max(this.#expectedKeys, this.#built?.keys ?? 0),
      this.#falsePositiveRate * BUILT_PART,
      this.#maxBytes * BUILT_PART,
    );
    let read = 0;
    for await (const key of keys) {
      signal?.throwIfAborted();
      this.#hash.take(key);
      filter.add(this.#hash);
      read += 1;
      if (read % keysPerTurn === 0) await pause();
    }
    signal?.throwIfAborted();
    return filter;
  }

  stats(): KnownKeysStats {
    const filters = this.#built === null ? this.#generations : [this.#built, ...this.#generations];
    const absent = this.#refused + this.#passedButAbsent;
    let allSayNo = 1;
    for (const filter of filters) allSayNo *= 1 - filter.falsePositiveRate();
    const sum = (read: (filter: GrowingFilter) => number): number =>
      filters.reduce((total, each) => total + read(each), 0);
    return {
      ready: this.#built !== null,
      building: this.#building,
      builds: this.#builds,
      keys: sum((filter) => filter.keys),
      layers: sum((filter) => filter.layers),
      sizeBytes: sum((filter) => filter.sizeBytes),
      saturated: filters.some((filter) => filter.saturated),
      falsePositiveRate: this.#built === null ? 1 : 1 - allSayNo,
      refused: this.#refused,
      passed: this.#passed,
      passedButAbsent: this.#passedButAbsent,
      observedFalsePositiveRate: absent === 0 ? null : this.#passedButAbsent / absent,
    };
  }

  #newGeneration(): GrowingFilter {
    return new GrowingFilter(
      Math.max(1, Math.ceil(this.#expectedKeys * ADDED_SHARE)),
      this.#falsePositiveRate * ADDED_PART,
      this.#maxBytes * ADDED_PART,
    );
  }
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

function check(holds: boolean, option: string, expected: string, received: number): void {
  if (holds) return;
  throw new BreakwaterError(
    'FILTER_OPTION_INVALID',
    `cannot make a filter of known keys: ${option} must be ${expected}, received ${received}`,
  );
}
