/**
 * What every route under `/cache` does with a request before it knows what is asked: the key out of the path, the body as JSON of a known shape, and the
 * answer with its share of memory. Both HTTP faces are made of it, the node's and the gateway's, so that they refuse the same things with the same codes.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Context } from 'hono';
import type { z } from 'zod';
import { type ByteBudget, readBody } from './body.ts';
import { HttpFailure } from './errors.ts';
import { MAX_KEY_BYTES } from './shapes.ts';

/** What @hono/node-server hands to a handler. */
export type HttpBindings = { Bindings: { incoming: IncomingMessage; outgoing: ServerResponse } };
export type CacheContext = Context<HttpBindings>;

/** What all requests together may hold. */
export interface Budgets {
  /** Bodies that are streaming in. */
  readonly bodies: ByteBudget;
  /** Large answers that clients have not read yet. */
  readonly answers: ByteBudget;
}

/** Room in a body beside the value: braces, names, tags. */
export const BODY_EXTRA_BYTES = 256 * 1024;
/** Lists of keys and tags. */
export const LIST_BODY_BYTES = 8 * 1024 * 1024;
/** The values of one batch-get together. */
export const MAX_BATCH_BYTES = 64 * 1024 * 1024;
/** Answers below this are not accounted for: the kernel takes them at once. */
const SMALL_ANSWER_BYTES = 32 * 1024;

/** The key in the path, decoded from exactly what the client sent. */
export function keyOf(c: CacheContext): string {
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

/** Answers with JSON; a large answer takes its share of the budget until the client has it. */
export function answer(
  c: CacheContext,
  { answers }: Pick<Budgets, 'answers'>,
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
export function matches(header: string | undefined, etag: string): boolean {
  if (header === undefined) return false;
  if (header.trim() === '*') return true;
  const plain = etag.replace(/^W\//, '');
  return header.split(',').some((each) => each.trim().replace(/^W\//, '') === plain);
}

/** The body as JSON of the wanted shape, with its text. */
export async function readJson<T extends z.ZodType>(
  c: CacheContext,
  { bodies }: Pick<Budgets, 'bodies'>,
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

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** UTF-8 text of the bytes, or null when they are none. */
export function decodeText(bytes: Uint8Array): string | null {
  try {
    return utf8.decode(bytes);
  } catch {
    return null;
  }
}

/** A name from outside, for a sentence. */
export function quote(text: string): string {
  return JSON.stringify(text.length > 80 ? `${text.slice(0, 80)}...` : text);
}
