/**
 * Rows on their way to the database, as one JSON parameter that `json_populate_recordset` reads by the table's own types: any number of rows is one
 * statement, and no type has to be named. Written in full: what a row leaves out would be set to NULL, so it must not leave out anything.
 */
import { BreakwaterError } from '../../base/errors.ts';
import { show } from '../../cache/key.ts';
import { invalidKey } from '../port.ts';
import { KEY_TYPES, type KeyType } from './key-type.ts';

interface Shape {
  readonly key: string;
  readonly columns: readonly string[];
  /** The database's to give: what a row says is left out. */
  readonly version: string | null;
}

/** @throws BreakwaterError `SOURCE_KEY_INVALID`, `SOURCE_ROW_INVALID` */
export function rowsAsJson(
  rows: ReadonlyMap<string, object>,
  keyType: KeyType,
  { key, columns, version }: Shape,
  source: string,
): string {
  const written: Record<string, unknown>[] = [];
  for (const [id, row] of rows) {
    if (!KEY_TYPES[keyType].accepts(id)) throw invalidKey(source, id, KEY_TYPES[keyType].what);
    const values = new Map<string, unknown>(Object.entries(row));
    const refuse = (why: string): BreakwaterError =>
      new BreakwaterError('SOURCE_ROW_INVALID', `cannot write row ${show(id)} to ${source}: ${why}`);
    for (const name of values.keys()) {
      if (!columns.includes(name)) throw refuse(`${show(name)} is not among its columns`);
    }
    for (const name of columns) {
      if (name !== version && values.get(name) === undefined)
        throw refuse(`it has no ${show(name)} (write null for NULL)`);
    }
    if (columns.includes(key) && String(values.get(key)) !== id) {
      throw refuse(`its key ${show(key)} is ${show(values.get(key))}`);
    }
    if ([...values.values()].some((value) => value instanceof Date && Number.isNaN(value.getTime()))) {
      throw refuse('it has an invalid Date');
    }
    values.set(key, id);
    if (version !== null) values.delete(version);
    written.push(Object.fromEntries([...values].map(([name, value]) => [name, plain(value)])));
  }
  return JSON.stringify(written, (_, value: unknown) => (typeof value === 'bigint' ? String(value) : value));
}

/** What JSON has no word for, as Postgres reads it. */
function plain(value: unknown): unknown {
  if (value instanceof Uint8Array)
    return `\\x${Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('hex')}`;
  if (value instanceof Date) return localTime(value);
  // JSON would say null.
  if (typeof value === 'number' && !Number.isFinite(value)) return String(value);
  return value;
}

/**
 * As `pg` writes and reads a Date: local time with its offset. A `timestamp` or `date` column takes the local part, which is what `pg` made the Date
 * from; `toISOString` would shift it by the offset.
 */
function localTime(date: Date): string {
  const offset = -date.getTimezoneOffset();
  const local = new Date(date.getTime() + offset * 60_000).toISOString().slice(0, -1);
  const two = (value: number): string => String(Math.floor(value)).padStart(2, '0');
  return `${local}${offset < 0 ? '-' : '+'}${two(Math.abs(offset) / 60)}:${two(Math.abs(offset) % 60)}`;
}
