/** A table in memory, with a loader and a sink that applies writes in their order: what `postgres()` does, where a test wants to be the database. */
import { BreakwaterError } from '../../src/base/errors.ts';
import type { OrderedChange, WritableSource } from '../../src/cache/index.ts';

export interface Row {
  readonly n: number;
}

export class OrderedTable {
  readonly rows = new Map<string, Row>();
  readonly versions = new Map<string, number>();
  /** Of each id, the versions that had an effect, in the order of their commits. */
  readonly history = new Map<string, number[]>();
  epoch = 0;
  /** Rows written; calls of `apply`; ids that were loaded. */
  written = 0;
  batches: number[] = [];
  loaded: string[] = [];
  /** What the next calls reject with; null = they go through. */
  failure: BreakwaterError | null = null;
  /** Calls wait for it. */
  gate: Promise<void> = Promise.resolve();
  /** Whether a row is one that the table takes. */
  isGood: (id: string, row: Row | null) => boolean = () => true;

  readonly source: WritableSource<Row> = {
    name: 'table',
    load: async (ids) => {
      if (this.failure !== null) throw this.failure;
      this.loaded.push(...ids);
      const found = ids.map((id) => this.rows.get(id) ?? null);
      await this.gate;
      return found;
    },
    check: async () => undefined,
    sink: {
      upsert: async (rows) => {
        for (const [id, row] of rows) this.#refuse(id, row);
        for (const [id, row] of rows) this.rows.set(id, row);
        return new Map(Array.from(rows.keys(), (id) => [id, null]));
      },
      delete: async (ids) => {
        for (const id of ids) this.rows.delete(id);
        return new Map();
      },
      write: async (changes) => {
        if (this.failure !== null) throw this.failure;
        for (const [id, row] of changes) this.#refuse(id, row);
        await this.gate;
        for (const [id, row] of changes) this.#put(id, row);
        return new Map(Array.from(changes.keys(), (id) => [id, this.rows.get(id) ?? null]));
      },
      ordered: {
        target: async () => 'memory.table',
        apply: async (changes) => {
          await this.gate;
          return this.#apply(changes);
        },
        applied: async (ids) => {
          if (this.failure !== null) throw this.failure;
          return new Map(ids.flatMap((id) => (this.versions.has(id) ? [[id, this.versions.get(id)!] as const] : [])));
        },
        epoch: async (by, atLeast) => {
          if (this.failure !== null) throw this.failure;
          this.epoch = Math.max(this.epoch + by, atLeast);
          return this.epoch;
        },
      },
    },
  };

  #apply(changes: ReadonlyMap<string, OrderedChange<Row>>): Map<string, number> {
    this.batches.push(changes.size);
    if (this.failure !== null) throw this.failure;
    for (const [id, { value }] of changes) this.#refuse(id, value);
    const now = new Map<string, number>();
    for (const [id, { version, value }] of changes) {
      if ((this.versions.get(id) ?? 0) < version) {
        this.versions.set(id, version);
        this.history.set(id, [...(this.history.get(id) ?? []), version]);
        this.#put(id, value);
      }
      now.set(id, this.versions.get(id)!);
    }
    return now;
  }

  #put(id: string, row: Row | null): void {
    this.written += 1;
    if (row === null) this.rows.delete(id);
    else this.rows.set(id, row);
  }

  #refuse(id: string, row: Row | null): void {
    if (!this.isGood(id, row)) throw new BreakwaterError('SOURCE_REFUSED', `no row ${id} of this kind`);
  }
}

export function isAway(): BreakwaterError {
  return new BreakwaterError('SOURCE_FAILED', 'the database is away');
}

/** Resolves when `holds`, within 30 s. */
export async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = Date.now() + 30_000;
  while (!(await holds())) {
    if (Date.now() > deadline) throw new Error(`not within 30 s: ${String(holds)}`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}
