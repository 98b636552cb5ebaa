/**
 * `breakwater gateway --check`: what reading the file cannot know. Is each source there, does each table have its columns, does Postgres accept the SQL, does the
 * store answer? May the role write where a policy says so? Nothing is loaded and nothing is written: queries run with no ids, SQL that writes is planned and not run.
 */
import { accessSync, constants, existsSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { BreakwaterError, messageOf } from '../base/errors.ts';
import type { Breakwater } from '../cache/breakwater.ts';
import type { QueueView } from '../cache/write/offline.ts';
import { checkChanges } from '../sources/postgres/changes/check.ts';
import type { PostgresChangesOptions } from '../sources/postgres/changes.ts';
import { ORDER_TABLE } from '../sources/postgres/ordered.ts';
import { streamsOf } from './changes.ts';
import type { Position } from './config/problems.ts';
import type { GatewayConfig } from './config/read.ts';
import { declareNamespaces, type Namespace } from './namespaces.ts';
import { orphanAmong, orphanIn, queuesIn, queuesOfStreams, withPassingQueues } from './queues.ts';
import { type OpenSource, openSources } from './sources.ts';
import { sqlNameOf } from './table-name.ts';

/** One thing that was looked at. */
export interface Finding {
  /** `source main`, `namespace product`, `store`. */
  readonly what: string;
  readonly kind: 'fine' | 'wrong' | 'skipped';
  /** What is there, or what is wrong. */
  readonly message: string;
  readonly at: Position;
}

const TIMEOUT_MS = 10_000;

/**
 * @param isOffline only what needs no network: the library's own checks of the options
 * @throws GatewayConfigError, BreakwaterError `GATEWAY_PG_MISSING`
 */
export async function checkGateway(
  config: GatewayConfig,
  isOffline: boolean,
  importPg?: () => Promise<unknown>,
): Promise<Finding[]> {
  const sources = await openSources(config.sources, importPg);
  // A gateway may be running, and its queue is its own.
  const passing = withPassingQueues(config);
  let bw: Breakwater | null = null;
  try {
    const declared = declareNamespaces(passing.config, sources);
    bw = declared.bw;
    if (isOffline) return [];
    const { store } = await bw.stats();
    return [
      storeFinding(config, store),
      ...(await findings(config, sources, declared.namespaces)),
      ...(await queueFindings(config)),
    ];
  } finally {
    await bw?.close();
    passing.remove();
    await Promise.allSettled([...sources.values()].map((source) => source.close()));
  }
}

function storeFinding(
  config: GatewayConfig,
  {
    kind,
    numbers,
    lastError,
  }: { readonly kind: string; readonly numbers: object | null; readonly lastError: string | null },
): Finding {
  const why = lastError === null ? '' : `: ${lastError}`;
  return {
    what: 'store',
    kind: numbers === null ? 'wrong' : 'fine',
    message: numbers === null ? `${kind} does not answer${why}` : kind,
    at: config.positionOf('store'),
  };
}

/** What is in the directory of the queues, and whether it can be used. */
async function queueFindings(config: GatewayConfig): Promise<Finding[]> {
  const { behind, store } = config.store;
  if (behind === undefined) return [];
  const { directory } = behind;
  const finding = (kind: Finding['kind'], message: string): Finding[] => [
    {
      what: 'queue',
      kind,
      message,
      at: config.positionOf(directory === undefined ? 'behind.queue' : 'behind.directory'),
    },
  ];
  const counted = (queues: readonly QueueView[]): string => {
    const queued = queues.filter(({ cache }) => config.namespaces.has(cache));
    const count = queued.reduce((sum, { pending }) => sum + pending.length, 0);
    const dead = queued.reduce((sum, each) => sum + each.dead.length, 0);
    return `${count} rows wait, ${dead} dead letters`;
  };
  if (directory === undefined) {
    try {
      const queues = await queuesOfStreams(store as string);
      const orphan = orphanAmong(queues, 'the store', config.namespaces);
      return orphan === null ? finding('fine', `streams: ${counted(queues)}`) : finding('wrong', orphan);
    } catch (error) {
      return finding('wrong', `cannot ask the store for its streams: ${messageOf(error)}`);
    }
  }
  try {
    const orphan = orphanIn(directory, config.namespaces);
    if (orphan !== null) return finding('wrong', orphan);
    accessSync(nearest(directory), constants.W_OK);
    if (!statSync(nearest(directory)).isDirectory()) return finding('wrong', `${nearest(directory)} is no directory`);
    const queues = queuesIn(directory, () => true);
    const damaged = queues.flatMap((each) => each.damaged);
    if (damaged.length > 0) return finding('wrong', damaged.join('; '));
    return finding('fine', `${directory}: ${counted(queues)}`);
  } catch (error) {
    return finding('wrong', `cannot use ${directory}: ${messageOf(error)}`);
  }
}

/** What of a path is there. */
function nearest(path: string): string {
  let at = path;
  while (!existsSync(at) && dirname(at) !== at) at = dirname(at);
  return at;
}

async function findings(
  config: GatewayConfig,
  sources: ReadonlyMap<string, OpenSource>,
  namespaces: ReadonlyMap<string, Namespace>,
): Promise<Finding[]> {
  const found: Finding[] = [];
  const away = new Set<string>();
  for (const source of sources.values()) {
    const wrong = await failureOf((signal) => source.ping({ signal }));
    if (wrong !== null) away.add(source.name);
    const path = `sources.${source.name}.${source.kind === 'postgres' ? 'postgres.url' : 'http.base'}`;
    found.push({
      what: `source ${source.name}`,
      kind: wrong === null ? 'fine' : 'wrong',
      message: wrong?.message ?? source.kind,
      at: config.positionOf(path),
    });
  }
  for (const namespace of namespaces.values()) found.push(...(await checkNamespace(config, namespace, away)));
  for (const [source, options] of streamsOf(config)) {
    const path = `sources.${source}.postgres.changes`;
    found.push(...(await streamFindings(config, `changes ${source}`, path, options)));
  }
  return found;
}

async function streamFindings(
  config: GatewayConfig,
  what: string,
  path: string,
  options: PostgresChangesOptions,
): Promise<Finding[]> {
  let problems: readonly BreakwaterError[];
  let notes: readonly string[] = [];
  try {
    ({ problems, notes } = await checkChanges(options, AbortSignal.timeout(TIMEOUT_MS)));
  } catch (error) {
    problems = [error instanceof BreakwaterError ? error : new BreakwaterError('INTERNAL', messageOf(error))];
  }
  if (problems.length === 0) {
    const tables = Object.keys(options.tables).join(', ');
    const message = [`${options.via ?? 'replication'} of ${tables}`, ...notes].join('; ');
    return [{ what, kind: 'fine', message, at: config.positionOf(path) }];
  }
  return problems.map(({ message, code }) => {
    const table = /^cannot follow table ([^:]+):/.exec(message)?.[1];
    const at = config.positionOf(table === undefined ? path : `${path}.tables.${table}`);
    return { what, kind: 'wrong', message: `${message} [${code}]`, at };
  });
}

async function checkNamespace(
  config: GatewayConfig,
  namespace: Namespace,
  away: ReadonlySet<string>,
): Promise<Finding[]> {
  const { name, rows, source } = namespace;
  const what = `namespace ${name}`;
  const path = `namespaces.${name}`;
  if (rows === null || source === null) {
    return [{ what, kind: 'fine', message: 'no source: entries are what clients PUT', at: config.positionOf(path) }];
  }
  if (away.has(source.name)) {
    return [{ what, kind: 'skipped', message: `its source "${source.name}" is away`, at: config.positionOf(path) }];
  }
  const found: Finding[] = [];
  const wrong = await failureOf((signal) => rows.source.check({ signal }));
  if (wrong !== null) {
    const isReplica = wrong.code === 'SOURCE_REPLICA';
    const at = config.positionOf(
      isReplica ? `sources.${source.name}.postgres.replica.urls` : `${path}.${optionOf(wrong.code)}`,
    );
    found.push({ what, kind: 'wrong', message: wrong.message, at });
  }
  if (wrong === null) {
    const unwritten = await failureOf((signal) => checkWritable(namespace, signal));
    if (unwritten !== null) {
      found.push({ what, kind: 'wrong', message: unwritten.message, at: config.positionOf(`${path}.policy`) });
    }
  }
  for (const [option, sql] of rows.statements) {
    const refused = await failureOf((signal) => source.plan(sql, { signal }));
    if (refused !== null) {
      found.push({
        what,
        kind: 'wrong',
        message: `${option}: ${refused.message}`,
        at: config.positionOf(`${path}.${option}`),
      });
    }
  }
  if (found.length > 0) return found;
  const { policy = 'read' } = namespace.values;
  return [{ what, kind: 'fine', message: `${rows.source.name}, policy ${policy}`, at: config.positionOf(path) }];
}

const RIGHTS = `SELECT current_user::text, has_any_column_privilege(c.oid, 'INSERT'), has_any_column_privilege(c.oid, 'UPDATE'), has_table_privilege(c.oid, 'DELETE'),
    quote_ident(n.nspname), to_regclass(quote_ident(n.nspname) || '.${ORDER_TABLE}') IS NOT NULL, has_schema_privilege(n.oid, 'CREATE')
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = to_regclass($1)`;

/** Whether rows of a table could be written, by its indexes and by the role's rights. Writes nothing. @throws BreakwaterError */
async function checkWritable({ sink, values, source }: Namespace, signal: AbortSignal): Promise<void> {
  if (sink === null || values.table === undefined) return;
  await sink.upsert(new Map(), { signal });
  const table = sqlNameOf(values.table);
  const [row = []] = await source!.ask(RIGHTS, [table], { signal });
  const [role, inserts, updates, deletes, schema, hasOrder, mayCreate] = row;
  const missing = Object.entries({ INSERT: inserts, UPDATE: updates, DELETE: deletes }).filter(
    ([, may]) => may !== true,
  );
  if (missing.length > 0) {
    const rights = missing.map(([right]) => right).join(', ');
    throw new BreakwaterError('SOURCE_REFUSED', `cannot write to ${table}: the role "${role}" lacks ${rights} on it`);
  }
  if (values.policy !== 'behind' || hasOrder === true || mayCreate === true) return;
  throw new BreakwaterError(
    'SOURCE_ORDER_TABLE',
    `cannot write behind to ${table}: it needs the table ${schema}.${ORDER_TABLE}, which is not there, and the role "${role}" may not create it`,
  );
}

/** The option that a failure is about, by its code. */
function optionOf(code: string): string {
  switch (code) {
    case 'SOURCE_TABLE_UNKNOWN':
      return 'table';
    case 'SOURCE_COLUMN_UNKNOWN':
      return 'columns';
    case 'SOURCE_KEY_TYPE':
      return 'key';
    case 'SOURCE_VERSION_TYPE':
      return 'version';
    default:
      return 'sql';
  }
}

/** Why it failed, or null. */
async function failureOf(
  ask: (signal: AbortSignal) => Promise<void>,
): Promise<{ readonly code: string; readonly message: string } | null> {
  try {
    await ask(AbortSignal.timeout(TIMEOUT_MS));
    return null;
  } catch (error) {
    const code = error instanceof BreakwaterError ? error.code : 'INTERNAL';
    return { code, message: `${messageOf(error)} [${code}]` };
  }
}
