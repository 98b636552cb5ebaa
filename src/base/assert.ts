/**
 * Assertions that stay on in production: a cheap comparison is worth more than a wrong answer later. A failed one is a
 * bug in Breakwater, never bad input, and is meant to crash the process.
 */

/** Thrown when an invariant of ours does not hold. */
export class AssertionError extends Error {
  constructor(message: string) {
    super(`assertion failed: ${message}`);
    this.name = 'AssertionError';
  }
}

/** Throws {@link AssertionError} unless `condition` holds. Keep `message` a constant: nothing may be built on the hot path. */
export function assert(condition: boolean, message: string): asserts condition {
  if (!condition) throw new AssertionError(message);
}

/** For the `default` of a `switch` that the compiler proves complete. */
export function unreachable(value: never): never {
  throw new AssertionError(`unreachable case: ${String(value)}`);
}
