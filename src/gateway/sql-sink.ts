/**
 * PUT and DELETE of a namespace whose rows are a query: SQL of the operator's, one statement each, so that each is atomic.
 *
 *     upsert   $1 = the rows as a JSON array      INSERT ... SELECT ... FROM json_populate_recordset(NULL::product, $1::json) ON CONFLICT ... RETURNING id, version
 *     delete   $1 = the ids as an array           DELETE FROM product WHERE id = ANY($1::bigint[]) RETURNING id, version
 *
 * What comes back: the key, and the version after the write (or NULL, or no second column).
 */
import { BreakwaterError } from '../base/errors.ts';
import type { SourceVersion } from '../cache/source-version.ts';
import type { Sink, SourceCall } from '../sources/port.ts';
import type { PostgresPool } from '../sources/postgres/connection.ts';
import { Statement } from '../sources/postgres/statement.ts';
import type { Row } from './row.ts';

export interface SqlWrites {
  readonly upsert?: string;
  readonly delete?: string;
}

export function sqlSink(pool: PostgresPool, prepare: boolean, writes: SqlWrites, name: string): Sink<Row> {
  const database = new Statement(pool, prepare, name);
  const run = async (
    verb: keyof SqlWrites,
    value: unknown,
    call: SourceCall = {},
  ): Promise<Map<string, SourceVersion | null>> => {
    const text = writes[verb];
    if (text === undefined)
      throw new BreakwaterError('SOURCE_REFUSED', `cannot ${verb} in ${name}: it has no SQL for it`);
    const { rows } = await database.write(text, [value], call.signal);
    return new Map(rows.map(([id, version = null]) => [String(id), version === null ? null : String(version)]));
  };
  return {
    upsert: (rows, call) => run('upsert', JSON.stringify([...rows.values()]), call),
    delete: (ids, call) => run('delete', ids, call),
  };
}
