/**
 * Readers with an L1 and writers on one store, and an exact checker of the staleness bound.
 *
 * A row's version only grows. A writer changes rows, invalidates them by key, tag or namespace, and notes when the store acknowledged it. An answer out of
 * an L1 may be old only if no newer version of its row had been acknowledged for longer than the bound when it was asked for. At the end, when all is
 * quiet for one bound, every reader must have every row as it is: nothing is stale for ever.
 */
import assert from 'node:assert/strict';
import type { Clock } from '../../src/base/clock.ts';
import type { Random } from '../../src/base/random.ts';
import type { Breakwater, Cache } from '../../src/cache/index.ts';

export interface L1MixOptions {
  readonly readers: readonly Breakwater[];
  readonly writers: readonly Breakwater[];
  readonly boundMs: number;
  readonly clock: Clock;
  readonly random: Random;
  /** Default 12. */
  readonly rows?: number;
  /** What befalls the servers or the network, now and then, until it resolves. */
  readonly disturb: () => Promise<unknown>;
  /** Longest pause between two disturbances. Default 100 ms. */
  readonly disturbEveryMs?: number;
}

interface Row {
  version: number;
  /** When each version was acknowledged; Infinity: not (yet). */
  readonly acknowledgedMs: number[];
}

interface Value {
  readonly n: number;
}

export class L1Mix {
  readonly counts = { operations: 0, l1Hits: 0, otherReads: 0, failedReads: 0, invalidations: 0, disturbances: 0 };
  readonly violations: string[] = [];
  readonly #options: L1MixOptions;
  readonly #rows: Row[];
  readonly #caches: readonly Cache<string, Value>[];

  constructor(options: L1MixOptions) {
    this.#options = options;
    this.#rows = Array.from({ length: options.rows ?? 12 }, () => ({ version: 1, acknowledgedMs: [0, 0] }));
    const load = async (ids: readonly string[]): Promise<Value[]> => {
      const read = ids.map((id) => ({ n: this.#rows[Number(id)]!.version })); // the query is answered now
      await pause(this.#pick(5)); //                                             its answer travels
      return read;
    };
    const tags = (_value: unknown, id: string): string[] => [`third-${Number(id) % 3}`];
    const declare = (bw: Breakwater, l1: false | object): Cache<string, Value> =>
      bw.cache<Value>('mix', { load, tags, ttl: '10m', leaseWait: '500ms', l1 });
    this.#caches = options.readers.map((bw) => declare(bw, {}));
    for (const bw of options.writers) if (!options.readers.includes(bw)) declare(bw, false);
  }

  /**
   * Until `operations` reads and invalidations were done, for so long that what was missed could show, and until L1 has answered one in fifty of so many: on a
   * machine so slow that L1s are mostly bypassed that takes longer.
   */
  async run(operations: number, leastMs = 4_000): Promise<void> {
    const { counts } = this;
    const { clock } = this.#options;
    const endMs = clock.now() + leastMs;
    const isRunning = (): boolean =>
      (counts.operations < operations || clock.now() < endMs || counts.l1Hits < operations / 50) &&
      this.violations.length === 0;
    const work = [
      ...this.#caches.flatMap((_cache, reader) => [1, 2, 3, 4].map(() => this.#read(reader, isRunning))),
      ...this.#options.writers.flatMap((bw) => [1, 2].map(() => this.#write(bw, isRunning))),
      this.#disturb(isRunning),
    ];
    await Promise.all(work);
    assert.deepEqual(this.violations, []);
  }

  /** All quiet: what is served now is served for ever. */
  async check(): Promise<void> {
    await pause(this.#options.boundMs * 1.5);
    for (const cache of this.#caches) {
      for (const [id, row] of this.#rows.entries()) {
        const { value, from } = await cache.getDetailed(String(id));
        assert.equal(value?.n, row.version, `row ${id} out of ${from}`);
      }
    }
  }

  async #read(reader: number, isRunning: () => boolean): Promise<void> {
    const cache = this.#caches[reader]!;
    // Some rows are read by all. The others by one alone: nobody else's loads of them, which are changes too, tell him what he missed.
    const classes = this.#caches.length + 1;
    const mine = [...this.#rows.keys()].filter((id) => [reader, classes - 1].includes(id % classes));
    const { clock } = this.#options;
    while (isRunning()) {
      // A burst without a pause, as a busy process reads, then a turn for the network.
      for (let i = this.#pick(40); i >= 0; i -= 1) {
        const id = mine[this.#pick(mine.length)]!;
        const askedMs = clock.now();
        this.counts.operations += 1;
        const seen = cache.peek(String(id));
        if (seen !== undefined && seen !== null) {
          this.counts.l1Hits += 1;
          this.#judge(id, seen.n, askedMs);
          continue;
        }
        this.counts.otherReads += 1;
        const answer = cache.getDetailed(String(id), { timeout: 20_000 }).then(
          ({ value, from }) => {
            if (from === 'l1' && value !== null) this.#judge(id, value.n, askedMs);
          },
          () => {
            this.counts.failedReads += 1;
          },
        );
        if (this.#pick(2) === 0) await answer;
      }
      await (this.#pick(10) === 0 ? pause(this.#pick(3)) : new Promise((resolve) => setImmediate(resolve)));
    }
  }

  #judge(id: number, n: number, askedMs: number): void {
    const { acknowledgedMs } = this.#rows[id]!;
    for (let version = n + 1; version < acknowledgedMs.length; version += 1) {
      const lateMs = askedMs - acknowledgedMs[version]!;
      if (lateMs > this.#options.boundMs) {
        this.violations.push(`row ${id}: ${n} served, ${version} acknowledged ${lateMs.toFixed(1)} ms before`);
      }
    }
  }

  async #write(bw: Breakwater, isRunning: () => boolean): Promise<void> {
    while (isRunning()) {
      const id = this.#pick(this.#rows.length);
      const kind = this.#pick(20);
      const isCovered = (each: number): boolean =>
        kind === 0 || (kind < 6 && each % 3 === id % 3) || (kind >= 6 && each === id);
      const covered = [...this.#rows.keys()].filter(isCovered).map((each) => {
        const row = this.#rows[each]!;
        row.version += 1;
        row.acknowledgedMs[row.version] = Number.POSITIVE_INFINITY;
        return { row, version: row.version };
      });
      const what =
        kind === 0 ? { namespaces: ['mix'] } : kind < 6 ? { tags: [`third-${id % 3}`] } : { keys: [`mix:${id}`] };
      this.counts.operations += 1;
      this.counts.invalidations += 1;
      for (;;) {
        try {
          await bw.invalidate(what);
          break;
        } catch {
          await pause(20); // not acknowledged: said again until it is
        }
      }
      const nowMs = this.#options.clock.now();
      for (const { row, version } of covered) row.acknowledgedMs[version] = nowMs;
      await pause(this.#pick(30));
    }
  }

  async #disturb(isRunning: () => boolean): Promise<void> {
    const { disturb, disturbEveryMs = 100 } = this.#options;
    while (isRunning()) {
      await pause(this.#pick(disturbEveryMs));
      this.counts.disturbances += 1;
      await disturb();
    }
  }

  #pick(bound: number): number {
    return this.#options.random.nextUint32() % bound;
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
