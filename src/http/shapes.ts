/**
 * The shapes that every HTTP face of Breakwater has in common, once: the handlers check requests with them and the OpenAPI documents are generated from
 * them. Objects are strict: a misspelt name is refused, because what was meant would not happen.
 */
import { z } from '@hono/zod-openapi';

/** Longest key over HTTP, bytes of UTF-8. */
export const MAX_KEY_BYTES = 512;
/** Most keys of one batch-get. */
export const MAX_BATCH_KEYS = 1000;
/** Most keys, tags or namespaces of one invalidate. */
export const MAX_INVALIDATE_NAMES = 10_000;

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

export const key = name('a key', 1).openapi({ example: 'user:42' });
export const tag = name('a tag', 1).openapi({ example: 'org:7' });
export const namespace = name('a namespace', 0)
  .refine((text) => !text.includes(':'), {
    error: 'a namespace is what stands before the first ":" of a key, without it',
  })
  .openapi({ example: 'user' });
export const anyJson = z
  .unknown()
  .openapi({ description: 'Any JSON value; kept to the last digit.', example: { name: 'Ada' } });

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

export const Entry = z
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
export const Failure = z
  .object({ error: z.object({ code: z.string().openapi({ example: 'KEY_NOT_FOUND' }), message: z.string() }) })
  .openapi('Error');

export const json = <T extends z.ZodType>(schema: T, description: string) => ({
  description,
  content: { 'application/json': { schema } },
});
export const failure = (description: string) => json(Failure, description);
export const text = (description: string) => ({ description, content: { 'text/plain': { schema: z.string() } } });
export const body = <T extends z.ZodType>(schema: T) => ({
  required: true,
  content: { 'application/json': { schema } },
});
export const keyParam = z.object({
  key: z.string().openapi({
    param: { name: 'key', in: 'path' },
    description: 'URL-encoded, at most 512 bytes.',
    example: 'user:42',
  }),
});
export const header = (description: string) => ({ description, schema: { type: 'string' as const } });

/** The methods of a path that exists, or null: to tell 405 from 404. */
export function methodsOf(
  routes: readonly { readonly method: string; readonly path: string }[],
  path: string,
): string[] | null {
  const template =
    path.startsWith('/cache/') && path !== '/cache/batch-get' && path !== '/cache/invalidate' ? '/cache/{key}' : path;
  const methods = routes.filter((route) => route.path === template).map((route) => route.method.toUpperCase());
  return methods.length === 0 ? null : methods.includes('GET') ? ['HEAD', ...methods].sort() : methods.sort();
}
