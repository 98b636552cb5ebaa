/** The shapes of a gateway's HTTP face beside the common ones (`http/shapes.ts`): requests are checked with them and its OpenAPI document is made of them. */
import { createRoute, type OpenAPIHono, z } from '@hono/zod-openapi';
import { HEALTH_ROUTE, OPENAPI_ROUTE } from '../http/routes.ts';
import {
  anyJson,
  BatchGetBody,
  body,
  Entry,
  Failure,
  failure,
  header,
  InvalidateBody,
  json,
  key,
  keyParam,
  text,
} from '../http/shapes.ts';

/** Body of PUT /cache/{key}. The last two are for namespaces without a source: elsewhere the file and the database say them. */
export const PutBody = z
  .strictObject({
    value: anyJson,
    ttlSeconds: z
      .number()
      .positive({ error: 'ttlSeconds is a positive number' })
      .max(3_200_000_000)
      .optional()
      .openapi({ description: 'Only where the namespace has no source.', example: 300 }),
    version: z
      .union([z.int().min(0), z.string().regex(/^(?:0|[1-9]\d{0,19})$/)])
      .optional()
      .openapi({ description: 'Only where the namespace has no source: an older one never replaces a newer one.' }),
  })
  .openapi('GatewayPutBody', { required: ['value'] });

/** Body of POST /cache/invalidate. */
export const GatewayInvalidateBody = InvalidateBody.extend({
  wait: z
    .enum(['store', 'everywhere'])
    .optional()
    .openapi({ description: 'everywhere: answered when no L1 of any process can serve what was invalidated.' }),
}).openapi('GatewayInvalidateBody');

const FROM = {
  'Breakwater-From': header('Which tier answered: l1, l2, loader; stale = past its ttl, within its grace.'),
  Age: header('Seconds since the value was loaded.'),
};
const TOKEN = { 'Breakwater-Token': header('Send it as Breakwater-After to read nothing older than this write.') };
const unauthorised = { 401: failure('TOKEN_MISSING, TOKEN_INVALID'), 403: failure('RIGHT_MISSING') };
const sourceFailures = {
  502: failure('SOURCE_...: the source failed, or answered what cannot be used.'),
  503: {
    ...failure(
      'GUARD_...: the source was not asked, to protect it. OVERLOADED, WRITE_BEHIND_..., NOT_READY. Retry-After says when to come back.',
    ),
    headers: { 'Retry-After': header('Seconds.') },
  },
  504: failure('CACHE_LOAD_TIMEOUT, ...: the source did not answer in time.'),
};
const reading = z.object({
  'cache-control': z
    .string()
    .optional()
    .openapi({ description: 'no-cache: ask the source. max-stale=N: nothing older past its ttl.' }),
  'breakwater-after': z.string().optional().openapi({ description: 'A Breakwater-Token.' }),
  'if-none-match': z.string().optional(),
});

export const ROUTES = [
  createRoute({
    method: 'get',
    path: '/cache/{key}',
    operationId: 'getRow',
    summary: 'Read a row, through the cache',
    request: { params: keyParam, headers: reading },
    responses: {
      200: { ...json(Entry, 'The row.'), headers: { ETag: header('Of the value.'), ...FROM } },
      304: { description: 'Unchanged since the ETag of If-None-Match.' },
      400: failure('KEY_INVALID, SOURCE_KEY_INVALID, CACHE_TOKEN_INVALID'),
      404: failure('KEY_KNOWN_ABSENT: the source has no such row. NAMESPACE_UNKNOWN'),
      ...unauthorised,
      ...sourceFailures,
    },
  }),
  createRoute({
    method: 'put',
    path: '/cache/{key}',
    operationId: 'putRow',
    summary: 'Write a row',
    description: 'Where the namespace has a policy, which says how the database and the cached copy come by it.',
    request: { params: keyParam, body: body(PutBody) },
    responses: {
      200: { ...json(z.object({ key, result: z.enum(['written', 'stored', 'same']) }), 'Committed.'), headers: TOKEN },
      202: {
        ...json(z.object({ key, result: z.literal('queued') }), 'Policy behind: on disk, visible, and written later.'),
        headers: TOKEN,
      },
      400: failure('KEY_INVALID, JSON_INVALID, BODY_INVALID'),
      404: failure('NAMESPACE_UNKNOWN'),
      405: failure('NAMESPACE_READ_ONLY'),
      409: failure('SOURCE_REFUSED: a constraint of the database. VERSION_OLDER'),
      413: failure('BODY_TOO_LARGE, VALUE_TOO_LARGE'),
      415: failure('CONTENT_TYPE_UNSUPPORTED'),
      422: failure(
        'SOURCE_ROW_INVALID, SOURCE_REFUSED: not a row of this table. NUMBER_INEXACT: send it as text. VALUE_TOO_DEEP',
      ),
      ...unauthorised,
      ...sourceFailures,
    },
  }),
  createRoute({
    method: 'delete',
    path: '/cache/{key}',
    operationId: 'deleteRow',
    summary: 'Delete a row',
    description: 'In the database, where the namespace has a policy. To drop the cached copy alone, invalidate it.',
    request: { params: keyParam },
    responses: {
      202: {
        ...json(
          z.object({ key, result: z.literal('queued') }),
          'Policy behind: deleted for all who read, in the database later.',
        ),
        headers: TOKEN,
      },
      204: { description: 'It is gone, whether or not it was there.', headers: TOKEN },
      400: failure('KEY_INVALID'),
      404: failure('NAMESPACE_UNKNOWN'),
      405: failure('NAMESPACE_READ_ONLY'),
      409: failure('SOURCE_REFUSED: a constraint of the database.'),
      ...unauthorised,
      ...sourceFailures,
    },
  }),
  createRoute({
    method: 'post',
    path: '/cache/batch-get',
    operationId: 'batchGet',
    summary: 'Read many rows',
    description:
      'One read of the store and one query a namespace. When every key failed, the answer is that of the first.',
    request: { headers: reading.omit({ 'if-none-match': true }), body: body(BatchGetBody) },
    responses: {
      200: json(
        z
          .object({
            results: z.array(Entry),
            missing: z.array(key).openapi({ description: 'The source has no such row.' }),
            failed: z
              .array(Failure.extend({ key }))
              .optional()
              .openapi({ description: 'Present when some could not be answered.' }),
          })
          .openapi('GatewayBatchGetAnswer'),
        'In the order of the request.',
      ),
      400: failure('JSON_INVALID, BODY_INVALID'),
      404: failure('NAMESPACE_UNKNOWN'),
      413: failure('BODY_TOO_LARGE, BATCH_TOO_LARGE'),
      415: failure('CONTENT_TYPE_UNSUPPORTED'),
      ...unauthorised,
      ...sourceFailures,
    },
  }),
  createRoute({
    method: 'post',
    path: '/cache/invalidate',
    operationId: 'invalidate',
    summary: 'Invalidate keys, tags and namespaces',
    description: 'Answered when the store has acknowledged it. The database is not touched.',
    request: { body: body(GatewayInvalidateBody) },
    responses: {
      200: {
        ...json(z.object({ acknowledged: z.literal(true) }), 'In force for every later read.'),
        headers: TOKEN,
      },
      400: failure('JSON_INVALID, BODY_INVALID'),
      413: failure('BODY_TOO_LARGE'),
      415: failure('CONTENT_TYPE_UNSUPPORTED'),
      503: failure('CACHE_INVALIDATION_UNACKNOWLEDGED'),
      ...unauthorised,
    },
  }),
  HEALTH_ROUTE,
  createRoute({
    method: 'get',
    path: '/readyz',
    operationId: 'readiness',
    summary: 'Should it get requests?',
    request: {
      query: z.object({
        strict: z.string().optional().openapi({ description: '503 as well while anything is away.' }),
      }),
    },
    responses: {
      200: json(
        z.object({ status: z.enum(['ready', 'degraded']), away: z.array(z.string()) }),
        'Yes. degraded: a source or the store is away, and what is cached is served.',
      ),
      503: failure('NOT_READY: starting or stopping.'),
    },
  }),
  createRoute({
    method: 'get',
    path: '/metrics',
    operationId: 'metrics',
    summary: 'Prometheus metrics',
    responses: { 200: text('Text exposition format.'), ...unauthorised },
  }),
  OPENAPI_ROUTE,
];

/** Registers every route's documentation and returns the document. */
export function openApiDocument(app: OpenAPIHono, version: string, hasTokens: boolean): object {
  for (const route of ROUTES) app.openAPIRegistry.registerPath(route);
  if (hasTokens) app.openAPIRegistry.registerComponent('securitySchemes', 'bearer', { type: 'http', scheme: 'bearer' });
  return app.getOpenAPI31Document({
    openapi: '3.1.0',
    info: {
      title: 'Breakwater gateway',
      version,
      description:
        'Rows of a database, read through a cache. Every error has the shape {"error":{"code","message"}} and a stable code.',
    },
    ...(hasTokens && { security: [{ bearer: [] }] }),
  });
}
