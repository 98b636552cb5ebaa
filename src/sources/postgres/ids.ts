/** The ids of a source, page by page: each page begins behind the last id of the one before, so that none is read twice and a page costs the same wherever it is. */
import { BreakwaterError } from '../../base/errors.ts';
import { checkNames, count, invalid } from '../../cache/checks.ts';
import type { IdQuery, SourceCall } from '../../cache/data-source.ts';
import { show } from '../../cache/key.ts';
import type { Statement } from './statement.ts';

/** Of a query without parameters, which is read in one piece. */
const MOST_AT_ONCE = 1_000_000;
const MOST_A_PAGE = 100_000;
const WHERE = 'ids of postgres()';

/** Statements for all keys of a table; null: a source of SQL, whose ids only a query of one's own can tell. */
export interface KeyPages {
  /** `$1`: most rows. */
  readonly first: string;
  /** `$1`: the last id, `$2`: most rows. */
  readonly next: string;
}

/**
 * @param keys asked when they are needed
 * @throws BreakwaterError `CACHE_OPTION_UNKNOWN`, `CACHE_OPTION_INVALID`, `SOURCE_KEY_INVALID`; as a load does
 */
export async function* idsOf(
  database: Statement,
  keys: (signal: AbortSignal | undefined) => Promise<KeyPages | null>,
  query: IdQuery,
  { signal }: SourceCall,
): AsyncGenerator<string, void, void> {
  checkNames(query, ['sql', 'after', 'page'], WHERE);
  const { sql, after = null } = query;
  const page = count(query.page ?? 1_000, 'page', WHERE, MOST_A_PAGE);
  if (sql !== undefined && typeof sql !== 'string') throw invalid(`sql of ${WHERE}`, 'a query', sql);
  if (after !== null && typeof after !== 'string') throw invalid(`after of ${WHERE}`, 'an id', after);
  if (sql !== undefined && !sql.includes('$1')) {
    if (after !== null) throw invalid(`after of ${WHERE}`, 'nothing, where the sql has no $1 to go on from', after);
    const { rows } = await database.read(sql, [], signal);
    if (rows.length > MOST_AT_ONCE) {
      throw invalid(`sql of ${WHERE}`, `at most ${MOST_AT_ONCE} rows, or $1 and $2 to be asked page by page`, sql);
    }
    for (const [id] of rows) yield idFrom(id, database.name);
    return;
  }
  if (sql !== undefined && !sql.includes('$2')) throw invalid(`sql of ${WHERE}`, 'a LIMIT $2 beside $1', sql);
  const pages = sql === undefined ? await keys(signal) : null;
  if (sql === undefined && pages === null) throw invalid(WHERE, 'sql, since this source has a query of its own', query);
  for (let last = after; ; ) {
    const text = sql ?? (last === null ? pages!.first : pages!.next);
    const values = sql === undefined && last === null ? [page] : [last, page];
    const { rows } = await database.read(text, values, signal);
    const before = last;
    for (const [id] of rows) {
      last = idFrom(id, database.name);
      yield last;
    }
    if (rows.length < page) return;
    if (last === before) throw invalid(`sql of ${WHERE}`, 'ids behind $1, one page after the other', sql);
  }
}

function idFrom(id: unknown, source: string): string {
  if (typeof id === 'string') return id;
  if (typeof id === 'number' && Number.isSafeInteger(id)) return String(id);
  throw new BreakwaterError(
    'SOURCE_KEY_INVALID',
    `cannot use the ids of ${source}: the first column must be text or an integer, received ${show(id)}`,
  );
}
