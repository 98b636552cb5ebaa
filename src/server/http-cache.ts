/**
 * The routes under `/cache`: each turns a request into the `BW.*` or Redis command that a RESP client would have sent, runs it through
 * the node, and turns the reply into JSON. There is no second way into the engine, so what PUT stores redis-cli reads.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { OpenAPIHono, z } from '@hono/zod-openapi';
import type { Context } from 'hono';
import { type ByteBudget, readBody } from './http-body.ts';
import { HttpFailure } from './http-errors.ts';
import { BatchGetBody, InvalidateBody, MAX_KEY_BYTES, PutBody } from './http-schemas.ts';
import { decodeText, memberText, type ShownValue, showValue } from './json-value.ts';
import { failureOf, type LocalSession } from './local-session.ts';

/** What @hono/node-server hands to a handler. */
export type HttpBindings = { Bindings: { incoming: IncomingMessage; outgoing: ServerResponse } };
type CacheContext = Context<HttpBindings>;

export interface CacheRoutesOptions {
  readonly session: LocalSession;
  readonly maxValueBytes: number;
  /** Bodies that are streaming in. */
  readonly bodies: ByteBudget;
  /** Large answers that clients have not read yet. */
  readonly answers: ByteBudget;
  /** Distinguishes this run of the node: versions start anew with it. */
  readonly runId: string;
}

/** Room in a body beside the value: braces, names, tags. */
const BODY_EXTRA_BYTES = 256 * 1024;
/** Lists of keys and tags. */
const LIST_BODY_BYTES = 8 * 1024 * 1024;
/** The values of one batch-get together. */
const MAX_BATCH_BYTES = 64 * 1024 * 1024;
/** Answers below this are not accounted for: the kernel takes them at once. */
const SMALL_ANSWER_BYTES = 32 * 1024;
const NO_CACHE = 'no-cache';

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
  | { readonly kind: 'miss'; readonly lease: string | null; readonly waitMs: number };

export function registerCacheRoutes(app: OpenAPIHono<HttpBindings>, options: CacheRoutesOptions): void {
  const { session } = options;

  app.get('/cache/:key', (c) => {
    const key = keyOf(c);
    const read = readEntry(session, key, true);
    if (read.kind === 'absent') {
      throw new HttpFailure('KEY_KNOWN_ABSENT', `the source is known to have nothing for ${quote(key)}`, {
        'cache-control': NO_CACHE,
      });
    }
    if (read.kind === 'miss') {
      const headers: Record<string, string> = { 'cache-control': NO_CACHE };
      if (read.lease !== null) headers['breakwater-lease'] = read.lease;
      if (read.waitMs > 0) headers['breakwater-lease-wait-ms'] = String(read.waitMs);
      throw new HttpFailure('KEY_NOT_FOUND', `no entry for ${quote(key)}`, headers);
    }
    const etag = `W/"${options.runId.slice(0, 8)}-${read.version}"`;
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
    const result = session.call(args);
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

  app.delete('/cache/:key', (c) => {
    const removed = session.call(['DEL', keyOf(c)]);
    if (typeof removed !== 'number') throw refusal(removed);
    return c.body(null, 204);
  });

  app.post('/cache/batch-get', async (c) => {
    const { parsed } = await readJson(c, options, LIST_BODY_BYTES, BatchGetBody);
    const results: string[] = [];
    const missing: string[] = [];
    let size = 0;
    for (const key of parsed.keys) {
      const read = readEntry(session, key, false);
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
    const removed = args.length === 1 ? 0 : session.call(args);
    if (typeof removed !== 'number') throw refusal(removed);
    return c.body(`{"keysRemoved":${removed}}`, 200, { 'content-type': 'application/json' });
  });
}

/** The key in the path, decoded from exactly what the client sent. */
function keyOf(c: CacheContext): string {
  const path = pathOf(c.env.incoming.url ?? '/');
  let key: string;
  try {
    key = decodeURIComponent(path.slice('/cache/'.length));
  } catch {
    throw new HttpFailure('KEY_INVALID', 'the key in the path is not URL-encoded UTF-8');
  }
  const length = Buffer.byteLength(key, 'utf8');
  if (length < 1 || length > MAX_KEY_BYTES)
    throw new HttpFailure('KEY_INVALID', `a key has 1 to ${MAX_KEY_BYTES} bytes, this one has ${length}`);
  return key;
}

/** The path of a request target, as sent: no dot segments removed, nothing decoded, so that every key can be named. */
export function pathOf(target: string): string {
  const path = /^https?:\/\/[^/?#]*(.*)$/i.exec(target)?.[1] ?? target;
  const end = path.search(/[?#]/);
  return end === -1 ? path || '/' : path.slice(0, end);
}

function readEntry(session: LocalSession, key: string, wantLease: boolean): Read {
  const reply = session.call(wantLease ? ['BW.GET', key, 'LEASE'] : ['BW.GET', key]);
  if (reply === null) return { kind: 'miss', lease: null, waitMs: 0 };
  if (!Array.isArray(reply)) throw refusal(reply);
  if (reply.length === 2) {
    const [token, waitMs] = reply;
    return { kind: 'miss', lease: token instanceof Uint8Array ? decodeText(token) : null, waitMs: Number(waitMs) };
  }
  const [value, ttlMs, version] = reply;
  if (!(value instanceof Uint8Array)) throw refusal(reply);
  const shown = showValue(value);
  if (shown.kind === 'unreadable') return { kind: 'miss', lease: null, waitMs: 0 };
  if (shown.kind === 'absent') return shown;
  return { kind: 'hit', shown, ttlMs: Number(ttlMs), version: Number(version) };
}

function entryJson(key: string, { shown, ttlMs }: Found): string {
  const ttl = ttlMs < 0 ? 'null' : String(ttlMs / 1000);
  const encoding = shown.base64 ? ',"encoding":"base64"' : '';
  return `{"key":${JSON.stringify(key)},"value":${shown.json},"ttlSeconds":${ttl}${encoding}}`;
}

/** Answers with JSON; a large answer takes its share of the budget until the client has it. */
function answer(
  c: CacheContext,
  { answers }: CacheRoutesOptions,
  text: string,
  status: 200,
  headers: Record<string, string>,
): Response {
  const body = Buffer.from(text, 'utf8');
  if (body.length > SMALL_ANSWER_BYTES) {
    if (!answers.take(body.length)) {
      throw new HttpFailure('OVERLOADED', 'too many large answers are waiting for their clients', {
        'retry-after': '1',
      });
    }
    c.env.outgoing.once('close', () => answers.give(body.length));
  }
  return c.body(body, status, { 'content-type': 'application/json', ...headers });
}

/** RFC 9110: a list of entity tags or `*`, compared weakly. */
function matches(header: string | undefined, etag: string): boolean {
  if (header === undefined) return false;
  if (header.trim() === '*') return true;
  const plain = etag.replace(/^W\//, '');
  return header.split(',').some((each) => each.trim().replace(/^W\//, '') === plain);
}

/** The body as JSON of the wanted shape, with its text. */
async function readJson<T extends z.ZodType>(
  c: CacheContext,
  { bodies }: CacheRoutesOptions,
  maxBytes: number,
  schema: T,
): Promise<{ text: string; parsed: z.infer<T> }> {
  const type = c.req.header('content-type') ?? '';
  if (
    !/^application\/json\s*(;\s*charset="?utf-8"?\s*)?$/i.test(type.trim()) ||
    (c.req.header('content-encoding') ?? 'identity') !== 'identity'
  ) {
    throw new HttpFailure(
      'CONTENT_TYPE_UNSUPPORTED',
      `send the body as Content-Type: application/json in UTF-8, received ${quote(type)}`,
    );
  }
  const bytes = await readBody(c.env.incoming, maxBytes, bodies);
  if (bytes === 'too-large') throw new HttpFailure('BODY_TOO_LARGE', `the body has more than ${maxBytes} bytes`);
  if (bytes === 'overloaded') {
    throw new HttpFailure('OVERLOADED', 'too many bodies are being received at once', { 'retry-after': '1' });
  }
  if (bytes === 'aborted') throw new HttpFailure('BODY_INVALID', 'the body ended early');
  const text = decodeText(bytes);
  if (text === null) throw new HttpFailure('JSON_INVALID', 'the body is not UTF-8');
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new HttpFailure('JSON_INVALID', 'the body is not JSON');
  }
  const result = schema.safeParse(value);
  if (!result.success) {
    const issue = result.error.issues[0];
    const at = issue === undefined || issue.path.length === 0 ? '' : `${issue.path.join('.')}: `;
    throw new HttpFailure(
      'BODY_INVALID',
      `the body has not the expected shape: ${at}${/received undefined$/.test(issue?.message ?? '') ? 'is missing' : issue?.message}`,
    );
  }
  return { text, parsed: result.data };
}

/** An error reply of the node, in HTTP's words. */
function refusal(reply: unknown): Error {
  const failure = failureOf(reply);
  if (failure === null) return new Error(`the node gave an unexpected reply: ${String(reply)}`);
  const { code, text } = failure;
  if (code === 'PLAINSET') return new HttpFailure('PLAIN_SET_REFUSED', text);
  if (code === 'LEASEVOID') return new HttpFailure('LEASE_VOID', text);
  if (code === 'OOM') return new HttpFailure('MEMORY_FULL', 'memory is full and the eviction policy evicts nothing');
  if (text.includes('value is too large')) return new HttpFailure('VALUE_TOO_LARGE', text);
  if (text.includes('key is too long')) return new HttpFailure('KEY_INVALID', text);
  if (text.includes('source version')) return new HttpFailure('BODY_INVALID', text);
  if (text.includes('lease token')) return new HttpFailure('LEASE_INVALID', text);
  return new Error(`the node refused: ${code} ${text}`);
}

function quote(text: string): string {
  return JSON.stringify(text.length > 80 ? `${text.slice(0, 80)}...` : text);
}
