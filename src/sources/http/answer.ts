/** From an answer to a value, or to the error that says why it is none. */
import { BreakwaterError } from '../../base/errors.ts';
import { show } from '../../cache/key.ts';
import { type LoadedOne, NOT_MODIFIED, Validated } from '../../cache/types.ts';

export interface HttpAnswer {
  /** 200, 304 where it was asked for, or one of those that mean "absent". */
  readonly status: number;
  readonly headers: { get(name: string): string | null };
  /** Of a 200. */
  readonly body: Uint8Array;
}

export interface Expected {
  readonly id: string;
  /** The property that must hold the id; null: none is looked at. */
  readonly key: string | null;
  readonly pick: ((json: unknown) => unknown) | undefined;
  readonly name: string;
  readonly validator: string;
}

const decoder = new TextDecoder('utf-8', { fatal: true });

/** @throws BreakwaterError `SOURCE_ANSWER_INVALID` */
export function readJson({ body, headers }: HttpAnswer, name: string): unknown {
  try {
    return JSON.parse(decoder.decode(body)) as unknown;
  } catch {
    // What the parser says quotes the body.
    const type = headers.get('content-type') ?? 'no content type';
    throw new BreakwaterError(
      'SOURCE_ANSWER_INVALID',
      `cannot use the answer of ${name}: it is not JSON, received ${body.length} bytes of ${show(type)}`,
    );
  }
}

/** @throws BreakwaterError `SOURCE_ANSWER_INVALID`, `SOURCE_ROW_UNASKED` */
export function loadedFrom<V>(answer: HttpAnswer, { id, key, pick, name, validator }: Expected): LoadedOne<V> {
  if (answer.status === 304) return NOT_MODIFIED;
  if (answer.status !== 200) return null;
  const json = readJson(answer, name);
  const value = pick === undefined ? json : pick(json);
  if (value === null || value === undefined) {
    if (pick !== undefined) return null;
    // An API that says so of what is not there has a `pick` that says so too: it may as well be a fault.
    throw new BreakwaterError(
      'SOURCE_ANSWER_INVALID',
      `cannot use the answer of ${name}: it is null; give a pick that returns it`,
    );
  }
  if (key !== null) {
    const named = idIn(value, key);
    if (named !== id) {
      throw new BreakwaterError(
        'SOURCE_ROW_UNASKED',
        `cannot use the answer of ${name}: asked for ${show(id)}, its ${show(key)} is ${named === null ? 'no id' : show(named)}`,
      );
    }
  }
  return validator === '' ? (value as V) : new Validated(value as V, validator);
}

/** Text, or an integer that prints as itself. */
export function idIn(row: unknown, key: string): string | null {
  if (typeof row !== 'object' || row === null || !Object.hasOwn(row, key)) return null;
  const id: unknown = (row as Readonly<Record<string, unknown>>)[key];
  if (typeof id === 'string') return id;
  return typeof id === 'number' && Number.isSafeInteger(id) ? String(id) : null;
}
