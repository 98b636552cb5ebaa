/**
 * The routes under `/cache` of a gateway: a request becomes one call of the library, and what comes back becomes JSON. Every protection is the library's (one
 * flight a key however many connections ask, the lease, the stale value, the guard); there is no second way to the database.
 *
 * A key is `namespace:id`. PUT and DELETE change the *row*; to drop the cached copy alone there is POST /cache/invalidate. So a namespace refuses them until its
 * `policy` says that it may be written.
 */
import { createHash } from 'node:crypto';
import type { OpenAPIHono, z } from '@hono/zod-openapi';
import type { Breakwater } from '../cache/breakwater.ts';
import type { Invalidation } from '../cache/invalidation.ts';
import type { Detailed, GetOptions, Written } from '../cache/types.ts';
import { HttpFailure } from '../http/errors.ts';
import { memberText } from '../http/json-member.ts';
import {
  answer,
  BODY_EXTRA_BYTES,
  type Budgets,
  type CacheContext,
  type HttpBindings,
  keyOf,
  LIST_BODY_BYTES,
  MAX_BATCH_BYTES,
  matches,
  quote,
  readJson,
} from '../http/request.ts';
import { BatchGetBody } from '../http/shapes.ts';
import type { Access, Caller } from './access.ts';
import type { Right } from './config/options.ts';
import { findLossIn } from './exact-json.ts';
import { type Answered, answered, failure } from './failures.ts';
import type { GatewayMetrics } from './metrics.ts';
import { isByPolicy, type Namespace } from './namespaces.ts';
import type { Writable } from './queues.ts';
import type { Row } from './row.ts';
import { GatewayInvalidateBody, PutBody } from './schemas.ts';

export interface CacheRoutes extends Budgets {
  readonly bw: Breakwater;
  readonly namespaces: ReadonlyMap<string, Namespace>;
  readonly access: Access;
  readonly metrics: GatewayMetrics;
  readonly maxValueBytes: number;
  readonly writable: Writable;
  /** Takes a place for a write to this source, or throws; what comes back gives it up. */
  readonly beginWrite: (source: string) => () => void;
  /** Something that the client was not told. */
  readonly onHidden: (what: string, error: unknown) => void;
}

const NO_CACHE = 'no-cache';
const JSON_TYPE = { 'content-type': 'application/json', 'cache-control': NO_CACHE };

export function registerCacheRoutes(app: OpenAPIHono<HttpBindings>, options: CacheRoutes): void {
  app.get('/cache/:key', async (c) => {
    const key = keyOf(c);
    const caller = options.access.callerOf(c.req.header('authorization'));
    const { namespace, id } = find(options, caller, 'read', key, `reading ${quote(key)}`);
    const wishes = wishesOf(c, namespace);
    const got = await attempt(options, `load ${key}`, namespace, false, () => namespace.cache.getDetailed(id, wishes));
    options.metrics.answer(namespace.name, got.from);
    const headers = { age: String(Math.floor(got.ageMs / 1000)), 'breakwater-from': got.from };
    if (got.value === null) {
      throw new HttpFailure('KEY_KNOWN_ABSENT', `there is no ${quote(key)}`, { 'cache-control': NO_CACHE, ...headers });
    }
    const value = JSON.stringify(got.value);
    const etag = `W/"${createHash('sha1').update(value).digest('base64url')}"`;
    const all = { etag, 'cache-control': cacheControl(namespace, got, options.access), ...headers };
    if (matches(c.req.header('if-none-match'), etag)) return c.body(null, 304, all);
    return answer(c, options, entryJson(key, value, got), 200, all);
  });

  app.put('/cache/:key', async (c) => {
    const key = keyOf(c);
    const caller = options.access.callerOf(c.req.header('authorization'));
    const { namespace, id } = find(options, caller, 'write', key, `writing ${quote(key)}`);
    if (namespace.source !== null && !canWrite(namespace, 'upsert')) throw readOnly(namespace, 'PUT');
    const { text, parsed } = await readJson(c, options, options.maxValueBytes + BODY_EXTRA_BYTES, PutBody);
    if (parsed.value === undefined) throw new HttpFailure('BODY_INVALID', 'cannot write: the body has no "value"');
    checkText(text, key, options.maxValueBytes);
    if (namespace.source === null) return await store(c, options, namespace, id, parsed);
    for (const name of ['ttlSeconds', 'version'] as const) {
      if (parsed[name] === undefined) continue;
      throw new HttpFailure(
        'BODY_INVALID',
        `cannot write ${quote(key)}: "${name}" is the gateway's configuration to say`,
      );
    }
    const row = rowOf(parsed.value, namespace, id, key);
    return await write(c, options, namespace, key, false, (signal) =>
      isByPolicy(namespace.values)
        ? byPolicy(options, namespace, id, row, signal)
        : namespace.cache.write(id, () => namespace.sink!.upsert(new Map([[id, row]]), { signal })),
    );
  });

  app.delete('/cache/:key', async (c) => {
    const key = keyOf(c);
    const caller = options.access.callerOf(c.req.header('authorization'));
    const { namespace, id } = find(options, caller, 'write', key, `deleting ${quote(key)}`);
    if (namespace.source === null) {
      await attempt(options, `delete ${key}`, namespace, true, () => namespace.cache.delete(id));
      return c.body(null, 204, { 'breakwater-token': options.bw.token() });
    }
    if (!canWrite(namespace, 'delete')) throw readOnly(namespace, 'DELETE');
    return await write(c, options, namespace, key, true, (signal) =>
      isByPolicy(namespace.values)
        ? byPolicy(options, namespace, id, null, signal)
        : namespace.cache.write(id, () => namespace.sink!.delete([id], { signal })),
    );
  });

  app.post('/cache/batch-get', async (c) => {
    const caller = options.access.callerOf(c.req.header('authorization'));
    const { parsed } = await readJson(c, options, LIST_BODY_BYTES, BatchGetBody);
    const asked = parsed.keys.map((key) => ({ key, ...find(options, caller, 'read', key, `reading ${quote(key)}`) }));
    // The gets of one turn are one read of the store, and one query a namespace.
    const got = await Promise.allSettled(
      asked.map(({ namespace, id }) => namespace.cache.getDetailed(id, wishesOf(c, namespace))),
    );
    return answer(c, options, batchJson(options, asked, got), 200, { 'cache-control': NO_CACHE });
  });

  app.post('/cache/invalidate', async (c) => {
    const caller = options.access.callerOf(c.req.header('authorization'));
    const { parsed } = await readJson(c, options, LIST_BODY_BYTES, GatewayInvalidateBody);
    checkInvalidation(options, caller, parsed);
    if ([parsed.keys, parsed.tags, parsed.namespaces].some((names) => names !== undefined && names.length > 0)) {
      await attempt(options, 'invalidate', null, true, () => options.bw.invalidate(parsed as Invalidation));
    }
    return c.body('{"acknowledged":true}', 200, { ...JSON_TYPE, 'breakwater-token': options.bw.token() });
  });
}

/** @throws HttpFailure `NAMESPACE_UNKNOWN`, and what {@link Access.refused} makes */
function find(
  { namespaces, access }: CacheRoutes,
  caller: Caller,
  right: Right,
  key: string,
  what: string,
): { readonly namespace: Namespace; readonly id: string } {
  const at = key.indexOf(':');
  const name = at < 0 ? '' : key.slice(0, at);
  if (!caller.may(right, name)) throw access.refused(caller, right, what);
  const namespace = namespaces.get(name);
  if (namespace !== undefined) return { namespace, id: key.slice(at + 1) };
  const hint = at < 0 ? 'a key is namespace:id' : `there is no namespace ${quote(name)}`;
  throw failure('NAMESPACE_UNKNOWN', `cannot find ${quote(key)}: ${hint}`);
}

/** Does it; what goes wrong is counted, logged where the client is not told, and thrown as an answer. */
async function attempt<T>(
  options: CacheRoutes,
  what: string,
  namespace: Namespace | null,
  isWrite: boolean,
  act: () => Promise<T>,
): Promise<T> {
  try {
    return await act();
  } catch (error) {
    throw explained(options, error, what, namespace, isWrite)?.failure ?? error;
  }
}

function explained(
  { metrics, onHidden }: CacheRoutes,
  error: unknown,
  what: string,
  namespace: Namespace | null,
  isWrite: boolean,
): Answered | null {
  const found = answered(error, what, namespace?.name ?? '', isWrite);
  if (found === null) return null;
  if (namespace !== null) metrics.failure(namespace.name, found.failure.code);
  if (found.isHidden) onHidden(what, error);
  return found;
}

/**
 * What a request says about how old its answer may be (RFC 9111): `no-cache` and `max-age=0` ask the source; `max-stale=N` bounds how long past its ttl a row may
 * be. Without them the namespace's declaration stands.
 */
function wishesOf(c: CacheContext, namespace: Namespace): GetOptions {
  const after = c.req.header('breakwater-after');
  const control = c.req.header('cache-control');
  const wishes: { after?: string; fresh?: boolean; maxStale?: number } = {};
  if (after !== undefined) wishes.after = after;
  if (control === undefined) return wishes;
  for (const each of control.toLowerCase().split(',')) {
    const directive = each.trim();
    if (namespace.heedsNoCache && (directive === 'no-cache' || directive === 'max-age=0')) wishes.fresh = true;
    const seconds = /^max-stale=(\d{1,9})$/.exec(directive)?.[1];
    if (seconds !== undefined) wishes.maxStale = Number(seconds) * 1000;
  }
  return wishes;
}

/** Of what may be kept elsewhere; never longer than it is fresh here. */
function cacheControl({ maxAgeMs }: Namespace, { ttlMs, ageMs, from }: Detailed<Row>, access: Access): string {
  const seconds = maxAgeMs === null || from === 'stale' ? 0 : Math.floor(Math.min(maxAgeMs, ttlMs - ageMs) / 1000);
  return seconds < 1 ? NO_CACHE : `${access.isPublic ? 'public' : 'private'}, max-age=${seconds}`;
}

/** @param value as JSON */
function entryJson(key: string, value: string, { ttlMs, ageMs }: Detailed<Row>): string {
  const ttl = ttlMs === Number.POSITIVE_INFINITY ? 'null' : String(Math.max(0, Math.round(ttlMs - ageMs)) / 1000);
  return `{"key":${JSON.stringify(key)},"value":${value},"ttlSeconds":${ttl}}`;
}

type Asked = { readonly key: string; readonly namespace: Namespace; readonly id: string };

/** @throws HttpFailure the first key's, when every one of them failed */
function batchJson(
  options: CacheRoutes,
  asked: readonly Asked[],
  got: readonly PromiseSettledResult<Detailed<Row>>[],
): string {
  const results: string[] = [];
  const missing: string[] = [];
  const failed: { key: string; error: { code: string; message: string } }[] = [];
  let first: HttpFailure | null = null;
  let size = 0;
  got.forEach((each, index) => {
    const { key, namespace } = asked[index]!;
    if (each.status === 'rejected') {
      const found = explained(options, each.reason, `load ${key}`, namespace, false);
      if (found === null) throw each.reason;
      first ??= found.failure;
      failed.push({ key, error: { code: found.failure.code, message: found.failure.message } });
      return;
    }
    options.metrics.answer(namespace.name, each.value.from);
    if (each.value.value === null) {
      missing.push(key);
      return;
    }
    const entry = entryJson(key, JSON.stringify(each.value.value), each.value);
    size += entry.length;
    if (size > MAX_BATCH_BYTES) {
      throw new HttpFailure(
        'BATCH_TOO_LARGE',
        `the values together pass ${MAX_BATCH_BYTES} bytes: ask for fewer keys at a time`,
      );
    }
    results.push(entry);
  });
  if (first !== null && failed.length === asked.length) throw first;
  const tail = failed.length === 0 ? '' : `,"failed":${JSON.stringify(failed)}`;
  return `{"results":[${results.join(',')}],"missing":${JSON.stringify(missing)}${tail}}`;
}

function canWrite({ sink, values }: Namespace, verb: 'upsert' | 'delete'): boolean {
  return sink !== null && (values.sql === undefined || values.write?.[verb] !== undefined);
}

function readOnly(namespace: Namespace, method: string): HttpFailure {
  const allow = [
    'GET',
    'HEAD',
    ...(canWrite(namespace, 'upsert') ? ['PUT'] : []),
    ...(canWrite(namespace, 'delete') ? ['DELETE'] : []),
  ];
  const hint = method === 'DELETE' ? ': it would delete the row; POST /cache/invalidate drops the cached copy' : '';
  return failure('NAMESPACE_READ_ONLY', `${method} is not offered in "${namespace.name}"${hint}`, {
    allow: allow.join(', '),
  });
}

/** @throws HttpFailure `VALUE_TOO_LARGE`, `NUMBER_INEXACT`, `VALUE_TOO_DEEP` */
function checkText(body: string, key: string, maxValueBytes: number): void {
  const bytes = Buffer.byteLength(memberText(body, 'value') ?? '');
  if (bytes > maxValueBytes) {
    const bound = `the value has ${bytes} bytes, at most ${maxValueBytes} are allowed`;
    throw new HttpFailure('VALUE_TOO_LARGE', `cannot write ${quote(key)}: ${bound}`);
  }
  const loss = findLossIn(body);
  if (loss === null) return;
  if ('number' in loss) {
    throw failure(
      'NUMBER_INEXACT',
      `cannot write ${quote(key)}: ${quote(loss.number)} would be rounded; send it as text`,
    );
  }
  throw failure('VALUE_TOO_DEEP', `cannot write ${quote(key)}: the value is nested ${loss.depth} levels deep or more`);
}

/** The row to be written: with its key, which may be left out since the path has it. */
function rowOf(value: unknown, { values, name }: Namespace, id: string, key: string): Row {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new HttpFailure(
      'SOURCE_ROW_INVALID',
      `cannot write ${quote(key)}: "value" of "${name}" is a row, an object of columns`,
      {},
      422,
    );
  }
  const column = values.key ?? '';
  const isPart = values.columns === undefined || values.columns.includes(column);
  return isPart && !Object.hasOwn(value, column) ? { [column]: id, ...value } : (value as Row);
}

/** Policies `through` and `behind`. @param row null: delete it */
async function byPolicy(
  { writable }: CacheRoutes,
  namespace: Namespace,
  id: string,
  row: Row | null,
  signal: AbortSignal,
): Promise<Written<unknown>> {
  if (namespace.values.policy === 'behind') await writable.check(namespace, signal);
  return await namespace.cache.write(id, row);
}

/** One write to a source: counted, bounded in number and time. */
async function write(
  c: CacheContext,
  options: CacheRoutes,
  namespace: Namespace,
  key: string,
  isDelete: boolean,
  act: (signal: AbortSignal) => Promise<Written<unknown>>,
): Promise<Response> {
  const end = options.beginWrite(namespace.source!.name);
  try {
    const { token } = await attempt(options, `write ${key}`, namespace, true, () =>
      act(AbortSignal.timeout(namespace.writeTimeoutMs)),
    );
    const headers = { 'breakwater-token': token };
    // Under "behind" the database has it later: 202 says so, of a DELETE too.
    const isQueued = namespace.values.policy === 'behind';
    if (isDelete && !isQueued) return c.body(null, 204, headers);
    const result = isQueued ? 'queued' : 'written';
    return c.body(JSON.stringify({ key, result }), isQueued ? 202 : 200, { ...JSON_TYPE, ...headers });
  } finally {
    end();
  }
}

/** PUT of a namespace without a source: the entry itself. */
async function store(
  c: CacheContext,
  options: CacheRoutes,
  namespace: Namespace,
  id: string,
  { value, ttlSeconds, version }: z.infer<typeof PutBody>,
): Promise<Response> {
  const key = `${namespace.name}:${id}`;
  const isStored = await attempt(options, `store ${key}`, namespace, true, () =>
    namespace.cache.set(id, value as Row, {
      ...(ttlSeconds !== undefined && { ttl: Math.max(1, Math.round(ttlSeconds * 1000)) }),
      ...(version !== undefined && { version: typeof version === 'string' ? BigInt(version) : version }),
    }),
  );
  if (!isStored) {
    throw new HttpFailure(
      'VERSION_OLDER',
      `a newer version than ${version} is or was there, or may be: it was not stored`,
    );
  }
  return c.body(JSON.stringify({ key, result: 'stored' }), 200, {
    ...JSON_TYPE,
    'breakwater-token': options.bw.token(),
  });
}

/** @throws HttpFailure `RIGHT_MISSING`, `TOKEN_MISSING` */
function checkInvalidation(
  { access, namespaces }: CacheRoutes,
  caller: Caller,
  { keys = [], tags = [], namespaces: names = [] }: z.infer<typeof GatewayInvalidateBody>,
): void {
  const need = (namespace: string, what: string): void => {
    if (!caller.may('invalidate', namespace)) throw access.refused(caller, 'invalidate', what);
  };
  for (const key of keys) need(key.slice(0, Math.max(0, key.indexOf(':'))), `invalidating ${quote(key)}`);
  for (const name of names) need(name, `invalidating the namespace ${quote(name)}`);
  if (caller.mayEverywhere('invalidate')) return;
  for (const tag of tags) {
    const touched = [...namespaces.values()].filter((namespace) => namespace.tags.canHave(tag));
    if (touched.length === 0)
      throw access.refused(caller, 'invalidate', `invalidating the tag ${quote(tag)}, which no namespace has,`);
    for (const { name } of touched) need(name, `invalidating the tag ${quote(tag)}, which "${name}" has,`);
  }
}
