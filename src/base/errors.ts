/**
 * Coded errors.
 *
 * Every error that leaves Breakwater says in one sentence what could not be done, why, and what was received, and carries
 * a stable `code`. Programs branch on the code; the sentence may change between versions, the code does not.
 * Programmer errors (a broken invariant) are not of this kind: they are `AssertionError`s from `assert.ts` and crash.
 */

/** An operating error with a stable code: bad input, a refused operation, a peer that failed. */
export class BreakwaterError extends Error {
  /** Stable, upper-case, e.g. `CONFIG_INVALID`. */
  readonly code: string;

  constructor(code: string, message: string, options?: { readonly cause?: unknown }) {
    super(message, options);
    this.name = 'BreakwaterError';
    this.code = code;
  }
}

/** The message of anything that was thrown, for a place that can only print one line. Never throws, whatever it was. */
export function messageOf(error: unknown): string {
  try {
    return error instanceof Error ? String(error.message) : String(error);
  } catch {
    return 'something that cannot be shown';
  }
}

/** Whether nothing can be asked of it: a revoked Proxy throws at whatever is done with it, `instanceof` included. */
export function isUntouchable(value: unknown): boolean {
  if ((typeof value !== 'object' && typeof value !== 'function') || value === null) return false;
  try {
    Reflect.getPrototypeOf(value);
    return false;
  } catch {
    return true;
  }
}
