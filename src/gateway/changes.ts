/**
 * The database's own word on what has changed: a source with `changes` is followed, and a row that anybody changes, in SQL too, is invalidated in every namespace that shows its
 * table, and in what the file says is made of it besides. Where entries are shared by several gateways one of them reads; with the embedded store each has to hear of every
 * change, and reads by itself over a temporary slot.
 *
 *     namespaces: product: { table: product, key: id }                 a changed row of product      ->  product:<id>
 *     changes: tables: purchase: { keys: ["summary:{product}"] }       a changed row of purchase     ->  summary:<product>
 */
import { BreakwaterError, messageOf } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import type { Breakwater } from '../cache/breakwater.ts';
import type { ChangedRow, ChangesTable, PostgresChangesOptions } from '../sources/postgres/changes.ts';
import { postgresChanges } from '../sources/postgres/changes.ts';
import { namespaceOf } from './config/changes.ts';
import type { ChangesValues } from './config/database-options.ts';
import type { NamespaceValues } from './config/options.ts';
import { type GatewayConfig, present } from './config/read.ts';
import type { FailureLog } from './failure-log.ts';
import type { Probe } from './readiness.ts';
import { sqlNameOf } from './table-name.ts';
import { columnsOf, TagTemplates } from './tag-templates.ts';

/** Begins to follow. @returns what /readyz asks: whether what is cached is covered, by this gateway or another */
export function followChanges(bw: Breakwater, config: GatewayConfig): Probe[] {
  return [...streamsOf(config)].map(([source, options]) => {
    const following = bw.follow(postgresChanges(options));
    // Told by the probe and in the log.
    following.ready.catch(() => undefined);
    return {
      name: `changes of source "${source}"`,
      ask: async () => {
        const { isCovered, state, lastError } = following.stats();
        if (isCovered) return;
        throw new BreakwaterError('CHANGES_NOT_FOLLOWED', lastError ?? `they are not followed yet (${state})`);
      },
    };
  });
}

/** Tells the log what happens to the streams. */
export function tellOfChanges(bw: Breakwater, log: Log, failures: FailureLog): void {
  bw.on('changes', ({ stream, what, namespaces, reason, error }) => {
    const fields = { ...(namespaces.length > 0 && { namespaces }), ...(reason !== null && { reason }) };
    switch (what) {
      case 'active':
        return log.info(`changes "${stream}": followed by this gateway`);
      case 'standby':
        return log.info(`changes "${stream}": followed by another process; this one stands by`);
      case 'lost':
        return failures.note(`follow changes "${stream}"`, error);
      case 'gap':
        return log.warn(`changes "${stream}": some may have been missed, so namespaces were invalidated`, fields);
      case 'mapping':
        return failures.note(
          `tell which keys a change is about, so ${namespaces.join(', ')} was invalidated (${reason ?? messageOf(error)})`,
          error,
        );
      case 'folded':
        return log.info(`changes "${stream}": very many rows at once, so namespaces were invalidated`, fields);
      case 'stopped':
        return;
    }
  });
}

/** What is followed, by source. */
export function streamsOf(config: GatewayConfig): Map<string, PostgresChangesOptions> {
  const streams = new Map<string, PostgresChangesOptions>();
  const isEmbedded = (config.store.store ?? 'embedded') === 'embedded';
  for (const [name, { postgres }] of config.sources) {
    if (postgres?.changes === undefined) continue;
    const { url = postgres.url, slot, via, publication, create, foldAbove } = postgres.changes;
    streams.set(name, {
      connection: { connectionString: url, application_name: 'breakwater gateway changes' },
      tables: tablesOf(name, postgres.changes, config.namespaces),
      // Also the name in stats and metrics: one for each source.
      ...present({ via, publication, create, foldAbove, name: slot }),
      ...(isEmbedded && { temporary: true }),
    });
  }
  return streams;
}

/** Of each table: who shows it, and what the file says. */
function tablesOf(
  source: string,
  { tables = new Map() }: ChangesValues,
  namespaces: ReadonlyMap<string, NamespaceValues>,
): Record<string, ChangesTable> {
  const shown = new Map<string, { readonly column: string; readonly namespace: string }[]>();
  for (const [namespace, { source: own, table, key = '' }] of namespaces) {
    if (own !== source || table === undefined) continue;
    const name = sqlNameOf(table);
    shown.set(name, [...(shown.get(name) ?? []), { column: key, namespace }]);
  }
  const said = new Map([...tables].map(([table, values]) => [sqlNameOf(table), values] as const));
  const all = new Set([...shown.keys(), ...said.keys()]);
  return Object.fromEntries(
    [...all].map((table) => {
      const rows = shown.get(table) ?? [];
      const { keys = [], tags = [], namespaces: touched = [] } = said.get(table) ?? {};
      const templates = [...rows.map(({ column, namespace }) => `${escaped(namespace)}:{${column}}`)];
      const columns = [...rows.map(({ column }) => column), ...[...keys, ...tags].flatMap(columnsOf)];
      const declared: ChangesTable = {
        columns: [...new Set(columns)],
        namespaces: [...new Set([...rows.map(({ namespace }) => namespace), ...touched, ...keys.flatMap(namespaceOf)])],
        // Without either every change invalidates the namespaces.
        ...(rows.length + keys.length > 0 && { keys: named(rows, keys, templates) }),
        ...(tags.length > 0 && { tags: made(tags) }),
      };
      return [table, declared];
    }),
  );
}

/** Keys of rows that are shown, whose columns may have any name, and those of templates. */
function named(
  rows: readonly { readonly column: string; readonly namespace: string }[],
  keys: readonly string[],
  shown: readonly string[],
): (row: ChangedRow) => string[] {
  const others = made(keys);
  return worded([...shown, ...keys], (row) => [
    ...rows.flatMap(({ column, namespace }) => (row[column] == null ? [] : [`${namespace}:${row[column]}`])),
    ...others(row),
  ]);
}

function made(templates: readonly string[]): (row: ChangedRow) => string[] {
  const made = new TagTemplates(templates);
  return worded(templates, (row) => made.of(row, 'a changed row'));
}

/** Two gateways are known to map alike by the text of these functions, which the templates are part of. */
function worded<T extends (row: ChangedRow) => string[]>(templates: readonly string[], map: T): T {
  return Object.assign(map, { toString: () => JSON.stringify(templates) });
}

function escaped(text: string): string {
  return text.replaceAll('{', '{{').replaceAll('}', '}}');
}
