/**
 * Puts rows to the ids that were asked for, and refuses what does not fit: ids that cannot be keys (never sent), rows that nobody asked for, two rows for
 * one id. Each is a row under a wrong key in the making.
 */
import { BreakwaterError } from '../../base/errors.ts';
import { show } from '../../cache/key.ts';
import { NOT_MODIFIED } from '../../cache/types.ts';
import { invalidKey } from '../port.ts';
import type { Result } from './connection.ts';
import { KEY_TYPES, type KeyType } from './key-type.ts';

export class Answers<Row> {
  /** The ids that may be sent. */
  readonly asked: readonly string[];
  /** For the cache; what is missing is absent. */
  readonly found = new Map<string, Row | Error | typeof NOT_MODIFIED>();
  readonly #source: string;

  constructor(ids: readonly string[], keyType: KeyType, source: string) {
    this.#source = source;
    const { accepts, what } = KEY_TYPES[keyType];
    this.asked = ids.filter((id) => accepts(id));
    if (this.asked.length === ids.length) return;
    for (const id of ids) if (!accepts(id)) this.found.set(id, invalidKey(source, id, what));
  }

  /**
   * @param columnsBefore columns that are not the row's: 1 = the key as text; 2 = and whether the version is unchanged
   * @throws BreakwaterError `SOURCE_ROW_UNASKED`
   */
  add({ rows, fields }: Result, columnsBefore: 1 | 2): void {
    const wanted = new Set(this.asked);
    const names = fields.slice(columnsBefore).map(({ name }) => name);
    for (const columns of rows) {
      const id = columns[0] as string | null;
      if (id === null || !wanted.has(id)) {
        throw new BreakwaterError(
          'SOURCE_ROW_UNASKED',
          `cannot use the rows of ${this.#source}: none was asked for under the key ${show(id)}; a key must print as its id does`,
        );
      }
      if (this.found.has(id)) {
        const why = `cannot load ${show(id)} from ${this.#source}: two rows have that key`;
        this.found.set(id, new BreakwaterError('SOURCE_ROW_DUPLICATE', why));
      } else if (columnsBefore === 2 && columns[1] === true) this.found.set(id, NOT_MODIFIED);
      else this.found.set(id, rowOf<Row>(names, columns, columnsBefore));
    }
  }
}

function rowOf<Row>(names: readonly string[], columns: readonly unknown[], from: number): Row {
  // Not by assignment: a column named `__proto__` would set the prototype.
  return Object.fromEntries(names.map((name, index) => [name, columns[from + index]])) as Row;
}
