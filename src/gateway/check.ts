/**
 * `breakwater gateway --check`: what reading the file cannot know. Is each source there, does each table have its columns, does Postgres accept the SQL, does the
 * store answer? Nothing is loaded and nothing is written: queries run with no ids, SQL that writes is planned and not run.
 */
import { BreakwaterError, messageOf } from '../base/errors.ts';
import type { Position } from './config/problems.ts';
import type { GatewayConfig } from './config/read.ts';
import { declareNamespaces, type Namespace } from './namespaces.ts';
import { type OpenSource, openSources } from './sources.ts';

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
  const { bw, namespaces } = declareNamespaces(config, sources);
  try {
    return isOffline ? [] : await findings(config, sources, namespaces, async () => (await bw.stats()).store);
  } finally {
    await bw.close();
    await Promise.allSettled([...sources.values()].map((source) => source.close()));
  }
}

async function findings(
  config: GatewayConfig,
  sources: ReadonlyMap<string, OpenSource>,
  namespaces: ReadonlyMap<string, Namespace>,
  storeOf: () => Promise<{ readonly kind: string; readonly numbers: object | null; readonly lastError: string | null }>,
): Promise<Finding[]> {
  const found: Finding[] = [];
  const { kind, numbers, lastError } = await storeOf();
  found.push({
    what: 'store',
    kind: numbers === null ? 'wrong' : 'fine',
    message: numbers === null ? `${kind} does not answer${lastError === null ? '' : `: ${lastError}`}` : kind,
    at: config.positionOf('store'),
  });
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
  return found;
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
    const at = config.positionOf(`${path}.${optionOf(wrong.code)}`);
    found.push({ what, kind: 'wrong', message: wrong.message, at });
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
