/**
 * The shapes of the HTTP face, once: the handlers check requests with them and the OpenAPI document is generated from them.
 * Objects are strict: `{"value":1,"ttl":60}` is refused, because a misspelt `ttlSeconds` would store for ever.
 */
import { createRoute, type OpenAPIHono, z } from '@hono/zod-openapi';

/** Longest key over HTTP, bytes of UTF-8. */
export const MAX_KEY_BYTES = 512;
/** Most keys of one batch-get. */
export const MAX_BATCH_KEYS = 1000;
/** Most keys, tags or namespaces of one invalidate. */
export const MAX_INVALIDATE_NAMES = 10_000;
/** Most tags of an entry. */
export const MAX_TAGS = 255;
/** About 100 years: a larger TTL is a mistake in units. */
const MAX_TTL_SECONDS = 3_200_000_000;

const utf8Bytes = (text: string): number => Buffer.byteLength(text, 'utf8');
const name = (what: string, min: number) =>
  z
    .string()
    .refine((text) => utf8Bytes(text) >= min && utf8Bytes(text) <= MAX_KEY_BYTES, {
      error: `${what} has ${min} to ${MAX_KEY_BYTES} bytes`,
    })
    // Half a surrogate pair has no UTF-8: encoders write U+FFFD for it, and it would name another key.
    .refine((text) => !/\p{Surrogate}/u.test(text), { error: `${what} is Unicode text, without half a surrogate pair` })
    .openapi({ description: `${min} to ${MAX_KEY_BYTES} bytes of UTF-8.` });

const key = name('a key', 1).openapi({ example: 'user:42' });
const tag = name('a tag', 1).openapi({ example: 'org:7' });
const namespace = name('a namespace', 0)
  .refine((text) => !text.includes(':'), {
    error: 'a namespace is what stands before the first ":" of a key, without it',
  })
  .openapi({ example: 'user' });
const ttlSeconds = z
  .number()
  .positive({ error: 'ttlSeconds is a positive number, or null for no expiry' })
  .max(MAX_TTL_SECONDS, { error: `ttlSeconds is at most ${MAX_TTL_SECONDS} (about 100 years)` })
  .nullish()
  .openapi({ description: 'Seconds to live, fractions allowed; null or absent = no expiry.', example: 300 });
const anyJson = z
  .unknown()
  .openapi({ description: 'Any JSON value; kept to the last digit.', example: { name: 'Ada' } });

/** Body of PUT /cache/{key}. */
export const PutBody = z
  .strictObject({
    value: anyJson,
    ttlSeconds,
    tags: z
      .array(tag)
      .max(MAX_TAGS, { error: `at most ${MAX_TAGS} tags` })
      .optional(),
    version: z
      .union([
        z.int().min(0, { error: 'a version is an integer from 0 to 2^64 - 1' }),
        z.string().regex(/^(?:0|[1-9]\d{0,19})$/, { error: 'a version is an integer from 0 to 2^64 - 1' }),
      ])
      .optional()
      .openapi({
        description:
          'The version that the source gave the value (a row version, an LSN): an older one never replaces a newer one. Text beyond 2^53.',
        example: 7,
      }),
  })
  .openapi('PutBody', { required: ['value'] });

/** Body of POST /cache/batch-get. */
export const BatchGetBody = z
  .strictObject({ keys: z.array(key).max(MAX_BATCH_KEYS, { error: `at most ${MAX_BATCH_KEYS} keys a request` }) })
  .openapi('BatchGetBody');

const names = <T extends z.ZodType>(item: T) =>
  z
    .array(item)
    .max(MAX_INVALIDATE_NAMES, { error: `at most ${MAX_INVALIDATE_NAMES} names a list` })
    .optional();

/** Body of POST /cache/invalidate. */
export const InvalidateBody = z
  .strictObject({ keys: names(key), tags: names(tag), namespaces: names(namespace) })
  .openapi('InvalidateBody');

const Entry = z
  .object({
    key,
    value: anyJson,
    ttlSeconds: z.number().nullable().openapi({ description: 'Seconds left; null = no expiry.', example: 299.5 }),
    encoding: z
      .literal('base64')
      .optional()
      .openapi({ description: 'Present when the value is bytes that are no text.' }),
  })
  .openapi('Entry', { required: ['key', 'value', 'ttlSeconds'] });
const Failure = z
  .object({ error: z.object({ code: z.string().openapi({ example: 'KEY_NOT_FOUND' }), message: z.string() }) })
  .openapi('Error');

const json = <T extends z.ZodType>(schema: T, description: string) => ({
  description,
  content: { 'application/json': { schema } },
});
const failure = (description: string) => json(Failure, description);
const text = (description: string) => ({ description, content: { 'text/plain': { schema: z.string() } } });
const body = <T extends z.ZodType>(schema: T) => ({ required: true, content: { 'application/json': { schema } } });
const keyParam = z.object({
  key: z.string().openapi({
    param: { name: 'key', in: 'path' },
    description: 'URL-encoded, at most 512 bytes.',
    example: 'user:42',
  }),
});
const header = (description: string) => ({ description, schema: { type: 'string' as const } });

const ROUTES = [
  createRoute({
    method: 'get',
    path: '/cache/{key}',
    operationId: 'getEntry',
    summary: 'Read an entry',
    request: { params: keyParam, headers: z.object({ 'if-none-match': z.string().optional() }) },
    responses: {
      200: {
        ...json(Entry, 'The entry.'),
        headers: {
          ETag: header('The version of the entry.'),
          'Cache-Control': header('no-cache: revalidate with If-None-Match.'),
        },
      },
      304: { description: 'Unchanged since the ETag of If-None-Match.' },
      400: failure('KEY_INVALID'),
      404: {
        ...failure('KEY_NOT_FOUND; KEY_KNOWN_ABSENT when the library remembers that the source has no such row.'),
        headers: {
          'Breakwater-Lease': header(
            'Present it with the PUT that fills this key. Absent when another caller holds the lease.',
          ),
          'Breakwater-Lease-Wait-Ms': header('How long others should wait for the holder before they load themselves.'),
        },
      },
      503: failure('OVERLOADED'),
    },
  }),
  createRoute({
    method: 'put',
    path: '/cache/{key}',
    operationId: 'putEntry',
    summary: 'Store an entry',
    request: {
      params: keyParam,
      headers: z.object({
        'breakwater-lease': z
          .string()
          .optional()
          .openapi({ description: 'The lease of the miss that this value answers.' }),
      }),
      body: body(PutBody),
    },
    responses: {
      200: json(
        z.object({ key, result: z.enum(['replaced', 'same']) }),
        'Replaced; `same`: this very version was there.',
      ),
      201: json(z.object({ key, result: z.literal('created') }), 'Created.'),
      400: failure('KEY_INVALID, JSON_INVALID, BODY_INVALID, LEASE_INVALID'),
      409: failure(
        'LEASE_VOID: the key, its namespace or one of its tags changed after the lease was granted; nothing was stored. VERSION_OLDER: a newer version is or was there; nothing was done. VERSION_UNSURE: it may be older than what was there; not stored, and the key was removed. PLAIN_SET_HELD_OFF, PLAIN_SET_REFUSED: the setting plain-set of the key’s namespace; not stored without a lease or a version.',
      ),
      413: failure('BODY_TOO_LARGE, VALUE_TOO_LARGE'),
      415: failure('CONTENT_TYPE_UNSUPPORTED'),
      503: failure('OVERLOADED'),
      507: failure('MEMORY_FULL: only under eviction noeviction.'),
    },
  }),
  createRoute({
    method: 'delete',
    path: '/cache/{key}',
    operationId: 'deleteEntry',
    summary: 'Delete an entry',
    request: { params: keyParam },
    responses: { 204: { description: 'It is gone, whether or not it was there.' }, 400: failure('KEY_INVALID') },
  }),
  createRoute({
    method: 'post',
    path: '/cache/batch-get',
    operationId: 'batchGet',
    summary: 'Read many entries',
    description: 'Results and missing keep the order of the request; a key asked for twice is answered twice.',
    request: { body: body(BatchGetBody) },
    responses: {
      200: json(
        z.object({ results: z.array(Entry), missing: z.array(key) }).openapi('BatchGetAnswer'),
        'What was found and what was not.',
      ),
      400: failure('JSON_INVALID, BODY_INVALID'),
      413: failure('BODY_TOO_LARGE, BATCH_TOO_LARGE: the values together are too large for one answer.'),
      415: failure('CONTENT_TYPE_UNSUPPORTED'),
      503: failure('OVERLOADED'),
    },
  }),
  createRoute({
    method: 'post',
    path: '/cache/invalidate',
    operationId: 'invalidate',
    summary: 'Invalidate keys, tags and namespaces',
    description: 'O(1) for each tag and namespace. Answered when it has been applied.',
    request: { body: body(InvalidateBody) },
    responses: {
      200: json(
        z.object({ keysRemoved: z.number().int() }),
        'Applied. Entries of tags and namespaces are not counted.',
      ),
      400: failure('JSON_INVALID, BODY_INVALID'),
      413: failure('BODY_TOO_LARGE'),
      415: failure('CONTENT_TYPE_UNSUPPORTED'),
    },
  }),
  createRoute({
    method: 'get',
    path: '/healthz',
    operationId: 'health',
    summary: 'Is the process alive?',
    responses: { 200: json(z.object({ status: z.literal('ok') }), 'Yes.') },
  }),
  createRoute({
    method: 'get',
    path: '/readyz',
    operationId: 'readiness',
    summary: 'Should it get traffic?',
    responses: {
      200: json(z.object({ status: z.literal('ready') }), 'Yes.'),
      503: failure('NOT_READY: starting or shutting down.'),
    },
  }),
  createRoute({
    method: 'get',
    path: '/metrics',
    operationId: 'metrics',
    summary: 'Prometheus metrics',
    responses: { 200: text('Text exposition format.') },
  }),
  createRoute({
    method: 'get',
    path: '/stats.json',
    operationId: 'stats',
    summary: 'What the status page shows',
    responses: { 200: json(z.looseObject({}), 'Figures of now and of the last minutes. May gain fields.') },
  }),
  createRoute({
    method: 'get',
    path: '/openapi.json',
    operationId: 'openApi',
    summary: 'This document',
    responses: { 200: json(z.looseObject({}), 'OpenAPI 3.1.') },
  }),
];

/** Registers every route's documentation and returns the document. */
export function openApiDocument(app: OpenAPIHono, version: string): object {
  for (const route of ROUTES) app.openAPIRegistry.registerPath(route);
  return app.getOpenAPI31Document({
    openapi: '3.1.0',
    info: {
      title: 'Breakwater',
      version,
      description:
        'The HTTP face of a Breakwater node. Every error has the shape {"error":{"code","message"}} and a stable code.',
    },
  });
}

/** The methods of a path that exists, or null: to tell 405 from 404. */
export function methodsOf(path: string): string[] | null {
  const template =
    path.startsWith('/cache/') && path !== '/cache/batch-get' && path !== '/cache/invalidate' ? '/cache/{key}' : path;
  const methods = ROUTES.filter((route) => route.path === template).map((route) => route.method.toUpperCase());
  return methods.length === 0 ? null : methods.includes('GET') ? ['HEAD', ...methods].sort() : methods.sort();
}
