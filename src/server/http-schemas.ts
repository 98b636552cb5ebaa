/**
 * The shapes of a node's HTTP face beside the common ones (`http/shapes.ts`): the handlers check requests with them and the OpenAPI document is generated from them.
 * `{"value":1,"ttl":60}` is refused: a misspelt `ttlSeconds` would store for ever.
 */
import { createRoute, type OpenAPIHono, z } from '@hono/zod-openapi';
import { HEALTH_ROUTE, OPENAPI_ROUTE } from '../http/routes.ts';
import {
  anyJson,
  BatchGetBody,
  body,
  Entry,
  failure,
  header,
  InvalidateBody,
  json,
  key,
  keyParam,
  tag,
  text,
} from '../http/shapes.ts';

/** Most tags of an entry. */
export const MAX_TAGS = 255;
/** About 100 years: a larger TTL is a mistake in units. */
const MAX_TTL_SECONDS = 3_200_000_000;

const ttlSeconds = z
  .number()
  .positive({ error: 'ttlSeconds is a positive number, or null for no expiry' })
  .max(MAX_TTL_SECONDS, { error: `ttlSeconds is at most ${MAX_TTL_SECONDS} (about 100 years)` })
  .nullish()
  .openapi({ description: 'Seconds to live, fractions allowed; null or absent = no expiry.', example: 300 });
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

/** What a member adds to the reasons of a 503. */
const IN_A_CLUSTER =
  'In a cluster OWNER_AWAY: whoever owns the key cannot be asked at the moment; nothing was done, or of a request for many keys a part. NOT_ACKNOWLEDGED: the owner or its copies did not answer in time; it may have been done or not.';

/** Every route, for the document and to tell 405 from 404. */
export const ROUTES = [
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
        ...failure(
          'KEY_NOT_FOUND; KEY_KNOWN_ABSENT when the library remembers that the source has no such row; VALUE_NOT_SHOWN when it has stored the value in chunks, or in a format that this version does not know: then there is no lease.',
        ),
        headers: {
          'Breakwater-Lease': header(
            'Present it with the PUT that fills this key. Absent when another caller holds the lease.',
          ),
          'Breakwater-Lease-Wait-Ms': header('How long others should wait for the holder before they load themselves.'),
        },
      },
      503: failure(`OVERLOADED. ${IN_A_CLUSTER}`),
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
      503: failure(`OVERLOADED. ${IN_A_CLUSTER}`),
      507: failure('MEMORY_FULL: only under eviction noeviction.'),
    },
  }),
  createRoute({
    method: 'delete',
    path: '/cache/{key}',
    operationId: 'deleteEntry',
    summary: 'Delete an entry',
    request: { params: keyParam },
    responses: {
      204: { description: 'It is gone, whether or not it was there.' },
      400: failure('KEY_INVALID'),
      503: failure(IN_A_CLUSTER),
    },
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
      503: failure(`OVERLOADED. ${IN_A_CLUSTER}`),
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
      503: failure(IN_A_CLUSTER),
    },
  }),
  HEALTH_ROUTE,
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
  OPENAPI_ROUTE,
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
