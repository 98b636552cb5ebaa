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

/** The message of anything that was thrown, for a place that can only print one line. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
