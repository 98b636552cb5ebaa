/**
 * The routes under `/cache`: each turns a request into the `BW.*` or Redis command that a RESP client would have sent, runs it through
 * the node, and turns the reply into JSON. There is no second way into the engine, so what PUT stores redis-cli reads.
 */
import { createHash } from 'node:crypto';
import type { OpenAPIHono } from '@hono/zod-openapi';
import { HttpFailure } from '../http/errors.ts';
import { memberText } from '../http/json-member.ts';
import {
  answer,
  BODY_EXTRA_BYTES,
  type Budgets,
  decodeText,
  type HttpBindings,
  keyOf,
  LIST_BODY_BYTES,
  MAX_BATCH_BYTES,
  matches,
  quote,
  readJson,
} from '../http/request.ts';
import { BatchGetBody, InvalidateBody } from '../http/shapes.ts';
import { PutBody } from './http-schemas.ts';
import { type ShownValue, showValue } from './json-value.ts';
import { failureOf, type LocalSession } from './local-session.ts';

export interface CacheRoutesOptions extends Budgets {
  readonly session: LocalSession;
  readonly maxValueBytes: number;
  /** Distinguishes this run of the node: versions start anew with it. */
  readonly runId: string;
  /** Of a cluster: entries come from several members, each of which counts its versions by itself, so an ETag is made of the value. */
  readonly isMember: boolean;
}

const NO_CACHE = 'no-cache';
/** Keys of one batch that are under way to their owners. */
const READS_AT_ONCE = 64;

/** An entry as read: how it shows, what is left of its TTL, its version. */
interface Found {
  readonly kind: 'hit';
  readonly shown: ShownValue;
  readonly ttlMs: number;
  readonly version: number;
}
type Read =
  | Found
  | { readonly kind: 'absent' }
  /** The library stored it in a way that one entry alone does not show. */
  | { readonly kind: 'unreadable'; readonly reason: string }
  | { readonly kind: 'miss'; readonly lease: string | null; readonly waitMs: number };

export function registerCacheRoutes(app: OpenAPIHono<HttpBindings>, options: CacheRoutesOptions): void {
  const { session } = options;

  app.get('/cache/:key', async (c) => {
    const key = keyOf(c);
    const read = await readEntry(session, key, true);
    if (read.kind === 'absent') {
      throw new HttpFailure('KEY_KNOWN_ABSENT', `the source is known to have nothing for ${quote(key)}`, {
        'cache-control': NO_CACHE,
      });
    }
    if (read.kind === 'unreadable') {
      throw new HttpFailure(
        'VALUE_NOT_SHOWN',
        `there is an entry for ${quote(key)}, and it cannot be shown here: ${read.reason}; read it through the library`,
        { 'cache-control': NO_CACHE },
      );
    }
    if (read.kind === 'miss') {
      const headers: Record<string, string> = { 'cache-control': NO_CACHE };
      if (read.lease !== null) headers['breakwater-lease'] = read.lease;
      if (read.waitMs > 0) headers['breakwater-lease-wait-ms'] = String(read.waitMs);
      throw new HttpFailure('KEY_NOT_FOUND', `no entry for ${quote(key)}`, headers);
    }
    const etag = options.isMember
      ? `W/"${createHash('sha256').update(`${read.shown.base64} ${read.shown.json}`).digest('base64url')}"`
      : `W/"${options.runId.slice(0, 8)}-${read.version}"`;
    const headers = { etag, 'cache-control': NO_CACHE };
    if (matches(c.req.header('if-none-match'), etag)) return c.body(null, 304, headers);
    return answer(c, options, entryJson(key, read), 200, headers);
  });

  app.put('/cache/:key', async (c) => {
    const key = keyOf(c);
    const lease = c.req.header('breakwater-lease');
    const { text, parsed } = await readJson(c, options, options.maxValueBytes + BODY_EXTRA_BYTES, PutBody);
    const value = memberText(text, 'value');
    if (value === null) throw new HttpFailure('BODY_INVALID', 'cannot store: the body has no "value"');
    const bytes = Buffer.from(value, 'utf8');
    if (bytes.length > options.maxValueBytes) {
      throw new HttpFailure(
        'VALUE_TOO_LARGE',
        `cannot store: the value has ${bytes.length} bytes, at most ${options.maxValueBytes} are allowed`,
      );
    }
    const args: (string | Uint8Array)[] = ['BW.SET', key, bytes];
    if (parsed.ttlSeconds != null) args.push('PX', String(Math.max(1, Math.round(parsed.ttlSeconds * 1000))));
    if (parsed.tags !== undefined && parsed.tags.length > 0)
      args.push('TAGS', String(parsed.tags.length), ...parsed.tags);
    if (lease !== undefined) {
      if (!/^[\x21-\x7e]{1,64}$/.test(lease))
        throw new HttpFailure('LEASE_INVALID', 'cannot store: the Breakwater-Lease header is no lease');
      args.push('LEASE', lease);
    }
    if (parsed.version !== undefined) args.push('SVERSION', String(parsed.version));
    const result = await session.call(args);
    if (result === 'held-off') {
      throw new HttpFailure(
        'PLAIN_SET_HELD_OFF',
        `${quote(key)} was invalidated a moment ago: not stored without a lease`,
      );
    }
    if (result === 'older') {
      throw new HttpFailure(
        'VERSION_OLDER',
        `a newer version than ${parsed.version} is or was there: nothing was done`,
      );
    }
    if (result === 'unsure') {
      throw new HttpFailure(
        'VERSION_UNSURE',
        `version ${parsed.version} may be older than what was there: it was not stored, and the key was removed`,
      );
    }
    if (result !== 'created' && result !== 'replaced' && result !== 'same') throw refusal(result);
    return c.body(`{"key":${JSON.stringify(key)},"result":"${result}"}`, result === 'created' ? 201 : 200, {
      'content-type': 'application/json',
      'cache-control': NO_CACHE,
    });
  });

  app.delete('/cache/:key', async (c) => {
    const removed = await session.call(['DEL', keyOf(c)]);
    if (typeof removed !== 'number') throw refusal(removed);
    return c.body(null, 204);
  });

  app.post('/cache/batch-get', async (c) => {
    const { parsed } = await readJson(c, options, LIST_BODY_BYTES, BatchGetBody);
    const results: string[] = [];
    const missing: string[] = [];
    let size = 0;
    for (let from = 0; from < parsed.keys.length; from += READS_AT_ONCE) {
      const keys = parsed.keys.slice(from, from + READS_AT_ONCE);
      const reads = await Promise.all(keys.map((key) => readEntry(session, key, false)));
      for (const [index, key] of keys.entries()) {
        const read = reads[index]!;
        if (read.kind !== 'hit') {
          missing.push(key);
          continue;
        }
        const entry = entryJson(key, read);
        size += entry.length;
        if (size > MAX_BATCH_BYTES) {
          throw new HttpFailure(
            'BATCH_TOO_LARGE',
            `the values together pass ${MAX_BATCH_BYTES} bytes: ask for fewer keys at a time`,
          );
        }
        results.push(entry);
      }
    }
    return answer(c, options, `{"results":[${results.join(',')}],"missing":${JSON.stringify(missing)}}`, 200, {});
  });

  app.post('/cache/invalidate', async (c) => {
    const { parsed } = await readJson(c, options, LIST_BODY_BYTES, InvalidateBody);
    const args: string[] = ['BW.INVALIDATE'];
    for (const [clause, names] of Object.entries({
      KEYS: parsed.keys,
      TAGS: parsed.tags,
      NAMESPACES: parsed.namespaces,
    })) {
      if (names !== undefined && names.length > 0) args.push(clause, String(names.length), ...names);
    }
    const removed = args.length === 1 ? 0 : await session.call(args);
    if (typeof removed !== 'number') throw refusal(removed);
    return c.body(`{"keysRemoved":${removed}}`, 200, { 'content-type': 'application/json' });
  });
}

async function readEntry(session: LocalSession, key: string, wantLease: boolean): Promise<Read> {
  const reply = await session.call(wantLease ? ['BW.GET', key, 'LEASE'] : ['BW.GET', key]);
  if (reply === null) return { kind: 'miss', lease: null, waitMs: 0 };
  if (!Array.isArray(reply)) throw refusal(reply);
  if (reply.length === 2) {
    const [token, waitMs] = reply;
    return { kind: 'miss', lease: token instanceof Uint8Array ? decodeText(token) : null, waitMs: Number(waitMs) };
  }
  const [value, ttlMs, version] = reply;
  if (!(value instanceof Uint8Array)) throw refusal(reply);
  const shown = showValue(value);
  if (shown.kind !== 'value') return shown;
  return { kind: 'hit', shown, ttlMs: Number(ttlMs), version: Number(version) };
}

function entryJson(key: string, { shown, ttlMs }: Found): string {
  const ttl = ttlMs < 0 ? 'null' : String(ttlMs / 1000);
  const encoding = shown.base64 ? ',"encoding":"base64"' : '';
  return `{"key":${JSON.stringify(key)},"value":${shown.json},"ttlSeconds":${ttl}${encoding}}`;
}

/** An error reply of the node, in HTTP's words. */
function refusal(reply: unknown): Error {
  const failure = failureOf(reply);
  if (failure === null) return new Error(`the node gave an unexpected reply: ${String(reply)}`);
  const { code, text } = failure;
  if (code === 'NOREPLICAS') return new HttpFailure('NOT_ACKNOWLEDGED', text);
  if (code === 'TRYAGAIN' || code === 'CLUSTERDOWN') return new HttpFailure('OWNER_AWAY', text, { 'retry-after': '1' });
  if (code === 'PLAINSET') return new HttpFailure('PLAIN_SET_REFUSED', text);
  if (code === 'LEASEVOID') return new HttpFailure('LEASE_VOID', text);
  if (code === 'OOM') return new HttpFailure('MEMORY_FULL', 'memory is full and the eviction policy evicts nothing');
  if (text.includes('value is too large')) return new HttpFailure('VALUE_TOO_LARGE', text);
  if (text.includes('key is too long')) return new HttpFailure('KEY_INVALID', text);
  if (text.includes('source version')) return new HttpFailure('BODY_INVALID', text);
  if (text.includes('lease token')) return new HttpFailure('LEASE_INVALID', text);
  return new Error(`the node refused: ${code} ${text}`);
}
