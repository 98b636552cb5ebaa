/**
 * The sources of a gateway, opened: pools of Postgres and JSON APIs, and what each namespace loads from them. `pg` is imported here and only when a source
 * needs it, since it is an optional package.
 */
import { BreakwaterError, messageOf } from '../base/errors.ts';
import { httpSource } from '../sources/http.ts';
import type { DataSource, Sink, SourceCall } from '../sources/port.ts';
import type { PostgresPool } from '../sources/postgres/connection.ts';
import { Statement } from '../sources/postgres/statement.ts';
import { type PostgresSqlOptions, postgres, type ReplicaStats } from '../sources/postgres.ts';
import type { HttpValues, NamespaceValues, PostgresValues, SourceValues } from './config/options.ts';
import { present } from './config/read.ts';
import { type ArrayParser, postgresTypes } from './postgres-types.ts';
import type { Row } from './row.ts';
import { sqlSink } from './sql-sink.ts';
import { tableOf } from './table-name.ts';

/** What a namespace loads from, and writes to if it may. */
export interface Rows {
  readonly source: DataSource<Row>;
  readonly sink: Sink<Row> | null;
  /** Who was asked how often; null: there are no replicas. */
  readonly replicas: (() => ReplicaStats) | null;
  /** SQL of the operator's to be checked, by the option's name. */
  readonly statements: ReadonlyMap<string, string>;
}

export interface OpenSource {
  readonly name: string;
  readonly kind: 'postgres' | 'http';
  /** Null: no pool. */
  pool(): { readonly total: number; readonly idle: number; readonly waiting: number } | null;
  rowsOf(namespace: NamespaceValues): Rows;
  /** Resolves when it answers. */
  ping(call: SourceCall): Promise<void>;
  /** Plans a statement without running it, for `--check`: it stays known to its connection. @throws BreakwaterError what the server says */
  plan(sql: string, call: SourceCall): Promise<void>;
  /** Rows of a question to the catalogue. @throws BreakwaterError */
  ask(sql: string, values: unknown[], call: SourceCall): Promise<readonly (readonly unknown[])[]>;
  close(): Promise<void>;
}

/** A pool as `pg` makes it. */
interface Pool extends PostgresPool {
  readonly totalCount: number;
  readonly idleCount: number;
  readonly waitingCount: number;
  on(event: 'error', listener: (error: Error) => void): unknown;
  end(): Promise<void>;
}

type Pg = {
  readonly Pool: new (options: object) => Pool;
  readonly types: { readonly arrayParser: unknown };
};

const CONCURRENCY = 20;
/** Connections beyond the guard's concurrency: requests to cancel, and writes. */
const SPARE_CONNECTIONS = 2;

/**
 * Connects to nothing yet.
 * @param importPg how `pg` is found; fails where it is not installed
 * @throws BreakwaterError `GATEWAY_PG_MISSING`
 */
export async function openSources(
  sources: ReadonlyMap<string, SourceValues>,
  importPg: () => Promise<unknown> = () => import('pg'),
): Promise<Map<string, OpenSource>> {
  const opened = new Map<string, OpenSource>();
  for (const [name, values] of sources) {
    if (values.http !== undefined) opened.set(name, openHttp(name, values.http));
    else if (values.postgres !== undefined) {
      const pg = await pgOf(importPg, name);
      opened.set(name, openPostgres(pg, name, values.postgres, values.guard?.concurrency ?? CONCURRENCY));
    }
  }
  return opened;
}

async function pgOf(importPg: () => Promise<unknown>, name: string): Promise<Pg> {
  try {
    const module = (await importPg()) as Pg & { readonly default?: Pg };
    return module.default ?? module;
  } catch (cause) {
    throw new BreakwaterError(
      'GATEWAY_PG_MISSING',
      `cannot open the source "${name}": it is Postgres, which needs the package pg, and that is not installed here: npm install pg (${messageOf(cause).split('\n')[0]})`,
      { cause },
    );
  }
}

function openPostgres(pg: Pg, name: string, values: PostgresValues, concurrency: number): OpenSource {
  const { url, pool: max = concurrency + SPARE_CONNECTIONS, prepare = true } = values;
  const { connectTimeout = 2_000, statementTimeout = 10_000, idleTimeout = 30_000, replica } = values;
  const poolOf = (connectionString: string, most: number): Pool => {
    const made = new pg.Pool({
      connectionString,
      max: most,
      connectionTimeoutMillis: connectTimeout,
      idleTimeoutMillis: idleTimeout,
      ...(statementTimeout > 0 && { statement_timeout: statementTimeout }),
      application_name: 'breakwater gateway',
      types: postgresTypes(pg.types.arrayParser as ArrayParser),
    });
    // A connection lost while nobody uses it: the pool has dropped it already, and the next query opens another.
    made.on('error', () => {});
    return made;
  };
  const pool = poolOf(url, max);
  const pools = (replica?.urls ?? []).map((one) => poolOf(one, replica?.pool ?? max));
  const reads = {
    pool,
    prepare,
    ...(replica !== undefined && {
      replica: {
        pools,
        ...present({ wait: replica.wait }),
        ...(replica.bound !== undefined && { lag: { bound: replica.bound } }),
      },
    }),
  };
  const probe = new Statement(pool, false, `the source "${name}"`);
  const planner = new Statement(pool, true, `the source "${name}"`);
  let plans = 0;
  return {
    name,
    kind: 'postgres',
    pool: () => ({ total: pool.totalCount, idle: pool.idleCount, waiting: pool.waitingCount }),
    rowsOf: (namespace) => postgresRows(reads, namespace),
    ping: async ({ signal }) => {
      await probe.read('SELECT 1', [], signal);
    },
    plan: async (sql, { signal }) => {
      // PREPARE parses, and looks up every table, column and type; it runs nothing. Itself sent as a prepared statement, which is one statement only.
      plans += 1;
      await planner.write(`PREPARE breakwater_check_${plans} AS ${sql}\n`, [], signal);
    },
    ask: async (sql, values, { signal }) => (await probe.read(sql, values, signal)).rows,
    close: async () => {
      await Promise.all([pool, ...pools].map((each) => each.end()));
    },
  };
}

type Reads = Pick<PostgresSqlOptions<Row>, 'pool' | 'replica'> & { readonly prepare: boolean };

function postgresRows(reads: Reads, namespace: NamespaceValues): Rows {
  const { table, sql, key = '', keyType, columns = [], version, write = {}, policy = 'read', warm } = namespace;
  const { pool, prepare } = reads;
  const ofIds: [string, string][] = warm?.sql === undefined ? [] : [['warm.sql', warm.sql]];
  const isWritten = policy !== 'read';
  if (sql !== undefined) {
    const source = postgres<Row>({ ...reads, sql, key, ...present({ keyType }) });
    const sink = isWritten ? sqlSink(pool, prepare, write, source.name) : null;
    const writes = Object.entries(present(write)).map(([verb, text]): [string, string] => [`write.${verb}`, text]);
    return { source, sink, replicas: source.replicas ?? null, statements: new Map([...writes, ...ofIds]) };
  }
  const source = postgres<Row>({ ...reads, table: tableOf(table), key, columns, ...present({ version }) });
  const sink = isWritten ? source.sink : null;
  return { source, sink, replicas: source.replicas ?? null, statements: new Map(ofIds) };
}

function openHttp(name: string, values: HttpValues): OpenSource {
  const { base, headers = new Map<string, string>(), check, concurrency, timeout, maxBytes } = values;
  const root = base.replace(/\/+$/, '');
  const common = {
    headers: Object.fromEntries(headers),
    ...present({ concurrency, timeout, maxBytes }),
    ...(check !== undefined && { checkUrl: root + check }),
  };
  const probe = httpSource<Row>({ url: `${root}/{id}`, ...common });
  return {
    name,
    kind: 'http',
    pool: () => null,
    rowsOf: ({ path = '', key, pick, absent }) => ({
      source: httpSource<Row>({
        url: root + path,
        ...common,
        ...present({ key, absent }),
        ...(pick !== undefined && { pick: (json: unknown) => pickFrom(json, pick.split('.')) }),
      }),
      sink: null,
      replicas: null,
      statements: new Map(),
    }),
    ping: (call) => probe.check(call),
    plan: () => Promise.resolve(),
    ask: () => Promise.resolve([]),
    close: () => Promise.resolve(),
  };
}

function pickFrom(json: unknown, path: readonly string[]): Row | Row[] | null {
  let value = json;
  for (const name of path) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, name)) return null;
    value = (value as Readonly<Record<string, unknown>>)[name];
  }
  return value as Row | Row[] | null;
}
