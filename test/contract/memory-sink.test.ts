/** A table in memory against the contract of sinks: the reference by which the suite itself is judged, and the shortest text of what a sink must do. */
import { BreakwaterError } from '../../src/base/errors.ts';
import type { Sink, SourceCall } from '../../src/cache/index.ts';
import { type Item, sinkContract } from './sink-contract.ts';

class Table {
  readonly rows = new Map<string, Item>();
  readonly versions = new Map<string, number>();
  epoch = 0;
}

interface Database {
  isAway: boolean;
}

/** A turn of its own, as a network has, and then everything at once, as a transaction does. */
async function turn(database: Database, name: string, { signal }: SourceCall = {}): Promise<void> {
  for (let i = 0; i < 3; i += 1) {
    if (signal?.aborted === true) throw new BreakwaterError('SOURCE_ABORTED', `the call to ${name} was cut off`);
    if (database.isAway) throw new BreakwaterError('SOURCE_FAILED', `${name} is away`);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

function sinkOf(database: Database, table: Table, name: string): Sink<Item> {
  const accept = (id: string, row: Item): void => {
    if (row.id !== id) throw new BreakwaterError('SOURCE_ROW_INVALID', `row ${id} says that it is ${row.id}`);
  };
  const refuse = (changes: Iterable<readonly [string, Item | null]>): void => {
    for (const [id, row] of changes) {
      if (row === null) continue;
      accept(id, row);
      if (row.name === 'bad') throw new BreakwaterError('SOURCE_REFUSED', `no row of ${name} is bad`);
    }
  };
  const put = (id: string, row: Item | null): void => {
    if (row === null) table.rows.delete(id);
    else table.rows.set(id, row);
  };
  return {
    upsert: async (rows, call) => {
      await turn(database, name, call);
      refuse(rows);
      for (const [id, row] of rows) put(id, row);
      return new Map(Array.from(rows.keys(), (id) => [id, null]));
    },
    delete: async (ids, call) => {
      await turn(database, name, call);
      return new Map(ids.filter((id) => table.rows.delete(id)).map((id) => [id, null]));
    },
    write: async (changes, call) => {
      await turn(database, name, call);
      refuse(changes);
      for (const [id, row] of changes) put(id, row);
      return new Map(Array.from(changes.keys(), (id) => [id, table.rows.get(id) ?? null]));
    },
    ordered: {
      accept,
      target: async () => name,
      apply: async (changes, call) => {
        await turn(database, name, call);
        refuse(Array.from(changes, ([id, { value }]) => [id, value] as const));
        for (const [id, { version, value }] of changes) {
          if (version <= (table.versions.get(id) ?? 0)) continue;
          table.versions.set(id, version);
          put(id, value);
        }
        return new Map(Array.from(changes.keys(), (id) => [id, table.versions.get(id)!]));
      },
      applied: async (ids, call) => {
        await turn(database, name, call);
        return new Map(ids.flatMap((id) => (table.versions.has(id) ? [[id, table.versions.get(id)!] as const] : [])));
      },
      epoch: async (by, atLeast, call) => {
        await turn(database, name, call);
        table.epoch = Math.max(table.epoch + by, atLeast);
        return table.epoch;
      },
    },
  };
}

sinkContract(
  'memory',
  async () => {
    const database = { isAway: false };
    const table = new Table();
    return {
      sink: sinkOf(database, table, 'items'),
      other: sinkOf(database, table, 'items'),
      neighbour: sinkOf(database, new Table(), 'others'),
      rows: async () => Object.fromEntries(Array.from(table.rows, ([id, { name }]) => [id, name])),
      away: async () => {
        database.isAway = true;
        return async () => {
          database.isAway = false;
        };
      },
      close: async () => undefined,
    };
  },
  { skip: false, numRuns: 200 },
);
