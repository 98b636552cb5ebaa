/**
 * `breakwater/sources/http`: values of a JSON API for a declared cache.
 *
 *     const products = httpSource<Product>({ url: 'https://api.example/products/{id}', key: 'id' });
 *     bw.cache('product', { load: products.load, grace: '1h' });
 *
 * With `{id}` in the URL each id is a request of its own, a few at a time; with `{ids}`, or with a `body`, one request is a batch. Requests go through the
 * runtime's own `fetch`, which keeps connections alive.
 *
 * Revalidation. What the cache still has past its TTL is asked about by its ETag (or Last-Modified): the answer 304 carries no body, and the value is fresh
 * again. The ETag is kept in L2 within the very entry of the value (`Validated`), not in a table of this process: so it is there for every process, it
 * cannot outlive the value or be put to another one, and a restart loses nothing. An answer to a batch has one ETag for all of it, which says nothing of one
 * id: batches are always loaded in full.
 *
 * What this does not trust:
 *   - caches on the way: every request says `Cache-Control: no-cache`. One that answered from its own store after an invalidation would put the old value back
 *   - redirects: refused. They would carry the headers, credentials among them, to wherever the answer says
 *   - the spelling of ids: with `key` an answer that names another id is refused, as `"042"` for 42 would be
 *   - Last-Modified within a minute of the answer's own Date: two changes in one second would look like one (RFC 9110, 8.8.2.2)
 *
 * Errors name the URL without its query and never headers or bodies: any of them may hold a secret.
 */
import { setMaxListeners } from 'node:events';
import { BreakwaterError, messageOf } from '../base/errors.ts';
import { type Duration, parseDurationMs, parseSizeBytes } from '../base/units.ts';
import { checkNames, count, invalid } from '../cache/checks.ts';
import { SourceBusyError } from '../cache/guard/errors.ts';
import { show } from '../cache/key.ts';
import type { LoadContext, LoadedOne } from '../cache/types.ts';
import { Address } from './http/address.ts';
import { type HttpAnswer, idIn, loadedFrom, readJson } from './http/answer.ts';
import { type Exchange, type Fetch, type Headers, Requests } from './http/requests.ts';
import { conditional, validatorOf } from './http/validator.ts';
import { aborted, type DataSource, invalidKey } from './port.ts';

export type { DataSource, SourceCall } from './port.ts';

export interface HttpOptions<V> {
  /**
   * With `{id}`: the address of one value, `https://api.example/products/{id}`. With `{ids}`: of several, ids separated by commas,
   * `https://api.example/products?ids={ids}`. Ids are percent-encoded. With {@link body}: neither.
   */
  readonly url: string;
  /** What a batch is asked for with, as JSON in a POST. */
  readonly body?: (ids: readonly string[]) => unknown;
  /**
   * The property of a value that holds its id: text, or an integer. Needed for batches, whose answers are matched by it. With `{id}` an answer of another id is refused;
   * without `key` the API is believed.
   */
  readonly key?: string;
  /** What of the answer's JSON is the value, or for a batch the array of values. Null or undefined: there is none. Default: all of it. */
  readonly pick?: (json: unknown) => V | readonly V[] | null | undefined;
  /** Sent with each request; a function is asked each time (for tokens that expire). */
  readonly headers?: Headers | (() => Headers | Promise<Headers>);
  /** Which answers to `{id}` mean that there is no such value. Default `[404, 410]`. */
  readonly absent?: readonly number[];
  /** Most requests of this source at once. Default 8. */
  readonly concurrency?: number;
  /** Most ids of one batch. Default 100; fewer where the URL would be longer than 8,000 characters. */
  readonly maxIds?: number;
  /** Longest that one request may take, its answer's body included. Default `"5s"`. */
  readonly timeout?: Duration;
  /** Longest body that is read, after decompression. Default 8 MiB. */
  readonly maxBytes?: number | string;
  /** What `check()` asks for, and must answer 200. Default: the root of the host, which may answer anything but 5xx. */
  readonly checkUrl?: string;
  /** Instead of the runtime's own, e.g. with a proxy. */
  readonly fetch?: Fetch;
}

const OPTIONS = [
  'url',
  'body',
  'key',
  'pick',
  'headers',
  'absent',
  'concurrency',
  'maxIds',
  'timeout',
  'maxBytes',
  'checkUrl',
  'fetch',
] as const;
const WHERE = 'httpSource()';
const MOST_REQUESTS = 1_000;
const MOST_IDS = 10_000;

/**
 * A source of JSON values. Failures, of one id where only that is concerned: `SOURCE_KEY_INVALID`, `SOURCE_ROW_UNASKED`, `SOURCE_ROW_DUPLICATE`, `SOURCE_REFUSED` (4xx),
 * `SOURCE_REDIRECTED`, `SOURCE_BUSY` (429, or 503 with Retry-After: the guard waits as long), `SOURCE_TIMEOUT`, `SOURCE_TOO_LARGE`, `SOURCE_ANSWER_INVALID` (not JSON,
 * or not of the expected shape), `SOURCE_FAILED` (5xx, no connection), `SOURCE_ABORTED`. When all requests of a load failed, the load fails.
 * @throws BreakwaterError `CACHE_OPTION_UNKNOWN`, `CACHE_OPTION_INVALID`, `DURATION_INVALID`
 */
export function httpSource<V>(options: HttpOptions<V>): DataSource<V> {
  checkNames(options, OPTIONS, WHERE);
  const { body, key = null, pick, absent = [404, 410] } = options;
  for (const [name, value] of Object.entries({ body, pick, fetch: options.fetch })) {
    if (value !== undefined && typeof value !== 'function') throw invalid(`${name} of ${WHERE}`, 'a function', value);
  }
  const address = new Address(options.url, body !== undefined, WHERE);
  const isBatch = address.kind !== 'one';
  if (key === null ? isBatch : typeof key !== 'string' || key === '') {
    throw invalid(`key of ${WHERE}`, 'the property that holds the id (needed for batches)', key);
  }
  if (!Array.isArray(absent) || !absent.every((status) => Number.isInteger(status) && status >= 400 && status < 500)) {
    throw invalid(`absent of ${WHERE}`, 'statuses from 400 to 499', absent);
  }
  const maxIds = isBatch ? count(options.maxIds ?? 100, 'maxIds', WHERE, MOST_IDS) : 1;
  if (!isBatch && options.maxIds !== undefined) throw invalid(`maxIds of ${WHERE}`, 'nothing with {id}', maxIds);
  const timeoutMs = parseDurationMs(options.timeout ?? '5s', `timeout of ${WHERE}`);
  if (timeoutMs < 1) throw invalid(`timeout of ${WHERE}`, 'at least 1 ms', options.timeout);
  const requests = new Requests({
    name: address.name,
    headers: options.headers ?? {},
    fetch: options.fetch ?? fetch,
    concurrency: count(options.concurrency ?? 8, 'concurrency', WHERE, MOST_REQUESTS),
    timeoutMs,
    maxBytes: parseSizeBytes(options.maxBytes ?? '8mb', `maxBytes of ${WHERE}`),
  });
  const checkUrl = address.checkUrl(options.checkUrl);
  const { name } = address;

  const one = async (id: string, context: LoadContext): Promise<LoadedOne<V>> => {
    const url = address.of([id]);
    const known = context.stale.has(id) ? context.validators?.get(id) : undefined;
    const condition = known === undefined ? null : conditional(known, url);
    const answer = await requests.send({ url, condition, body: undefined, answersAbsent: absent }, context.signal);
    return loadedFrom<V>(answer, { id, key, pick, name, validator: validatorOf(answer, url) });
  };

  const many = async (ids: readonly string[], { signal }: LoadContext): Promise<Map<string, LoadedOne<V>>> => {
    const exchange: Exchange = { url: address.of(ids), condition: null, body: body?.(ids), answersAbsent: [] };
    return rowsOf<V>(await requests.send(exchange, signal), ids, key!, pick, name);
  };

  const loadAll = async (ids: readonly string[], context: LoadContext): Promise<Map<string, LoadedOne<V>>> => {
    const found = new Map<string, LoadedOne<V>>();
    const asked: string[] = [];
    for (const id of ids) {
      const why = address.refusal(id);
      if (why === null) asked.push(id);
      else found.set(id, invalidKey(name, id, why));
    }
    if (asked.length === 0) return found;
    const batches = isBatch ? address.batches(asked, maxIds) : asked.map((id) => [id]);
    const failures = new Failures();
    await Promise.all(
      batches.map(async (batch) => {
        const fill = async (): Promise<void> => {
          if (failures.busy !== null) throw failures.busy;
          if (isBatch) for (const [id, row] of await many(batch, context)) found.set(id, row);
          else found.set(batch[0]!, await one(batch[0]!, context));
        };
        const fail = (error: unknown): void => {
          const failure = failures.note(worded(error, name));
          for (const id of batch) found.set(id, failure);
        };
        // Noted before the next one's turn: who was told "not now" does not ask for the rest.
        await requests.slot(context.signal, () => fill().catch(fail)).catch(fail);
      }),
    );
    if (context.signal.aborted) throw aborted(name, context.signal);
    if (failures.count === batches.length) throw failures.worst!;
    return found;
  };

  return {
    name,
    load: async (ids, given) => {
      if (given.signal.aborted) throw aborted(name, given.signal);
      // One listener at the signal, and all requests of this load at ours.
      const cut = new AbortController();
      setMaxListeners(0, cut.signal);
      const onAbort = (): void => cut.abort(given.signal.reason);
      given.signal.addEventListener('abort', onAbort, { once: true });
      try {
        return await loadAll(ids, { ...given, signal: cut.signal });
      } finally {
        given.signal.removeEventListener('abort', onAbort);
      }
    },
    check: async ({ signal } = {}) => {
      const never = new AbortController().signal;
      const answer = await requests.ask(
        { url: checkUrl, condition: null, body: undefined, answersAbsent: [] },
        signal ?? never,
      );
      if (options.checkUrl === undefined ? answer.status < 500 : answer.status === 200) return;
      throw new BreakwaterError(
        'SOURCE_FAILED',
        `cannot use ${name}: asked whether it is there, it answered ${answer.status}`,
      );
    },
  };
}

/** What went wrong with the requests of one load. */
class Failures {
  count = 0;
  busy: SourceBusyError | null = null;
  #first: BreakwaterError | null = null;

  note(error: BreakwaterError): BreakwaterError {
    this.count += 1;
    this.#first ??= error;
    if (error instanceof SourceBusyError) this.busy ??= error;
    return error;
  }

  /** What the guard should hear of. */
  get worst(): BreakwaterError | null {
    return this.busy ?? this.#first;
  }
}

function worded(error: unknown, name: string): BreakwaterError {
  if (error instanceof BreakwaterError) return error;
  // Code of the user: `headers`, `body`, `pick`.
  return new BreakwaterError('SOURCE_FAILED', `cannot use ${name}: ${messageOf(error)}`, { cause: error });
}

/** @throws BreakwaterError `SOURCE_ROW_UNASKED`, `SOURCE_ANSWER_INVALID` */
function rowsOf<V>(
  answer: HttpAnswer,
  ids: readonly string[],
  key: string,
  pick: ((json: unknown) => unknown) | undefined,
  name: string,
): Map<string, LoadedOne<V>> {
  const json = readJson(answer, name);
  const rows = pick === undefined ? json : (pick(json) ?? []);
  if (!Array.isArray(rows)) {
    throw new BreakwaterError(
      'SOURCE_ANSWER_INVALID',
      `cannot use the answer of ${name}: expected an array of values, received ${show(typeof rows)}`,
    );
  }
  // Those without a row are absent.
  const found = new Map<string, LoadedOne<V>>(ids.map((id) => [id, null]));
  for (const row of rows as unknown[]) {
    const id = idIn(row, key);
    if (id === null || !found.has(id)) {
      throw new BreakwaterError(
        'SOURCE_ROW_UNASKED',
        `cannot use the answer of ${name}: a value has ${id === null ? 'no id' : 'an id that nobody asked for'} in ${show(key)}${id === null ? '' : `, ${show(id)}`}`,
      );
    }
    if (found.get(id) === null) found.set(id, row as V);
    else
      found.set(
        id,
        new BreakwaterError('SOURCE_ROW_DUPLICATE', `cannot load ${show(id)} from ${name}: two values have that id`),
      );
  }
  return found;
}
