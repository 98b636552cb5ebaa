/**
 * One request after another, at most so many at once, each with an end: a deadline, a bound of bytes, and the caller's signal. What comes back is an answer
 * that can be used, or an error with a code.
 *
 * Bodies of answers that nobody wants are read to their end where they are short, so that the connection can be used again, and cut off where they are not.
 */
import { BreakwaterError, messageOf } from '../../base/errors.ts';
import { SourceBusyError } from '../../cache/guard/errors.ts';
import { show } from '../../cache/key.ts';
import { aborted } from '../port.ts';
import type { HttpAnswer } from './answer.ts';

export type Headers = Readonly<Record<string, string>>;

/** What is used of the runtime's `fetch`. */
export type Fetch = (url: string, init: RequestInit) => Promise<Response>;

export interface RequestSettings {
  readonly name: string;
  readonly headers: Headers | (() => Headers | Promise<Headers>);
  readonly fetch: Fetch;
  readonly concurrency: number;
  readonly timeoutMs: number;
  readonly maxBytes: number;
}

export interface Exchange {
  readonly url: string;
  /** A header that may be answered by 304. */
  readonly condition: readonly [name: string, value: string] | null;
  /** Sent as JSON in a POST. */
  readonly body: unknown;
  /** Statuses that are answers like 200. */
  readonly answersAbsent: readonly number[];
}

/** Longest body of an answer that is of no use. */
const DISCARDED_BYTES = 65_536;
/** When a busy server does not say for how long. */
const BUSY_MS = 1_000;
const NOTHING = new Uint8Array(0);
const TIMEOUT = Symbol('timeout');

export class Requests {
  readonly #settings: RequestSettings;
  #free: number;
  /** At most as many as there are ids in loads under way, which the guard bounds. */
  readonly #waiting = new Set<() => void>();

  constructor(settings: RequestSettings) {
    this.#settings = settings;
    this.#free = settings.concurrency;
  }

  /** Runs `work` when its turn has come. @throws BreakwaterError `SOURCE_ABORTED` */
  async slot(signal: AbortSignal, work: () => Promise<void>): Promise<void> {
    if (this.#free > 0) this.#free -= 1;
    else await this.#turn(signal);
    try {
      if (signal.aborted) throw aborted(this.#settings.name, signal);
      await work();
    } finally {
      const next = this.#waiting.values().next().value;
      if (next === undefined) this.#free += 1;
      else {
        this.#waiting.delete(next);
        next();
      }
    }
  }

  #turn(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const take = (): void => {
        signal.removeEventListener('abort', leave);
        resolve();
      };
      const leave = (): void => {
        this.#waiting.delete(take);
        reject(aborted(this.#settings.name, signal));
      };
      this.#waiting.add(take);
      signal.addEventListener('abort', leave, { once: true });
    });
  }

  /** @throws BreakwaterError as `httpSource` lists them */
  async send(exchange: Exchange, signal: AbortSignal): Promise<HttpAnswer> {
    const answer = await this.ask(exchange, signal);
    const { status } = answer;
    if (status === 200 || (status === 304 && exchange.condition !== null)) return answer;
    if (exchange.answersAbsent.includes(status)) return answer;
    throw this.#refused(answer);
  }

  /** Whatever it answers. The body is read of a 200 alone. */
  async ask({ url, condition, body }: Exchange, signal: AbortSignal): Promise<HttpAnswer> {
    const { name, timeoutMs } = this.#settings;
    if (signal.aborted) throw aborted(name, signal);
    const cut = new AbortController();
    const onAbort = (): void => cut.abort(signal.reason);
    signal.addEventListener('abort', onAbort, { once: true });
    const timer = setTimeout(() => cut.abort(TIMEOUT), timeoutMs);
    try {
      const headers = await this.#headers(body !== undefined, condition, cut.signal);
      const response = await this.#settings.fetch(url, {
        method: body === undefined ? 'GET' : 'POST',
        headers,
        redirect: 'manual',
        signal: cut.signal,
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      });
      const { status } = response;
      if (status === 200) return { status, headers: response.headers, body: await this.#read(response) };
      await discard(response);
      return { status, headers: response.headers, body: NOTHING };
    } catch (error) {
      if (signal.aborted) throw aborted(name, signal);
      if (cut.signal.aborted) {
        throw new BreakwaterError('SOURCE_TIMEOUT', `cannot load from ${name}: no whole answer within ${timeoutMs} ms`);
      }
      if (error instanceof BreakwaterError) throw error;
      throw new BreakwaterError('SOURCE_FAILED', `cannot use ${name}: ${whyOf(error)}`, { cause: error });
    } finally {
      clearTimeout(timer);
      signal.removeEventListener('abort', onAbort);
    }
  }

  async #headers(isPost: boolean, condition: Exchange['condition'], cut: AbortSignal): Promise<Record<string, string>> {
    const { headers: given, name } = this.#settings;
    const headers: Record<string, string> = { accept: 'application/json', 'cache-control': 'no-cache' };
    if (isPost) headers['content-type'] = 'application/json';
    for (const [header, value] of Object.entries(typeof given === 'function' ? await unlessCut(given(), cut) : given)) {
      // Checked here, because the runtime's own error shows the value.
      if (
        !/^[\w!#$%&'*+.^`|~-]+$/.test(header) ||
        typeof value !== 'string' ||
        !/^[\t\x20-\x7e\x80-\xff]*$/.test(value)
      ) {
        throw new BreakwaterError(
          'SOURCE_FAILED',
          `cannot use ${name}: the header ${show(header)} cannot be sent as it is`,
        );
      }
      headers[header.toLowerCase()] = value;
    }
    if (condition !== null) headers[condition[0]] = condition[1];
    return headers;
  }

  async #read(response: Response): Promise<Uint8Array> {
    const { maxBytes, name } = this.#settings;
    const tooLarge = (): BreakwaterError =>
      new BreakwaterError(
        'SOURCE_TOO_LARGE',
        `cannot load from ${name}: the answer is longer than ${maxBytes} bytes (maxBytes)`,
      );
    if (Number(response.headers.get('content-length') ?? 0) > maxBytes) {
      await response.body?.cancel();
      throw tooLarge();
    }
    const body = await readUpTo(response, maxBytes);
    if (body === null) throw tooLarge();
    return body;
  }

  #refused({ status, headers }: HttpAnswer): BreakwaterError {
    const { name } = this.#settings;
    const after = headers.get('retry-after');
    if (status === 429 || (status === 503 && after !== null)) {
      const ms = retryAfterMs(after, headers.get('date')) ?? BUSY_MS;
      return new SourceBusyError(`cannot load from ${name}: it answered ${status}, to be asked again in ${ms} ms`, ms);
    }
    if (status >= 300 && status < 400) {
      const why =
        status === 304
          ? 'it answered 304, and was not asked for that'
          : `it answered ${status}, and redirects are not followed`;
      return new BreakwaterError('SOURCE_REDIRECTED', `cannot load from ${name}: ${why}`);
    }
    const isRefusal = status >= 400 && status < 500 && status !== 408;
    return new BreakwaterError(
      isRefusal ? 'SOURCE_REFUSED' : 'SOURCE_FAILED',
      `cannot load from ${name}: it answered ${status}`,
    );
  }
}

/** `headers` is code of the user, which knows of no deadline. */
async function unlessCut<T>(value: T | Promise<T>, cut: AbortSignal): Promise<T> {
  let onCut = (): void => {};
  try {
    const isCut = new Promise<never>((_, reject) => {
      onCut = () => reject(cut.reason);
      cut.addEventListener('abort', onCut, { once: true });
    });
    return await Promise.race([value, isCut]);
  } finally {
    cut.removeEventListener('abort', onCut);
  }
}

/** Null: there is more than that, and it was cut off. */
async function readUpTo(response: Response, maxBytes: number): Promise<Uint8Array | null> {
  if (response.body === null) return NOTHING;
  const reader = response.body.getReader();
  const parts: Uint8Array[] = [];
  let length = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    length += value.length;
    if (length > maxBytes) {
      await reader.cancel();
      return null;
    }
    parts.push(value);
  }
  return parts.length === 1 ? parts[0]! : Buffer.concat(parts, length);
}

async function discard(response: Response): Promise<void> {
  if (Number(response.headers.get('content-length') ?? 0) > DISCARDED_BYTES) await response.body?.cancel();
  else await readUpTo(response, DISCARDED_BYTES);
}

/** `Retry-After`: seconds, or a date, which is told by the server's own clock. */
function retryAfterMs(value: string | null, date: string | null): number | null {
  if (value === null) return null;
  if (/^\d{1,9}$/.test(value)) return Number(value) * 1_000;
  const untilMs = Date.parse(value) - (date === null ? Date.now() : Date.parse(date));
  return Number.isFinite(untilMs) ? Math.max(0, untilMs) : null;
}

/** `fetch failed` says nothing; its cause does. */
function whyOf(error: unknown): string {
  const cause: unknown = error instanceof Error ? error.cause : undefined;
  if (cause instanceof Error && cause.message !== '') return cause.message;
  const code: unknown = cause instanceof Error && 'code' in cause ? cause.code : null;
  return typeof code === 'string' ? code : messageOf(error);
}
