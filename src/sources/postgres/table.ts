/**
 * What the catalogue says of a declared table, and the statements that follow from it. Asked once, at the first use or by `check()`: a column that is
 * not there is then named, where the statement's own failure would name only the first and only in the server's words.
 *
 * Identifiers are quoted as `quote_ident` would, so a name is never SQL; values are parameters, always.
 */
import { BreakwaterError } from '../../base/errors.ts';
import { show } from '../../cache/key.ts';
import type { KeyPages } from './ids.ts';
import { KEY_TYPE_OF, KEY_TYPES, type KeyType } from './key-type.ts';

export interface Declared {
  /** Schema and name, or the name alone: found by `search_path`. */
  readonly table: readonly string[];
  readonly key: string;
  readonly columns: readonly string[];
  readonly version: string | null;
}

/** Statements for one table. Each takes its ids as the array `$1`. */
export interface Statements {
  readonly keyType: KeyType;
  /** Columns: the key as text, then the declared ones. */
  readonly load: string;
  readonly ids: KeyPages;
  /**
   * As `load` for ids with the versions that the cache has, `$2`. Columns: the key as text, whether the version is still that, and the declared ones,
   * null where it is. Null: versions of this table may repeat (see {@link statementsFor}).
   */
  readonly revalidate: string | null;
  /** `$1`: the rows as JSON. Null: a source of SQL, or a table without a unique key. Columns: key, version. */
  readonly upsert: string | null;
  readonly delete: string;
}

/** `"a""b"` */
export function quoted(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

/** `$1`: the table's quoted name. One row a column; none when there is no such table. */
export const DESCRIBE = `SELECT a.attname::text, format_type(a.atttypid, NULL), a.attgenerated <> '',
    a.attidentity <> '' OR coalesce(pg_get_expr(d.adbin, d.adrelid) LIKE 'nextval(%', false),
    EXISTS (SELECT FROM pg_index i WHERE i.indrelid = a.attrelid AND i.indisunique AND i.indisvalid AND i.indpred IS NULL
      AND i.indnkeyatts = 1 AND i.indkey[0] = a.attnum)
  FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
  WHERE a.attrelid = to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped`;

type ColumnRow = readonly [
  name: string,
  type: string,
  isGenerated: boolean,
  isFromSequence: boolean,
  isUniqueAlone: boolean,
];

const INTEGERS = ['smallint', 'integer', 'bigint'];

/**
 * Checks what was declared against the catalogue.
 *
 * A version that counts from a constant (`DEFAULT 1`) begins again when its row is deleted and inserted: an old row and another new one would both be
 * version 1, and "not modified" would keep the old one alive. So only a version drawn from a sequence lets the database answer so; with any other
 * all rows are loaded in full.
 *
 * The upsert draws a new version in the UPDATE itself, which runs while the row is locked: versions of a row rise in the order of its commits. The value drawn
 * for the INSERT was drawn before the lock, and two writers could commit theirs in the other order.
 *
 * @throws BreakwaterError `SOURCE_TABLE_UNKNOWN`, `SOURCE_COLUMN_UNKNOWN`, `SOURCE_KEY_TYPE`, `SOURCE_VERSION_TYPE`
 */
export function statementsFor(declared: Declared, rows: readonly (readonly unknown[])[], source: string): Statements {
  const found = new Map((rows as readonly ColumnRow[]).map((row) => [row[0], row]));
  if (found.size === 0) {
    throw new BreakwaterError(
      'SOURCE_TABLE_UNKNOWN',
      `cannot use ${source}: there is no such table, or it has no columns`,
    );
  }
  const { table, key, columns, version } = declared;
  const unknown = [...new Set([key, ...columns])].filter((column) => !found.has(column));
  if (unknown.length > 0) {
    throw new BreakwaterError(
      'SOURCE_COLUMN_UNKNOWN',
      `cannot use ${source}: it has no column ${unknown.map(show).join(', ')}; it has ${[...found.keys()].join(', ')}`,
    );
  }
  const [, type, , , isUnique] = found.get(key)!;
  const keyType = KEY_TYPE_OF[type];
  if (keyType === undefined) {
    throw new BreakwaterError(
      'SOURCE_KEY_TYPE',
      `cannot use ${source}: its key ${show(key)} must be text, varchar, smallint, integer, bigint or uuid, and is ${type}`,
    );
  }
  const versionRow = version === null ? null : found.get(version)!;
  if (versionRow !== null && !INTEGERS.includes(versionRow[1])) {
    throw new BreakwaterError(
      'SOURCE_VERSION_TYPE',
      `cannot use ${source}: its version ${show(version)} must be smallint, integer or bigint, and is ${versionRow[1]}`,
    );
  }

  const from = table.map(quoted).join('.');
  const { cast } = KEY_TYPES[keyType];
  const k = `t.${quoted(key)}`;
  const v = version === null ? 'NULL' : `t.${quoted(version)}`;
  const listed = columns.map((column) => `t.${quoted(column)}`).join(', ');
  const isDrawn = versionRow?.[3] === true;
  const written = columns.filter((column) => column !== version && !found.get(column)![2]);
  if (!written.includes(key)) written.unshift(key);
  const names = written.map(quoted).join(', ');
  const changes = written.filter((column) => column !== key).map((one) => `${quoted(one)} = EXCLUDED.${quoted(one)}`);
  if (version !== null) {
    changes.push(`${quoted(version)} = ${isDrawn ? 'DEFAULT' : `coalesce(${v}, 0) + 1`}`);
  }
  // With nothing to change DO NOTHING would return no row.
  if (changes.length === 0) changes.push(`${quoted(key)} = EXCLUDED.${quoted(key)}`);
  return {
    keyType,
    ids: {
      first: `SELECT ${k}::text FROM ${from} t ORDER BY ${k} LIMIT $1`,
      next: `SELECT ${k}::text FROM ${from} t WHERE ${k} > $1::${cast.slice(0, -2)} ORDER BY ${k} LIMIT $2`,
    },
    load: `SELECT ${k}::text, ${listed} FROM ${from} t WHERE ${k} = ANY($1::${cast})`,
    revalidate: isDrawn
      ? `SELECT ${k}::text, r."breakwater changed" IS NULL, ${columns.map((one) => `r.${quoted(one)}`).join(', ')}
  FROM unnest($1::${cast}, $2::int8[]) AS asked("id", "version") JOIN ${from} t ON ${k} = asked."id"
  LEFT JOIN LATERAL (SELECT true AS "breakwater changed", ${listed}
    WHERE ${v} IS DISTINCT FROM asked."version") AS r ON true`
      : null,
    upsert: isUnique
      ? `INSERT INTO ${from} AS t (${names}) OVERRIDING SYSTEM VALUE
  SELECT ${names} FROM json_populate_recordset(NULL::${from}, $1::json) ORDER BY ${quoted(key)}
  ON CONFLICT (${quoted(key)}) DO UPDATE SET ${changes.join(', ')} RETURNING ${k}::text, ${v}::text`
      : null,
    delete: `DELETE FROM ${from} t WHERE ${k} IN
  (SELECT l.${quoted(key)} FROM ${from} l WHERE l.${quoted(key)} = ANY($1::${cast}) ORDER BY 1 FOR UPDATE) RETURNING ${k}::text, ${v}::text`,
  };
}
