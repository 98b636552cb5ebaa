/**
 * From a changed row to the names that it makes untrue. Pure.
 *
 * A row has two sides, before and after, and both count: an order that moves from customer 1 to customer 2 is missing from one list and new in the other. What is known
 * of the side before depends on the table's replica identity:
 *
 *                       FULL             DEFAULT, or an index                          (NOTHING: Postgres refuses the update itself)
 *     insert            after            after
 *     update            before, after    identity columns before, after               the other columns before: not told
 *     delete            before           identity columns before                      the other columns: not told
 *
 * and besides, an update does not carry a long value (TOAST) that it left alone. So a mapping is shown rows in which a value may be *unknown*, and reading such a
 * one is what decides: a mapping that asks for it cannot be trusted to have named everything, and the table's namespaces are invalidated whole. One that does not ask is exact
 * whatever else is unknown. **In doubt more is invalidated, never less.**
 *
 * A mapping that throws, or gives what is no name, is a doubt of the same kind: a change may not be skipped for it, and the stream may not stand still.
 */
import { BreakwaterError } from '../../../base/errors.ts';
import { checkTags, fullKey, show } from '../../../cache/key.ts';
import { type Relation, UNCHANGED } from './pgoutput.ts';

/** A row as Postgres prints it: text, or null. Reading a column that was not declared throws. */
export type ChangedRow = Readonly<Record<string, string | null>>;

/** A table's mapping, checked. */
export interface Mapping {
  /** `schema.table`, for people. */
  readonly table: string;
  /** What {@link keys} and {@link tags} read. */
  readonly columns: readonly string[];
  /** All that a change of this table may touch. */
  readonly namespaces: readonly string[];
  readonly keys: ((row: ChangedRow) => readonly string[]) | null;
  readonly tags: ((row: ChangedRow) => readonly string[]) | null;
}

/** One side of a changed row: values by the column's place. */
export interface Row {
  text(column: number): string | null | typeof UNCHANGED;
}

/** A changed row, wherever it comes from. */
export interface Change {
  readonly kind: 'insert' | 'update' | 'delete';
  readonly before: Row | null;
  /** What of the row before is told; null = nothing: its identity has not changed. */
  readonly beforeIs: 'full' | 'key' | null;
  readonly after: Row | null;
}

/** Where names are put. */
export interface Names {
  readonly keys: Set<string>;
  readonly tags: Set<string>;
  readonly namespaces: Set<string>;
}

/** What came of a row: its names; all namespaces of its table, by declaration; or by doubt. */
export type Mapped =
  | { readonly kind: 'exact' | 'whole' }
  | { readonly kind: 'unknown'; readonly column: string }
  | { readonly kind: 'failed'; readonly error: unknown };

const EXACT: Mapped = { kind: 'exact' };
const WHOLE: Mapped = { kind: 'whole' };

/** A mapping over the columns as one relation has them; the table itself, or a partition with columns in an order of its own. */
export class Plan {
  readonly mapping: Mapping;
  /** Of each declared column: its place in the relation; -1 = it is not there (any more). */
  readonly #places = new Map<string, number>();
  readonly #isIdentity: readonly boolean[];

  constructor(mapping: Mapping, relation: Pick<Relation, 'columns'>) {
    this.mapping = mapping;
    for (const name of mapping.columns) {
      this.#places.set(
        name,
        relation.columns.findIndex((column) => column.name === name),
      );
    }
    this.#isIdentity = relation.columns.map(({ isIdentity }) => isIdentity);
  }

  /** Adds the names of both sides of the row. */
  map(row: Change, names: Names): Mapped {
    const { keys, tags, namespaces } = this.mapping;
    if (keys === null && tags === null) {
      for (const namespace of namespaces) names.namespaces.add(namespace);
      return WHOLE;
    }
    const found: Names = { keys: new Set(), tags: new Set(), namespaces: names.namespaces };
    const mapped = this.#both(row, found);
    // What it did name is invalidated in any case: a key may lie outside the namespaces.
    for (const key of found.keys) names.keys.add(key);
    for (const tag of found.tags) names.tags.add(tag);
    if (mapped.kind !== 'exact') for (const namespace of namespaces) names.namespaces.add(namespace);
    return mapped;
  }

  #both(row: Change, found: Names): Mapped {
    const { before, beforeIs, after } = row;
    if (after !== null) {
      const side = new Side(this.#places, (column) => {
        const value = after.text(column);
        // An update tells the long values that it left alone only as part of the whole row before it.
        return value === UNCHANGED && beforeIs === 'full' ? before!.text(column) : value;
      });
      const mapped = this.#side(side, found);
      if (mapped !== EXACT || row.kind === 'insert') return mapped;
      // Nothing but what identifies the row was read, and that has not changed: the side before has the same names.
      if (before === null && side.read.every((column) => this.#isIdentity[column] === true)) return EXACT;
    }
    return this.#side(new Side(this.#places, (column) => this.#before(row, column)), found);
  }

  #before({ before, beforeIs, after }: Change, column: number): ReturnType<Row['text']> {
    if (beforeIs === 'full') return before!.text(column);
    if (this.#isIdentity[column] !== true) return UNCHANGED;
    return before === null ? after!.text(column) : before.text(column);
  }

  #side(side: Side, found: Names): Mapped {
    const { mapping } = this;
    const row = new Proxy<ChangedRow>(Object.create(null), side);
    try {
      if (mapping.keys !== null) {
        for (const key of list(mapping.keys(row), 'keys', mapping)) {
          const checked = fullKey('', key);
          found.keys.add(checked);
          checkKey(checked, mapping);
        }
      }
      if (mapping.tags !== null) {
        for (const tag of checkTags(list(mapping.tags(row), 'tags', mapping), `of ${mapping.table}`, MOST_NAMES)) {
          found.tags.add(tag);
        }
      }
    } catch (error) {
      return side.unknown === null ? { kind: 'failed', error } : { kind: 'unknown', column: side.unknown };
    }
    // Also where the mapping caught what reading it threw.
    return side.unknown === null ? EXACT : { kind: 'unknown', column: side.unknown };
  }
}

/** Names of one row and kind: a mapping that makes more has lost its way. */
const MOST_NAMES = 1_000;

function list(names: unknown, what: string, { table }: Mapping): readonly string[] {
  if (Array.isArray(names) && names.length <= MOST_NAMES) return names as readonly string[];
  const received = Array.isArray(names) ? `${names.length} of them` : show(names);
  throw invalid(`${what} of table ${table}: expected an array of at most ${MOST_NAMES} strings, received ${received}`);
}

/** A key of another namespace is invalidated with its row, and would be forgotten wherever the namespaces stand for the rows: so it is said. */
function checkKey(key: string, { table, namespaces }: Mapping): void {
  const colon = key.indexOf(':');
  if (colon >= 1 && colon < key.length - 1 && namespaces.includes(key.slice(0, colon))) return;
  throw invalid(
    `keys of table ${table}: expected full keys of its namespaces (${namespaces.map((name) => `"${name}:..."`).join(', ')}), received ${show(key)}`,
  );
}

function invalid(what: string): BreakwaterError {
  return new BreakwaterError('CHANGES_MAPPING_INVALID', `cannot use the ${what}`);
}

/** What reading an unknown value throws, into the mapping. */
class UnknownValue extends Error {}

/** One side of a row, as a mapping sees it. */
class Side implements ProxyHandler<ChangedRow> {
  /** Places of the columns that were read. */
  readonly read: number[] = [];
  /** The first column that was read and is not known. */
  unknown: string | null = null;
  readonly #places: ReadonlyMap<string, number>;
  readonly #value: (column: number) => ReturnType<Row['text']>;

  constructor(places: ReadonlyMap<string, number>, value: (column: number) => ReturnType<Row['text']>) {
    this.#places = places;
    this.#value = value;
  }

  get(_: unknown, name: string | symbol): string | null | undefined {
    const place = typeof name === 'string' ? this.#places.get(name) : undefined;
    if (place === undefined) {
      // What the language itself asks of any object.
      if (typeof name === 'symbol' || name === 'toJSON' || name === 'then') return undefined;
      throw invalid(
        `column ${show(name)} in a mapping: it is not among its columns (${[...this.#places.keys()].join(', ')})`,
      );
    }
    const value = place < 0 ? UNCHANGED : this.#value(place);
    if (value === UNCHANGED) {
      this.unknown ??= name as string;
      throw new UnknownValue(`the change does not tell column ${show(name)}`);
    }
    this.read.push(place);
    return value;
  }

  has(_: unknown, name: string | symbol): boolean {
    return typeof name === 'string' && this.#places.has(name);
  }

  ownKeys(): string[] {
    return [...this.#places.keys()];
  }

  getOwnPropertyDescriptor(target: unknown, name: string | symbol): PropertyDescriptor | undefined {
    if (!this.has(target, name)) return undefined;
    return { value: this.get(target, name), enumerable: true, configurable: true, writable: false };
  }

  set(): boolean {
    return false;
  }
}
