/** Warming through a running gateway: its own loader loads, behind its own guard, as for any caller. */
import { setTimeout as sleep } from 'node:timers/promises';
import { BreakwaterError, messageOf } from '../../base/errors.ts';
import type { WarmProgress } from '../../cache/warm.ts';

/** What a way in warms with. */
export interface WarmRun {
  readonly batch: number;
  readonly concurrency: number;
  readonly rate: number | undefined;
  readonly skip: number;
  readonly signal: AbortSignal;
  readonly onProgress: (progress: WarmProgress) => void;
}

const ANSWER_MS = 60_000;
/** A gateway that sheds, or is not there for a moment. */
const TRIES = 8;
const LONGEST_PAUSE_MS = 5_000;

interface BatchAnswer {
  readonly results: readonly { readonly key: string; readonly value: unknown }[];
  readonly missing: readonly string[];
  readonly failed?: readonly { readonly key: string; readonly error: { readonly message: string } }[];
}

/** @throws BreakwaterError `WARM_REFUSED`, `WARM_FAILED`; the signal's reason */
export async function warmByUrl(
  url: string,
  token: string | undefined,
  namespace: string,
  ids: AsyncIterable<string>,
  { batch, concurrency, rate, skip, signal, onProgress }: WarmRun,
): Promise<WarmProgress> {
  const counts = { done: 0, present: 0, loaded: 0, absent: 0, refused: 0, elsewhere: 0, failed: 0, waits: 0 };
  const errors: { id: string; error: unknown }[] = [];
  let cursor = skip;
  let lastId: string | null = null;
  let nextAtMs = performance.now();

  const ask = async (some: readonly string[]): Promise<BatchAnswer> => {
    for (let attempt = 1; ; attempt += 1) {
      let why: string;
      try {
        const response = await fetch(`${url.replace(/\/+$/, '')}/cache/batch-get`, {
          method: 'POST',
          headers: {
            'content-type': 'application/json',
            ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
          },
          body: JSON.stringify({ keys: some.map((id) => `${namespace}:${id}`) }),
          redirect: 'error',
          signal: AbortSignal.any([signal, AbortSignal.timeout(ANSWER_MS)]),
        });
        if (response.ok) return (await response.json()) as BatchAnswer;
        why = `it answered ${response.status} ${(await response.text()).slice(0, 300)}`;
        if (response.status < 500 && response.status !== 429) {
          throw new BreakwaterError('WARM_REFUSED', `cannot warm through ${url}: ${why}`);
        }
      } catch (error) {
        if (signal.aborted) throw signal.reason;
        if (error instanceof BreakwaterError) throw error;
        why = messageOf(error instanceof Error && error.cause !== undefined ? error.cause : error);
      }
      if (attempt === TRIES) throw new BreakwaterError('WARM_FAILED', `cannot warm through ${url}: ${why}`);
      counts.waits += 1;
      await sleep(Math.min(LONGEST_PAUSE_MS, 100 * 2 ** attempt), undefined, { signal }).catch(() => {
        throw signal.reason;
      });
    }
  };

  const warm = async (some: readonly string[]): Promise<void> => {
    if (rate !== undefined) {
      const waitMs = nextAtMs - performance.now();
      nextAtMs = Math.max(nextAtMs, performance.now()) + (some.length * 1_000) / rate;
      if (waitMs > 0) {
        await sleep(waitMs, undefined, { signal }).catch(() => {
          throw signal.reason;
        });
      }
    }
    signal.throwIfAborted();
    const answer = await ask(some);
    counts.absent += answer.missing.length;
    // Whether it was there before the gateway does not say.
    counts.loaded += answer.results.length;
    for (const { key, error } of answer.failed ?? []) {
      counts.failed += 1;
      if (errors.length < 10) errors.push({ id: key.slice(namespace.length + 1), error: new Error(error.message) });
    }
    counts.done += some.length;
  };

  let place = 0;
  let gathered: string[] = [];
  let round: string[][] = [];
  /** A round of batches at a time, so that the place is one number. */
  const flush = async (): Promise<void> => {
    if (gathered.length > 0) round.push(gathered);
    gathered = [];
    if (round.length === 0) return;
    const now = round;
    round = [];
    await Promise.all(now.map(warm));
    cursor += now.reduce((sum, { length }) => sum + length, 0);
    lastId = now.at(-1)!.at(-1)!;
    onProgress({ cursor, lastId, ...counts, errors });
  };
  for await (const id of ids) {
    signal.throwIfAborted();
    place += 1;
    if (place <= skip) continue;
    gathered.push(id);
    if (gathered.length < batch) continue;
    round.push(gathered);
    gathered = [];
    if (round.length === concurrency) await flush();
  }
  await flush();
  return { cursor, lastId, ...counts, errors };
}
