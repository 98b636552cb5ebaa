/**
 * A database, a few processes with a cache in front of it, and a checker: the random mix that a store must survive without one wrong hit.
 *
 * Rows have a version that only grows. A writer changes rows and then tells the cache (a delete, a set, a tag, a namespace); when the store
 * has acknowledged, every read that *begins* later must bring at least that version or a miss. A reader that misses with a lease loads the row,
 * dawdles, and fills: loads are crossed by every kind of invalidation.
 *
 * An invalidation that was not acknowledged promises nothing, so it raises no bound.
 */
import assert from 'node:assert/strict';
import type { Random } from '../../src/base/random.ts';
import type { CacheStore } from '../../src/stores/store.ts';

const NAMESPACES = ['user', 'org', ''] as const;
const TAGS = 4;
const encoder = new TextEncoder();
const decoder = new TextDecoder();

interface Row {
  readonly key: string;
  readonly namespace: string;
  tags: readonly string[];
  version: number;
  /** The least that a read may bring that begins now. */
  bound: number;
  /** When its tags were changed last, and up to where the key itself was written with acknowledgement: before that an entry may have older tags. */
  tagsVersion: number;
  settled: number;
  /** Writes under way. A set is alone on its row: which of two that overlap wins is not for a cache to say. */
  writers: number;
  setting: Promise<void> | null;
}

export interface MixOptions {
  /** As many processes of the application. */
  readonly stores: readonly CacheStore[];
  readonly random: Random;
  /** Rows; few, so that everything collides. Default 12. */
  readonly rows?: number;
  /** Of each call. Default 10,000. */
  readonly timeoutMs?: number;
  /** Something that befalls the servers; called now and then, given the rows' keys. */
  readonly disturb?: (keys: readonly string[]) => Promise<void>;
  /** A delete of one key by a client that knows nothing of us. */
  readonly outsider?: (key: string) => Promise<unknown>;
  /** How often: one step in so many. Default 50. */
  readonly disturbEvery?: number;
}

export interface MixCounts {
  steps: number;
  hits: number;
  misses: number;
  loads: number;
  filled: number;
  refused: number;
  invalidations: number;
  notAcknowledged: number;
  failedReads: number;
  disturbances: number;
}

export class Mix {
  readonly counts: MixCounts = {
    steps: 0,
    hits: 0,
    misses: 0,
    loads: 0,
    filled: 0,
    refused: 0,
    invalidations: 0,
    notAcknowledged: 0,
    failedReads: 0,
    disturbances: 0,
  };
  /** Of each call; may be changed between two runs. */
  timeoutMs: number;
  readonly #options: MixOptions;
  readonly #rows: Row[];

  constructor(options: MixOptions) {
    this.#options = options;
    this.timeoutMs = options.timeoutMs ?? 10_000;
    this.#rows = Array.from({ length: options.rows ?? 12 }, (_, i) => {
      const namespace = NAMESPACES[i % NAMESPACES.length]!;
      return {
        key: namespace === '' ? `row-${i}` : `${namespace}:${i}`,
        namespace,
        tags: [],
        version: 1,
        bound: 0,
        tagsVersion: 0,
        settled: 0,
        writers: 0,
        setting: null,
      };
    });
    for (const row of this.#rows) row.tags = this.#someTags();
  }

  get keys(): string[] {
    return this.#rows.map(({ key }) => key);
  }

  /** `workers` at a time, until `steps` steps are done in all. @throws AssertionError at the first wrong hit */
  async run(steps: number, workers: number): Promise<void> {
    const end = this.counts.steps + steps;
    const work = async (store: CacheStore): Promise<void> => {
      while (this.counts.steps < end) {
        this.counts.steps += 1;
        await this.#step(store);
      }
    };
    const { stores } = this.#options;
    await Promise.all(Array.from({ length: workers }, (_, i) => work(stores[i % stores.length]!)));
  }

  /** Reads everything once through every store: nothing wrong was left behind. */
  async check(): Promise<void> {
    for (const store of this.#options.stores) await this.#read(store, this.#rows, false);
  }

  async #step(store: CacheStore): Promise<void> {
    const { disturb, disturbEvery = 50 } = this.#options;
    if (disturb !== undefined && this.#pick(disturbEvery) === 0) {
      this.counts.disturbances += 1;
      await disturb(this.keys);
    }
    const roll = this.#pick(100);
    if (roll < 70) {
      const rows = this.#pick(4) === 0 ? this.#rows.filter(() => this.#pick(3) === 0) : [this.#anyRow()];
      await this.#read(store, rows, true);
    } else if (roll < 80) {
      const { outsider } = this.#options;
      const isOutside = outsider !== undefined && this.#pick(3) === 0;
      const row = this.#anyRow();
      await this.#write(
        () => [row],
        'key',
        () => (isOutside ? outsider(row.key) : store.delete([row.key], this.#call())),
      );
    } else if (roll < 85) await this.#setRow(store, this.#anyRow());
    else if (roll < 94) {
      const tag = `tag-${this.#pick(TAGS)}`;
      const tagged = (): Row[] => this.#rows.filter(({ tags }) => tags.includes(tag));
      await this.#write(tagged, 'tag', () => store.invalidate({ tags: [tag] }, this.#call()));
    } else {
      const namespace = NAMESPACES[this.#pick(NAMESPACES.length)]!;
      const rows = this.#rows.filter((row) => row.namespace === namespace);
      await this.#write(
        () => rows,
        'key',
        () => store.invalidate({ namespaces: [namespace] }, this.#call()),
      );
    }
  }

  async #read(store: CacheStore, rows: readonly Row[], lease: boolean): Promise<void> {
    const bounds = rows.map(({ bound }) => bound);
    const keys = rows.map(({ key }) => key);
    const results = await store.read(keys, { ...this.#call(), lease, leaseMs: this.#leaseMs() }).catch(() => null);
    if (results === null) {
      this.counts.failedReads += 1;
      return;
    }
    const loads: Promise<void>[] = [];
    results.forEach((result, i) => {
      const row = rows[i]!;
      if (result.kind === 'miss') {
        this.counts.misses += 1;
        if (result.lease !== null) loads.push(this.#loadAndFill(store, row, result.lease));
        return;
      }
      this.counts.hits += 1;
      const version = Number(decoder.decode(result.value));
      assert.ok(
        version >= bounds[i]!,
        `wrong hit: ${row.key} has version ${version}, and ${bounds[i]} was acknowledged before the read (step ${this.counts.steps})`,
      );
    });
    // Some reload what is there, as an early refresh does.
    if (lease && this.#pick(20) === 0) loads.push(this.#refresh(store, rows[0] ?? this.#anyRow()));
    await Promise.all(loads);
  }

  async #refresh(store: CacheStore, row: Row): Promise<void> {
    const [lease] = await store.lease([row.key], { ...this.#call(), leaseMs: this.#leaseMs() }).catch(() => [null]);
    if (lease !== null && lease !== undefined) await this.#loadAndFill(store, row, lease);
  }

  async #loadAndFill(store: CacheStore, row: Row, lease: string): Promise<void> {
    this.counts.loads += 1;
    const value = encoder.encode(String(row.version)); // the query is answered now
    const { tags } = row;
    await this.#dawdle(); //                              its answer travels
    if (this.#pick(30) === 0) {
      await store.release([{ key: row.key, lease }], this.#call()).catch(ignore);
      return;
    }
    const entry = { key: row.key, value, ttlMs: this.#pick(10) === 0 ? null : 60_000, tags, lease };
    const [stored] = await store.fill([entry], this.#call()).catch(() => [false]);
    if (stored === true) this.counts.filled += 1;
    else this.counts.refused += 1;
  }

  /** Changes the rows that `choose` names in the database, tells the cache, and notes the bound when it was acknowledged. */
  async #write(choose: () => readonly Row[], by: 'key' | 'tag', tell: () => Promise<unknown>): Promise<void> {
    // Chosen anew after each wait: another row may be under way then, and a row that was set has other tags.
    let rows = choose();
    for (;;) {
      const busy = rows.find((row) => row.setting !== null);
      if (busy === undefined) break;
      await busy.setting;
      rows = choose();
    }
    const covered = rows.filter((row) => by === 'key' || row.settled >= row.tagsVersion);
    const versions = new Map<Row, number>();
    for (const row of rows) {
      row.version += 1;
      row.writers += 1;
      versions.set(row, row.version);
    }
    this.counts.invalidations += 1;
    try {
      await tell();
      for (const row of covered) {
        row.bound = Math.max(row.bound, versions.get(row)!);
        if (by === 'key') row.settled = Math.max(row.settled, versions.get(row)!);
      }
    } catch {
      this.counts.notAcknowledged += 1;
    } finally {
      for (const row of rows) row.writers -= 1;
    }
  }

  /** New tags with a new version, written through. */
  async #setRow(store: CacheStore, row: Row): Promise<void> {
    if (row.writers > 0 || row.setting !== null) return;
    let done = ignore;
    const written = this.#write(
      () => [row],
      'key',
      () => {
        row.tags = this.#someTags();
        row.tagsVersion = row.version;
        row.setting = new Promise((resolve) => {
          done = resolve;
        });
        return store.set(row.key, encoder.encode(String(row.version)), { ttlMs: 60_000, tags: row.tags }, this.#call());
      },
    );
    await written;
    row.setting = null;
    done();
  }

  /** Some run out while their holder dawdles; on a slow machine all of the short ones do. */
  #leaseMs(): number {
    return this.#pick(2) === 0 ? 20 : 500;
  }

  #dawdle(): Promise<void> {
    const ms = this.#pick(4);
    return new Promise((resolve) => (ms === 0 ? setImmediate(resolve) : setTimeout(resolve, ms)));
  }

  #someTags(): string[] {
    const tags: string[] = [];
    for (let i = 0; i < TAGS; i += 1) if (this.#pick(3) === 0) tags.push(`tag-${i}`);
    return tags;
  }

  #anyRow(): Row {
    return this.#rows[this.#pick(this.#rows.length)]!;
  }

  #pick(bound: number): number {
    return this.#options.random.nextUint32() % bound;
  }

  #call(): { readonly timeoutMs: number } {
    return { timeoutMs: this.timeoutMs };
  }
}

function ignore(): void {}
