/**
 * How old is a value that another machine stored? Asking its wall clock is the classic mistake: an hour of difference between
 * two clocks makes entries live an hour too long, or not at all, and no test on one machine shows it. So no point in time ever
 * crosses a wire in Breakwater. What crosses is an *age* (or a remaining time), a length, which clocks that run at about the
 * same speed agree upon wherever their hands stand:
 *
 *     store                                         reader
 *       |  <------------ read key ----------------    |  sentAtMs        (reader's clock)
 *       |  age = storeNow - storedAt, ttl             |
 *       |  -------- value, age, remaining --------->  |  receivedAtMs
 *
 * The age was right at some instant between `sentAtMs` and `receivedAtMs`, and on the way it has grown. Which instant, the
 * reader cannot know, so it takes the one that never flatters the value: the answer's age counts from when the *question was
 * sent*. A slow network then makes a value look older than it is (by at most one round trip), never younger.
 *
 * The same rule holds for a load: a database may read the row as soon as it is asked, so what a loader brings is as old as
 * the load is long.
 */

/** A value's age and what is left of its TTL, as they stand on a wire: lengths, whole milliseconds. */
export interface TravellingAge {
  readonly ageMs: number;
  /** Negative once it is past its TTL; null = no end. */
  readonly remainingMs: number | null;
}

/** The sending side. Ages are rounded up and what is left down, so that rounding never flatters. */
export function ageToSend(storedAtMs: number, ttlMs: number, nowMs: number): TravellingAge {
  const ageMs = Math.max(0, nowMs - storedAtMs);
  return {
    ageMs: Math.ceil(ageMs),
    remainingMs: ttlMs === Number.POSITIVE_INFINITY ? null : Math.floor(ttlMs - ageMs),
  };
}

/** Where a value that arrived stands on the reader's own clock: what `judge` calls `storedAtMs` and `ttlMs`. */
export interface LocalAge {
  readonly storedAtMs: number;
  readonly ttlMs: number;
}

/** The receiving side: `sentAtMs` is when the question was sent, on the reader's clock. */
export function ageReceived(age: TravellingAge, sentAtMs: number): LocalAge {
  const ageMs = Math.max(0, age.ageMs);
  return {
    storedAtMs: sentAtMs - ageMs,
    ttlMs: age.remainingMs === null ? Number.POSITIVE_INFINITY : Math.max(0, ageMs + age.remainingMs),
  };
}
