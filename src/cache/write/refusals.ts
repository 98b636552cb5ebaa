/**
 * What the database refuses for what it says, whoever asks and whenever: a constraint, a value out of range. The caller hears of it; the guard's breaker does not. A database
 * that refuses a row is well, and a few bad rows must not keep readers from it.
 */
import { BreakwaterError } from '../../base/errors.ts';

const CODES: ReadonlySet<string> = new Set(['SOURCE_REFUSED', 'SOURCE_ROW_INVALID', 'SOURCE_KEY_INVALID']);

export function isRefusal(error: unknown): error is BreakwaterError {
  return error instanceof BreakwaterError && CODES.has(error.code);
}

/** Calls the database through `guarded`, past which a refusal goes as an answer. Rejects as `call` does, or as the guard. */
export async function guardedWrite<T>(
  guarded: <R>(call: (signal: AbortSignal) => Promise<R>, timeoutMs: number) => Promise<R>,
  call: (signal: AbortSignal) => Promise<T>,
  timeoutMs: number,
): Promise<T> {
  const outcome = await guarded(async (signal) => {
    try {
      return { kind: 'done', result: await call(signal) } as const;
    } catch (error) {
      if (isRefusal(error)) return { kind: 'refused', error } as const;
      throw error;
    }
  }, timeoutMs);
  if (outcome.kind === 'refused') throw outcome.error;
  return outcome.result;
}
