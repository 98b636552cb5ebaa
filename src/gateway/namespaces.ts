/**
 * The declared namespaces as caches of one Breakwater: options in, caches out. A namespace `product` is the cache `product`, whose entries are kept under
 * `product:42`, which is also their name over HTTP.
 */
import { BreakwaterError } from '../base/errors.ts';
import type { Breakwater } from '../cache/breakwater.ts';
import type { Cache } from '../cache/cache.ts';
import { createBreakwater } from '../cache/create.ts';
import type { Invalidation } from '../cache/invalidation.ts';
import type { Source } from '../cache/source.ts';
import type { CacheOptions } from '../cache/types.ts';
import type { Sink } from '../sources/port.ts';
import { FRESHNESS_NAMES, type FreshnessValues, type NamespaceValues } from './config/options.ts';
import { GatewayConfigError } from './config/problems.ts';
import { type GatewayConfig, NO_SOURCE, present } from './config/read.ts';
import type { Row } from './row.ts';
import type { OpenSource, Rows } from './sources.ts';
import { TagTemplates } from './tag-templates.ts';

export interface Namespace {
  readonly name: string;
  readonly cache: Cache<string, Row, Row>;
  /** Null: clients PUT its entries. */
  readonly source: OpenSource | null;
  readonly rows: Rows | null;
  /** What may be written, and how. */
  readonly sink: Sink<Row> | null;
  readonly values: NamespaceValues;
  readonly tags: TagTemplates;
  /** Whether `Cache-Control: no-cache` is heeded. */
  readonly heedsNoCache: boolean;
  readonly maxAgeMs: number | null;
  /** Longest that one write may take. */
  readonly writeTimeoutMs: number;
}

export interface Declared {
  readonly bw: Breakwater;
  readonly namespaces: ReadonlyMap<string, Namespace>;
}

export type { Invalidation };

const LOAD_TIMEOUT_MS = 5_000;

/**
 * Opens the Breakwater and declares everything in it. Connects to nothing yet.
 * @throws GatewayConfigError what the library refuses, with its line
 */
export function declareNamespaces(config: GatewayConfig, sources: ReadonlyMap<string, OpenSource>): Declared {
  const bw = worded(config, '', () =>
    createBreakwater({ ...config.store, defaults: freshnessOf(config.defaults) } as Parameters<
      typeof createBreakwater
    >[0]),
  ) as Breakwater;
  const guards = new Map<string, Source>();
  for (const [name, { guard = {} }] of config.sources) {
    guards.set(
      name,
      worded(config, `sources.${name}.guard`, () => bw.source(name, guard)),
    );
  }
  const namespaces = new Map<string, Namespace>();
  for (const [name, values] of config.namespaces) {
    const namespace = worded(config, `namespaces.${name}`, () => {
      const source = values.source === NO_SOURCE ? null : sources.get(values.source)!;
      return declare(bw, name, values, source, guards.get(values.source), config.defaults);
    });
    namespaces.set(name, namespace);
  }
  return { bw, namespaces };
}

function declare(
  bw: Breakwater,
  name: string,
  values: NamespaceValues,
  source: OpenSource | null,
  shared: Source | undefined,
  defaults: FreshnessValues,
): Namespace {
  const rows = source === null ? null : source.rowsOf(values);
  const tags = new TagTemplates(values.tags ?? []);
  const options: CacheOptions<string, Row, Row> = {
    ...freshnessOf(values),
    load: rows === null ? async (ids) => ids.map(() => null) : rows.source.load,
    ...(rows?.sink && isByPolicy(values) && { policy: values.policy, sink: rows.sink }),
    tags: (row, id) => tags.of(row, `${name}:${id}`),
    // Nothing is asked where there is no source: neither remembered as absent nor kept waiting. And a ttlSeconds of a client is what it says.
    ...(rows === null && {
      jitter: values.jitter ?? 0,
      negativeTtl: 0,
      leaseWait: 0,
      guard: { breaker: false, backoff: false },
    }),
    ...(values.guard !== undefined ? { guard: values.guard } : shared !== undefined && { guard: shared }),
  } as CacheOptions<string, Row, Row>;
  return {
    name,
    cache: bw.cache<Row, string>(name, options as never) as unknown as Cache<string, Row, Row>,
    source,
    rows,
    sink: rows?.sink ?? null,
    values,
    tags,
    heedsNoCache: source !== null && values.fresh !== false,
    maxAgeMs: values.maxAge ?? null,
    writeTimeoutMs: values.loadTimeout ?? defaults.loadTimeout ?? LOAD_TIMEOUT_MS,
  };
}

/** Whether the cache writes rows itself, database and all. */
export function isByPolicy({ policy }: NamespaceValues): boolean {
  return policy === 'through' || policy === 'behind';
}

/** The library's own names are the file's. */
function freshnessOf(values: FreshnessValues): Partial<FreshnessValues> {
  return present(
    Object.fromEntries(FRESHNESS_NAMES.map((option) => [option, values[option]])) as FreshnessValues,
  ) as Partial<FreshnessValues>;
}

/** What the library refuses, as a problem of the file: at the option that its sentence names, if that stands there. */
function worded<T>(config: GatewayConfig, path: string, open: () => T): T {
  try {
    return open();
  } catch (error) {
    if (!(error instanceof BreakwaterError)) throw error;
    const option = /^cannot (?:use|read) (?:option )?"?([A-Za-z0-9]+)/.exec(error.message)?.[1] ?? '';
    // Of what `createBreakwater` is given, the store has the most that can be wrong.
    const atTop = /ring/i.test(error.message) ? 'store.ring' : option === 'the' ? 'store' : option;
    const at = config.positionOf(path === '' ? atTop : `${path}.${option}`);
    throw new GatewayConfigError(config.file, [{ ...at, message: `${error.message} [${error.code}]` }]);
  }
}
