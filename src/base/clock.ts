/**
 * Time as a port. Nothing below `server/` and `cache/` may ask the operating system what time it is: the answer comes in as
 * an argument or through this port, so that tests and the simulator turn the clock by hand.
 *
 * `now()` is milliseconds since the Unix epoch *anchored once and then advanced by the monotonic clock*: an operator who
 * sets the wall clock back an hour cannot make an entry outlive its TTL.
 */
export interface Clock {
  /** Milliseconds since the Unix epoch, never going backwards; may have a fraction. */
  now(): number;
}

/** The real clock: the wall clock at the first call, advanced by the monotonic one. */
export function systemClock(): Clock {
  const monotonic = performance; // read once: the global is a getter, and this is asked twice per chunk of requests
  const anchorMs = Date.now() - monotonic.now();
  return { now: () => anchorMs + monotonic.now() };
}

/** A clock that moves only when told to. */
export class ManualClock implements Clock {
  #nowMs: number;

  constructor(startMs = 1_700_000_000_000) {
    this.#nowMs = startMs;
  }

  now(): number {
    return this.#nowMs;
  }

  /** Moves time forward by `ms` (>= 0). */
  advance(ms: number): void {
    if (!(ms >= 0)) throw new RangeError(`a clock cannot go back: received ${ms} ms`);
    this.#nowMs += ms;
  }
}
