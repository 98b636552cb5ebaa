/**
 * From a YAML file to a {@link GatewayConfig}: first every value by its own kind, then what must hold between them. Nothing is asked of any network here; what
 * needs the database (do the table and its columns exist?) is asked by `check.ts`.
 */
import { readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { messageOf } from '../../base/errors.ts';
import { isLoopback } from '../../http/host-check.ts';
import { columnsOf } from '../tag-templates.ts';
import { checkChanges } from './changes.ts';
import { section } from './kinds.ts';
import {
  type AccessValues,
  type FreshnessValues,
  type GatewayValues,
  type NamespaceValues,
  OPTIONS,
  type SourceValues,
} from './options.ts';
import { GatewayConfigError, type Position } from './problems.ts';
import { ConfigReader } from './reader.ts';

/** A source's name that is none: entries are what clients PUT. */
export const NO_SOURCE = 'none';
const DEFAULT_PORT = 8380;
const MIB = 1024 ** 2;

export interface ListenConfig {
  readonly host: string;
  readonly port: number;
  readonly hosts: readonly string[];
  /** PEM, read. */
  readonly tls: { readonly cert: string; readonly key: string } | null;
  readonly maxClients: number;
  readonly maxValueBytes: number;
  readonly clientMemoryBytes: number;
  readonly stallTimeoutMs: number;
}

/** A file that was read and holds together. */
export interface GatewayConfig {
  readonly file: string;
  readonly listen: ListenConfig;
  readonly access: 'open' | AccessValues;
  readonly sources: ReadonlyMap<string, SourceValues>;
  readonly namespaces: ReadonlyMap<string, NamespaceValues>;
  readonly defaults: FreshnessValues;
  readonly shutdown: { readonly delayMs: number; readonly drainMs: number };
  readonly log: 'auto' | 'text' | 'json';
  /** What `createBreakwater` is given. */
  readonly store: Pick<
    GatewayValues,
    'store' | 'memory' | 'eviction' | 'outbox' | 'behind' | 'staleness' | 'readTimeout' | 'writeTimeout'
  >;
  /** What works and deserves a look, one sentence each. */
  readonly warnings: readonly string[];
  /** Where the value of a path such as `namespaces.product.ttl` stands, or the nearest that there is. */
  positionOf(path: string): Position;
}

/**
 * @param file for sentences, and where relative paths begin
 * @throws GatewayConfigError
 */
export function readConfigFile(file: string, env: Readonly<Record<string, string | undefined>>): GatewayConfig {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    throw new GatewayConfigError(file, [{ line: 1, column: 1, message: `cannot read the file: ${messageOf(error)}` }]);
  }
  return readConfig(file, text, env);
}

/** @throws GatewayConfigError */
export function readConfig(
  file: string,
  text: string,
  env: Readonly<Record<string, string | undefined>>,
): GatewayConfig {
  const reader = new ConfigReader(file, text, env);
  const { root } = reader;
  if (root.node === null) {
    reader.problem(root, 'the file is empty: it needs at least namespaces');
    reader.finish();
  }
  const values = section(OPTIONS).read(reader, root);
  if (values === undefined) {
    reader.finish();
    throw new Error('a value could not be read, and no problem was noted');
  }
  const warnings: string[] = [];
  checkStore(values, reader);
  checkAccess(values, reader);
  checkShared(values.defaults ?? {}, 'defaults', reader);
  for (const [name, { postgres, http }] of values.sources ?? []) {
    if ((postgres === undefined) === (http === undefined)) {
      reader.problem(`sources.${name}`, 'needs either postgres or http, and not both');
      reader.markBroken(`sources.${name}`);
    }
    if (name === NO_SOURCE) reader.problem(`sources.${name}`, `a source cannot be called "${NO_SOURCE}"`);
    if (![...values.namespaces.values()].some(({ source }) => source === name)) {
      warnings.push(`no namespace loads from the source "${name}"`);
    }
  }
  for (const [name, { postgres }] of values.sources ?? []) {
    if (postgres?.replica?.bound === undefined) continue;
    const at = `sources.${name}.postgres.replica`;
    if (postgres.replica.wait !== undefined)
      reader.problem(`${at}.wait`, 'is for positions, and bound is instead of them');
    if ((values.store ?? 'embedded') !== 'embedded') {
      reader.problem(`${at}.bound`, 'is for the embedded store: where others invalidate too, nobody knows when');
    }
  }
  for (const [name, namespace] of values.namespaces) checkNamespace(name, namespace, values, reader);
  if (values.behind !== undefined && ![...values.namespaces.values()].some(({ policy }) => policy === 'behind')) {
    reader.problem('behind', 'no namespace has policy: behind');
  }
  checkBehind(values, reader);
  warnings.push(...checkChanges(values, reader));
  if (values.namespaces.size === 0 && !reader.hasProblems)
    reader.problem('namespaces', 'expected at least one namespace');
  const listen = listenConfig(values, reader);
  reader.finish();
  if (!isLoopback(listen.host) && values.access === 'open') {
    warnings.push(
      `listening on ${listen.host} with access: open: everyone who can reach this machine may do everything`,
    );
  }
  if (!isLoopback(listen.host) && listen.tls === null && values.access !== 'open') {
    warnings.push(
      `listening on ${listen.host} without tls: tokens cross the network in the clear, unless something in front of the gateway ends TLS`,
    );
  }
  const { store, memory, eviction, outbox, behind, staleness, readTimeout, writeTimeout } = values;
  return {
    file,
    listen,
    access: values.access ?? 'open',
    sources: values.sources ?? new Map(),
    namespaces: values.namespaces,
    defaults: values.defaults ?? {},
    shutdown: { delayMs: values.shutdown?.delay ?? 0, drainMs: values.shutdown?.drain ?? 10_000 },
    log: values.log ?? 'auto',
    store: present({
      store,
      memory,
      eviction,
      outbox:
        outbox?.directory === undefined ? outbox : { ...outbox, directory: resolve(dirname(file), outbox.directory) },
      behind:
        behind?.directory === undefined ? behind : { ...behind, directory: resolve(dirname(file), behind.directory) },
      staleness,
      readTimeout,
      writeTimeout,
    }),
    warnings,
    positionOf: (path) => reader.positionOf(path),
  };
}

function listenConfig(values: GatewayValues, reader: ConfigReader): ListenConfig {
  const { listen = {} } = values;
  const host = listen.host ?? '127.0.0.1';
  if (!isLoopback(host) && values.access === undefined) {
    reader.problem(
      'listen.host',
      `${host} can be reached from other machines, so say who may do what: access (with tokens), or access: open`,
    );
  }
  const read = (name: 'cert' | 'key'): string => {
    const path = listen.tls?.[name] ?? '';
    try {
      return readFileSync(resolve(dirname(reader.file), path), 'utf8');
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      reader.problem(
        `listen.tls.${name}`,
        `cannot read the file ${path}: ${code === 'ENOENT' ? 'there is none' : code}`,
      );
      return '';
    }
  };
  return {
    host,
    port: listen.port ?? DEFAULT_PORT,
    hosts: listen.hosts ?? [],
    tls: listen.tls === undefined ? null : { cert: read('cert'), key: read('key') },
    maxClients: listen.maxClients ?? 10_000,
    maxValueBytes: listen.maxValue ?? 8 * MIB,
    clientMemoryBytes: listen.clientMemory ?? 256 * MIB,
    stallTimeoutMs: listen.stallTimeout ?? 30_000,
  };
}

function checkStore(
  { store = 'embedded', memory, eviction, outbox, staleness }: GatewayValues,
  reader: ConfigReader,
): void {
  const isEmbedded = store === 'embedded';
  if (!isEmbedded && memory !== undefined) reader.problem('memory', 'is for the embedded store');
  if (!isEmbedded && eviction !== undefined) reader.problem('eviction', 'is for the embedded store');
  if (isEmbedded && outbox !== undefined) {
    reader.problem('outbox', 'is for networked stores: the embedded one acknowledges every invalidation at once');
  }
  if (isEmbedded && staleness !== undefined) reader.problem('staleness', 'is for networked stores');
}

function checkBehind({ behind, store = 'embedded' }: GatewayValues, reader: ConfigReader): void {
  if (behind === undefined) return;
  if (behind.queue !== 'streams') {
    if (behind.directory === undefined && !reader.isBroken('behind.directory')) {
      reader.problem('behind', 'needs directory, where writes are kept until the database has them');
    }
    if (behind.takeover !== undefined) {
      reader.problem('behind.takeover', 'is for queue: streams: a directory is of one gateway alone');
    }
    return;
  }
  if (behind.directory !== undefined) {
    reader.problem('behind.directory', 'is for queue: disk: streams are kept by the servers of the store');
  }
  if (typeof store !== 'string' || !/^(?:redis|valkey)s?:/i.test(store)) {
    reader.problem('behind.queue', '"streams" needs a store that is Redis or Valkey: others keep nothing on disk');
  }
}

function checkAccess({ access, namespaces }: GatewayValues, reader: ConfigReader): void {
  if (access === undefined || access === 'open') return;
  if (access.tokens === undefined && (access.anonymous ?? []).length === 0) {
    reader.problem('access', 'nobody may do anything: say tokens or anonymous');
  }
  const seen = new Map<string, string>();
  for (const [name, { token, namespaces: where = [] }] of access.tokens ?? []) {
    const path = `access.tokens.${name}`;
    const other = seen.get(token);
    if (other !== undefined) reader.problem(`${path}.token`, `is the token of "${other}" too`);
    seen.set(token, name);
    where.forEach((namespace, index) => {
      if (namespaces.has(namespace) || reader.isBroken(`namespaces.${namespace}`)) return;
      const hint = reader.hint(namespace, [...namespaces.keys()]);
      reader.problem(`${path}.namespaces[${index}]`, `there is no namespace "${namespace}": ${hint}`);
    });
  }
}

function checkShared(values: FreshnessValues, path: string, reader: ConfigReader): void {
  if (values.softTimeout !== undefined && values.staleWhileReload !== false && path !== 'defaults') {
    reader.problem(
      `${path}.softTimeout`,
      'says how long to wait before a stale row is served: it needs staleWhileReload: false',
    );
  }
}

const OF_ROWS = ['table', 'sql', 'keyType', 'columns', 'version', 'write', 'warm'] as const;
const OF_VALUES = ['path', 'pick', 'absent'] as const;
const WRITES = ['aside', 'through', 'behind'];

function checkNamespace(name: string, own: NamespaceValues, values: GatewayValues, reader: ConfigReader): void {
  const path = `namespaces.${name}`;
  const problem = (option: string, message: string): void =>
    reader.problem(option === '' ? path : `${path}.${option}`, message);
  const merged = { ...values.defaults, ...own };
  checkShared({ ...merged, ...present({ softTimeout: own.softTimeout }) }, path, reader);
  if (own.softTimeout !== undefined && (merged.grace ?? 0) === 0) problem('softTimeout', 'needs grace');

  const sources = values.sources ?? new Map<string, SourceValues>();
  if (own.source === NO_SOURCE) {
    for (const option of [...OF_ROWS, ...OF_VALUES, 'key', 'guard', 'fresh', 'sample'] as const) {
      if (own[option] !== undefined) problem(option, 'needs a source, and this namespace has none');
    }
    if (own.policy !== undefined)
      problem('policy', 'needs a source: without one PUT stores an entry and DELETE removes it');
    return;
  }
  if (reader.isBroken(`sources.${own.source}`)) return;
  if (!sources.has(own.source)) {
    const hint = sources.size === 0 ? 'there are no sources' : reader.hint(own.source, [...sources.keys(), NO_SOURCE]);
    problem('source', `there is no source "${own.source}": ${hint}`);
    return;
  }
  if (sources.get(own.source)!.postgres !== undefined) checkRows(own, problem);
  else checkValues(own, problem);
  if (own.policy !== 'behind') return;
  if (own.sql !== undefined) problem('policy', '"behind" needs a table: writes of a query cannot be put in order');
  if (values.behind === undefined && !reader.isBroken('behind')) {
    problem(
      'policy',
      '"behind" needs behind.directory, or behind.queue: streams: where writes are kept until the database has them',
    );
  }
}

/** Of an HTTP source. */
function checkValues(own: NamespaceValues, problem: (option: string, message: string) => void): void {
  const { path, key, absent, policy = 'read' } = own;
  for (const option of OF_ROWS) {
    if (own[option] !== undefined) problem(option, 'is for Postgres, and the source is an HTTP API');
  }
  if (path === undefined) problem('', 'needs path, where a value is: /products/{id}');
  else if (path.includes('{ids}')) {
    if (key === undefined)
      problem('key', 'needs key, the property that holds the id: answers to {ids} are matched by it');
    if (absent !== undefined) problem('absent', 'is for {id}: of many, those that are missing are absent');
  }
  if (policy !== 'read') problem('policy', 'an HTTP source can be read only');
}

/** Table or SQL, and what belongs to each. */
function checkRows(own: NamespaceValues, problem: (option: string, message: string) => void): void {
  const { table, sql, key, columns, version, write, policy = 'read', tags = [], warm } = own;
  for (const option of OF_VALUES) {
    if (own[option] !== undefined) problem(option, 'is for HTTP APIs, and the source is Postgres');
  }
  if ((table === undefined) === (sql === undefined)) {
    problem(table === undefined ? '' : 'sql', 'needs either table or sql, and not both');
    return;
  }
  if (key === undefined) problem('key', 'needs key, the column that ids are values of');
  if (warm !== undefined && sql !== undefined && warm.sql === undefined) {
    problem('warm', 'needs sql, a query for the ids: of a namespace with sql nothing else tells them');
  }
  if (warm?.sql?.includes('$1') && !warm.sql.includes('$2')) problem('warm.sql', 'has $1 and no LIMIT $2');
  if (warm?.page !== undefined && warm.sql !== undefined && !warm.sql.includes('$1')) {
    problem('warm.page', 'needs $1 and $2 in sql: without them it is read in one piece');
  }
  if (table !== undefined) {
    if (typeof table !== 'string' && table.length !== 2) problem('table', 'expected schema and table');
    for (const option of ['keyType', 'write'] as const) {
      if (own[option] !== undefined) problem(option, 'is for sql; of a table it is known');
    }
    if (columns === undefined) {
      problem('columns', 'needs columns, what a row consists of');
      return;
    }
    columns.forEach((column, index) => {
      if (columns.indexOf(column) < index) problem(`columns[${index}]`, `"${column}" stands there twice`);
    });
    if (version !== undefined && (version === key || !columns.includes(version))) {
      problem('version', 'must be one of the columns, and not the key');
    }
    tags.forEach((template, index) => {
      for (const column of columnsOf(template)) {
        if (!columns.includes(column)) problem(`tags[${index}]`, `"${column}" is not among the columns`);
      }
    });
    return;
  }
  if (!sql!.includes('$1')) problem('sql', 'has no $1, where the ids come in: WHERE id = ANY($1::bigint[])');
  for (const option of ['columns', 'version'] as const) {
    if (own[option] !== undefined) problem(option, 'is for table; the columns of sql are those of its result');
  }
  const isWritten = WRITES.includes(policy);
  if (isWritten && write?.upsert === undefined && write?.delete === undefined) {
    problem('policy', `"${policy}" of a namespace with sql needs write, with upsert, delete or both`);
  }
  if (!isWritten && write !== undefined) problem('write', 'needs a policy other than read');
  for (const verb of ['upsert', 'delete'] as const) {
    if (write?.[verb] !== undefined && !write[verb].includes('$1')) problem(`write.${verb}`, 'has no $1');
  }
}

/** Without the members that are undefined. */
export function present<T extends object>(values: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as {
    [K in keyof T]?: Exclude<T[K], undefined>;
  };
}
