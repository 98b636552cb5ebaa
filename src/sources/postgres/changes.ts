/**
 * Committed changes of Postgres as invalidations, whoever makes them: this application, another one, a person with psql.
 *
 *     const changes = postgresChanges({
 *       connection: 'postgres://...',
 *       tables: { product: { columns: ['id'], keys: (row) => [`product:${row.id}`], namespaces: ['product'] } },
 *     });
 *     const following = bw.follow(changes);
 *
 * By logical replication, or where that is not to be had by triggers. Reading order: `changes/pgoutput.ts` (what comes), `mapping.ts` (what it makes untrue), `intake.ts` (batches),
 * `stream.ts` (positions), `memory.ts` (what may have been missed), `replication.ts` (who reads).
 */
import type { ChangeStream } from '../../cache/changes/port.ts';
import { checkOptions, type PostgresChangesOptions } from './changes/options.ts';
import { replicate } from './changes/replication.ts';
import { Run } from './changes/run.ts';
import { followTriggers } from './changes/triggers.ts';

export type { ChangedRow } from './changes/mapping.ts';
export type { ChangesTable, PostgresChangesOptions } from './changes/options.ts';

/**
 * A stream of changes for `bw.follow`. Connects when it is followed.
 *
 * @throws BreakwaterError `CACHE_OPTION_UNKNOWN`, `CACHE_OPTION_INVALID`, `CACHE_NAME_INVALID`
 */
export function postgresChanges(options: PostgresChangesOptions): ChangeStream {
  const { via, ...settings } = checkOptions(options);
  const attempt = via === 'triggers' ? followTriggers : replicate;
  return { name: settings.name, open: (target) => new Run(settings, target, attempt) };
}
